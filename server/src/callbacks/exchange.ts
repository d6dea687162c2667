import { type LookupAddress, lookup as systemLookup } from 'node:dns';
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import { type GuardMode, isAddressAllowed } from '../net/address-guard.ts';

/** Until there is a connection: name lookup and TLS handshake included. */
const CONNECT_TIMEOUT_MS = 3_000;
/** The whole exchange. */
export const DELIVERY_TIMEOUT_MS = 10_000;
const REPLY_BYTES_LIMIT = 16_384;
const IDLE_CONNECTIONS_LIMIT = 64;
/**
 * We end idle connections before the merchant's server does, which is mostly after 5 s or
 * later.
 */
const IDLE_CONNECTION_MS = 4_000;

export interface ExchangeOptions {
  mode: GuardMode;
  connectTimeoutMs?: number;
  timeoutMs?: number;
  /** Like `dns.lookup` with `all`. */
  lookup?: typeof systemLookup;
}

export interface Reply {
  status: number;
  text: string;
}

export interface Exchange {
  /** Posts a body and reads the whole reply. What it throws is for `faultText`. */
  post(url: URL, headers: Record<string, string | number>, body: Buffer): Promise<Reply>;
  close(): void;
}

/** A fault whose message the operator may see as it is. */
class Fault extends Error {}

/**
 * The merchant's server ended an idle connection just as we used it again. Most likely
 * nobody read the request.
 */
export class IdleConnectionEnded extends Fault {
  constructor() {
    super('the connection was ended before the answer');
  }
}

/**
 * Posts over connections of its own. No proxy variable of the environment redirects them,
 * and redirects are not followed. When it connects to a host, it checks all addresses of
 * the host and connects to one that it has checked.
 */
export function createExchange(options: ExchangeOptions): Exchange {
  const { mode, connectTimeoutMs = CONNECT_TIMEOUT_MS, timeoutMs = DELIVERY_TIMEOUT_MS } = options;
  const lookup = guardedLookup(mode, options.lookup ?? systemLookup);
  const pooled = { keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS_LIMIT, timeout: IDLE_CONNECTION_MS };
  const agents = { 'http:': new HttpAgent(pooled), 'https:': new HttpsAgent(pooled) };

  return {
    post: (url, headers, body) =>
      new Promise((resolve, reject) => {
        const secure = url.protocol === 'https:';
        const agent = agents[secure ? 'https:' : 'http:'];
        const request = (secure ? httpsRequest : httpRequest)(url, { method: 'POST', headers, agent, lookup });
        const fail = (error: Error): void => {
          reject(error); // first: destroying the request raises errors of its own
          request.destroy();
        };
        const wholeTimer = setTimeout(
          () => fail(new Fault(`no complete answer within ${timeoutMs / 1000} s`)),
          timeoutMs,
        );
        request.once('socket', (socket) => {
          if (!socket.connecting) return; // an idle connection that is used again
          const connectTimer = setTimeout(
            () => fail(new Fault(`no connection within ${connectTimeoutMs / 1000} s`)),
            connectTimeoutMs,
          );
          for (const event of [secure ? 'secureConnect' : 'connect', 'close'])
            socket.once(event, () => clearTimeout(connectTimer));
        });
        request.on('response', (response) => {
          readText(response, (text) => resolve({ status: response.statusCode as number, text }), fail);
        });
        request.on('error', (error: NodeJS.ErrnoException) =>
          reject(request.reusedSocket && error.code === 'ECONNRESET' ? new IdleConnectionEnded() : error),
        );
        request.on('close', () => clearTimeout(wholeTimer));
        request.end(body);
      }),
    close() {
      for (const agent of Object.values(agents)) agent.destroy();
    },
  };
}

/**
 * Resolves as the system does. Refuses a host unless callbacks may be sent to every one of
 * its addresses.
 */
function guardedLookup(mode: GuardMode, resolve: typeof systemLookup): LookupFunction {
  return (host, options, callback) => {
    resolve(host, { ...options, all: true }, (error, found) => {
      const addresses = found as LookupAddress[];
      if (error) return callback(error, '', 0);
      const [first] = addresses;
      if (first === undefined || !addresses.every(({ address }) => isAddressAllowed(address, mode)))
        return callback(new Fault('the host has an address that is not public'), '', 0);
      // The socket connects to what this returns: nothing is resolved a second time.
      if (options.all) return callback(null, addresses);
      callback(null, first.address, first.family);
    });
  };
}

function readText(response: IncomingMessage, done: (text: string) => void, fail: (error: Error) => void): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > REPLY_BYTES_LIMIT) fail(new Fault(`the reply is larger than ${REPLY_BYTES_LIMIT} bytes`));
    else chunks.push(chunk);
  });
  response.on('end', () => done(Buffer.concat(chunks).toString('utf8')));
  response.on('error', fail); // the reply was cut off
}

/**
 * What the operator may see of an error. Of errors that are not ours only the code:
 * messages name addresses and certificates.
 */
export function faultText(error: unknown): string {
  if (error instanceof Fault) return error.message;
  const { code } = error as NodeJS.ErrnoException;
  return `no answer (${/^[A-Z0-9_]{1,60}$/.test(code ?? '') ? code : 'unknown fault'})`;
}
