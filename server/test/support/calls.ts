import { API_KEY, type Card, FIRST_CARD, SANDBOX_SECRET, seal, wireNamesOf } from './sandbox.ts';

/** What a merchant's server got for a call over the network. */
export interface NetworkAnswer {
  httpStatus: number;
  code: number;
  msg: string;
  data?: Record<string, unknown>;
  requestId: string;
  text: string;
}

/** A merchant's server that calls a platform in another process. */
export interface RemoteMerchant {
  call(path: string, body?: unknown, headers?: Record<string, string>): Promise<NetworkAnswer>;
  setPin(pin: string, card?: Card): Promise<NetworkAnswer>;
  /** A call that any merchant may make: code 0 says that the gate is open. */
  listCards(): Promise<NetworkAnswer>;
  /** All headers of a call with a token, for those who write their requests by hand. */
  headers(): Promise<Record<string, string>>;
}

export function remoteMerchant(url: string, apiKey = API_KEY, apiSecret = SANDBOX_SECRET): RemoteMerchant {
  let token: Promise<string> | undefined;

  async function send(path: string, headers: Record<string, string>, body?: unknown): Promise<NetworkAnswer> {
    const request = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    const response = await fetch(`${url}/open-api/v1${path}`, {
      ...request,
      headers: {
        'Api-Key': apiKey,
        Timestamp: String(Date.now()),
        ...(body !== undefined && { 'Content-Type': 'application/json' }),
        ...headers,
      },
    });
    const text = await response.text();
    return {
      httpStatus: response.status,
      requestId: response.headers.get('X-Request-Id') ?? '',
      text,
      ...JSON.parse(text),
    };
  }

  async function fetchToken(): Promise<string> {
    const { code, data } = await send('/merchant/token', {});
    if (code !== 0) {
      token = undefined;
      throw new Error(`no token: ${code}`);
    }
    return data?.access_token as string;
  }

  const merchant: RemoteMerchant = {
    async call(path, body, headers = {}) {
      token ??= fetchToken();
      return send(path, { 'Access-Token': await token, ...headers }, body);
    },
    setPin: (pin, card = FIRST_CARD) =>
      merchant.call('/card/pin/set', { ...wireNamesOf(card), pin: seal(pin, apiSecret) }),
    listCards: () => merchant.call('/card/list', { start_time: '2026-05-01', end_time: '2026-06-01' }),
    async headers() {
      token ??= fetchToken();
      return {
        'Api-Key': apiKey,
        Timestamp: String(Date.now()),
        'Access-Token': await token,
        'Content-Type': 'application/json',
      };
    },
  };
  return merchant;
}

/**
 * Valid PINs, 1,000 unlike ones: every other step is one of five, so that no three digits make a
 * run.
 */
export function validPin(number: number): string {
  return [...String(number % 1000).padStart(3, '0')].map((digit) => `${digit}${(Number(digit) + 5) % 10}`).join('');
}
