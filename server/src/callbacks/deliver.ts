import { SIGN_VERSION } from '@pinward/contract/callback-signature';
import { urlFault } from '../net/address-guard.ts';
import { withoutMark } from '../text.ts';
import { version } from '../version.ts';
import type { Endpoint } from './endpoint.ts';
import {
  createExchange,
  DELIVERY_TIMEOUT_MS,
  type ExchangeOptions,
  faultText,
  IdleConnectionEnded,
  type Reply,
} from './exchange.ts';
import { signCallback } from './signature.ts';

const MESSAGE_CHARACTERS_LIMIT = 100;

interface Message {
  pushId: string;
  action: string;
  /** JSON, sent as it is. */
  data: string;
}

/** The outcome of a delivery. */
export interface Outcome {
  delivered: boolean;
  httpStatus: number | undefined;
  code: number | undefined;
  /**
   * For the operator. It contains no secret and no URL, and of the reply only its code and
   * message.
   */
  fault: string | undefined;
}

export interface DeliveryOptions extends ExchangeOptions {
  clock: () => number;
  timeoutMs?: number;
}

export interface Delivery {
  /**
   * Sends one callback. Never throws, and takes no longer than `timeoutMs`, or until
   * `signal`. Delivered means: status 2xx and a JSON object whose `code` is 0.
   */
  deliver(endpoint: Endpoint, message: Message, signal?: AbortSignal): Promise<Outcome>;
  close(): void;
}

export function createDelivery({ clock, timeoutMs = DELIVERY_TIMEOUT_MS, ...options }: DeliveryOptions): Delivery {
  const { mode } = options;
  const exchange = createExchange(options);
  return {
    async deliver(endpoint, message, signal) {
      const fault = urlFault(endpoint.url, mode);
      if (fault !== undefined) return failure(`the URL is refused: ${fault}`);
      const limits = { beganAtMs: performance.now(), timeoutMs, signal };
      let lastTimestamp = 0;
      // Signed for each request on the wire: receivers may refuse a Timestamp or a Signature
      // that they have seen, and the one before may have been read.
      const post = (): Promise<Reply> => {
        lastTimestamp = Math.max(clock(), lastTimestamp + 1);
        const { headers, body } = signedRequest(endpoint, message, String(lastTimestamp));
        return exchange.post(new URL(endpoint.url), headers, body, limits);
      };
      try {
        return outcomeOf(await repeatIfUnread(post));
      } catch (error) {
        return failure(faultText(error));
      }
    },
    close: exchange.close,
  };
}

/** Repeats once if the other side ended the idle connection that the request was sent on. */
async function repeatIfUnread(post: () => Promise<Reply>): Promise<Reply> {
  try {
    return await post();
  } catch (error) {
    if (error instanceof IdleConnectionEnded) return post();
    throw error;
  }
}

export function failure(fault: string, httpStatus?: number, code?: number): Outcome {
  return { delivered: false, httpStatus, code, fault };
}

function signedRequest(
  { apiKey, apiSecret }: Endpoint,
  { pushId, action, data }: Message,
  timestamp: string,
): { headers: Record<string, string | number>; body: Buffer } {
  const text = `{"id":${JSON.stringify(pushId)},"action":${JSON.stringify(action)},"data":${data}}`;
  const body = Buffer.from(text, 'utf8');
  const headers = {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': body.length,
    Timestamp: timestamp,
    Signature: signCallback(apiKey, timestamp, data, apiSecret),
    'Sign-Version': SIGN_VERSION,
    Timezone: 'UTC+8',
    'User-Agent': `pinward/${version}`,
  };
  return { headers, body };
}

function outcomeOf({ status, text }: Reply): Outcome {
  if (status >= 300 && status < 400) return failure(`HTTP ${status}: redirects are not followed`, status);
  if (status < 200 || status >= 300) return failure(`HTTP ${status}`, status);
  const { code, message } = readReply(text);
  if (code === undefined) return failure('the reply is not a JSON object with a numeric code', status);
  if (code !== 0) return failure(`code ${code}${message && `: ${message}`}`, status, code);
  return { delivered: true, httpStatus: status, code, fault: undefined };
}

/**
 * The reply's `code`, undefined if it is not a number, and what may be kept of its
 * `message`: printable characters, cut at the limit.
 */
function readReply(text: string): { code: number | undefined; message: string } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(withoutMark(text));
  } catch {
    parsed = undefined;
  }
  const reply: { code?: unknown; message?: unknown } = typeof parsed === 'object' && parsed !== null ? parsed : {};
  const message = typeof reply.message === 'string' ? reply.message : '';
  const printable = message.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, '?');
  return {
    code: typeof reply.code === 'number' ? reply.code : undefined,
    message: [...printable].slice(0, MESSAGE_CHARACTERS_LIMIT).join(''),
  };
}
