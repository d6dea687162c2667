import type { KeyObject } from 'node:crypto';
import { type LookupAddress, lookup as systemLookup } from 'node:dns';
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import { version } from '../version.ts';
import { type GuardMode, isAddressAllowed, urlFault } from './address-guard.ts';
import { signCallback } from './signature.ts';

/** Until there is a connection, its name looked up and its TLS agreed on. */
const CONNECT_TIMEOUT_MS = 3_000;
/** From first to last. */
export const DELIVERY_TIMEOUT_MS = 10_000;
const MOST_REPLY_BYTES = 16_384;
const MOST_MESSAGE_CHARACTERS = 100;
const MOST_IDLE_CONNECTIONS = 64;
/** An idle connection is ended before the merchant's server does it, which is mostly after 5 s or later. */
const IDLE_CONNECTION_MS = 4_000;

/** Where a merchant's callbacks go, and what signs them. */
export interface Endpoint {
  merchantNo: string;
  url: string;
  /** The `appId` of the signature. */
  apiKey: string;
  apiSecret: KeyObject;
}

interface Message {
  pushId: string;
  action: string;
  /** JSON, sent as it stands. */
  data: string;
}

/** What became of a delivery. `fault` is for the operator: it holds no secret, no URL, and of the reply its code and message alone. */
export interface Outcome {
  delivered: boolean;
  httpStatus: number | undefined;
  code: number | undefined;
  fault: string | undefined;
}

export function failure(fault: string, httpStatus?: number, code?: number): Outcome {
  return { delivered: false, httpStatus, code, fault };
}

export interface DeliveryOptions {
  mode: GuardMode;
  clock: () => number;
  connectTimeoutMs?: number;
  timeoutMs?: number;
  /** As `dns.lookup` with `all`. */
  lookup?: typeof systemLookup;
}

export interface Delivery {
  /** Sends one callback. Never throws. Delivered is what was answered with a status of 2xx and a JSON object whose `code` is 0. */
  deliver(endpoint: Endpoint, message: Message): Promise<Outcome>;
  close(): void;
}

interface Reply {
  status: number;
  text: string;
}

/** A reason that is told as it stands. */
class Fault extends Error {}
/** The merchant's server ended an idle connection just as it was used again: most likely nobody read the request. */
class KeptTooLong extends Fault {
  constructor() {
    super('the connection was ended before the answer');
  }
}

/**
 * Sends callbacks over connections of its own, which no proxy variable of the environment redirects and no redirect leads astray.
 * A host's addresses are all judged when it is connected to, and the connection goes to one of those that were judged.
 */
export function createDelivery(options: DeliveryOptions): Delivery {
  const { mode, clock, connectTimeoutMs = CONNECT_TIMEOUT_MS, timeoutMs = DELIVERY_TIMEOUT_MS } = options;
  const lookup = guardedLookup(mode, options.lookup ?? systemLookup);
  const pooled = { keepAlive: true, maxFreeSockets: MOST_IDLE_CONNECTIONS, timeout: IDLE_CONNECTION_MS };
  const agents = { 'http:': new HttpAgent(pooled), 'https:': new HttpsAgent(pooled) };

  function exchange(url: URL, headers: Record<string, string | number>, body: Buffer): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const secure = url.protocol === 'https:';
      const agent = agents[secure ? 'https:' : 'http:'];
      const request = (secure ? httpsRequest : httpRequest)(url, { method: 'POST', headers, agent, lookup });
      const end = (error: Error): void => {
        reject(error); // before what ends with the request complains
        request.destroy();
      };
      const whole = setTimeout(() => end(new Fault(`no whole answer within ${timeoutMs / 1000} s`)), timeoutMs);
      request.once('socket', (socket) => {
        if (!socket.connecting) return; // a kept one
        const timer = setTimeout(() => end(new Fault(`no connection within ${connectTimeoutMs / 1000} s`)), connectTimeoutMs);
        for (const event of [secure ? 'secureConnect' : 'connect', 'close']) socket.once(event, () => clearTimeout(timer));
      });
      request.on('response', (response) => {
        readReply(response, (text) => resolve({ status: response.statusCode as number, text }), end);
      });
      request.on('error', (error: NodeJS.ErrnoException) =>
        reject(request.reusedSocket && error.code === 'ECONNRESET' ? new KeptTooLong() : error),
      );
      request.on('close', () => clearTimeout(whole));
      request.end(body);
    });
  }

  return {
    async deliver({ url: urlText, apiKey, apiSecret }, { pushId, action, data }) {
      const fault = urlFault(urlText, mode);
      if (fault !== undefined) return failure(`the URL is refused: ${fault}`);
      try {
        const timestamp = String(clock());
        const body = Buffer.from(`{"id":${JSON.stringify(pushId)},"action":${JSON.stringify(action)},"data":${data}}`, 'utf8');
        const headers = {
          'Content-Type': 'application/json; charset=utf-8',
          'Content-Length': body.length,
          Timestamp: timestamp,
          Signature: signCallback(apiKey, timestamp, data, apiSecret),
          'Sign-Version': 'V1',
          Timezone: 'UTC+8',
          'User-Agent': `pinward/${version}`,
        };
        const send = () => exchange(new URL(urlText), headers, body);
        const { status, text } = await send().catch((error: unknown) => {
          if (error instanceof KeptTooLong) return send();
          throw error;
        });
        if (status >= 300 && status < 400) return failure(`HTTP ${status}: redirects are not followed`, status);
        if (status < 200 || status >= 300) return failure(`HTTP ${status}`, status);
        const { code, message } = readVerdict(text);
        if (code === undefined) return failure('the reply is no JSON object with a number code', status);
        if (code !== 0) return failure(`code ${code}${message && `: ${message}`}`, status, code);
        return { delivered: true, httpStatus: status, code, fault: undefined };
      } catch (error) {
        return failure(describe(error));
      }
    },
    close() {
      for (const agent of Object.values(agents)) agent.destroy();
    },
  };
}

/** Resolves as the system does, and refuses a host unless every address that it has may be sent to. */
function guardedLookup(mode: GuardMode, resolve: typeof systemLookup): LookupFunction {
  return (host, options, callback) => {
    resolve(host, { ...options, all: true }, (error, found) => {
      const addresses = found as LookupAddress[];
      if (error) return callback(error, '', 0);
      const [first] = addresses;
      if (first === undefined || !addresses.every(({ address }) => isAddressAllowed(address, mode)))
        return callback(new Fault('the host has an address that is not public'), '', 0);
      // What is given here is what the socket connects to: nothing is resolved a second time.
      if (options.all) return callback(null, addresses);
      callback(null, first.address, first.family);
    });
  };
}

function readReply(response: IncomingMessage, done: (text: string) => void, fail: (error: Error) => void): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MOST_REPLY_BYTES) fail(new Fault(`the reply is larger than ${MOST_REPLY_BYTES} bytes`));
    else chunks.push(chunk);
  });
  response.on('end', () => done(Buffer.concat(chunks).toString('utf8')));
  response.on('error', fail); // cut off in the middle
}

/** The reply's `code`, undefined if it has none that is a number, and what may be kept of its `message`: printable characters, cut. */
function readVerdict(reply: string): { code: number | undefined; message: string } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(reply);
  } catch {
    parsed = undefined;
  }
  const { code, message } = (typeof parsed === 'object' && parsed !== null ? parsed : {}) as { code?: unknown; message?: unknown };
  const text = typeof message === 'string' ? message.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, '?') : '';
  return { code: typeof code === 'number' ? code : undefined, message: [...text].slice(0, MOST_MESSAGE_CHARACTERS).join('') };
}

/** Of other errors the code alone: their messages name addresses, and certificates' names. */
function describe(error: unknown): string {
  if (error instanceof Fault) return error.message;
  const { code } = error as NodeJS.ErrnoException;
  return `no answer (${/^[A-Z0-9_]{1,60}$/.test(code ?? '') ? code : 'unknown fault'})`;
}
