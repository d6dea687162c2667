import { type LookupAddress, lookup as systemLookup } from 'node:dns';
import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { LookupFunction, Socket } from 'node:net';
import { type GuardMode, isAddressAllowed } from '../net/address-guard.ts';

/** Until there is a connection: name lookup and TLS handshake included. */
const CONNECT_TIMEOUT_MS = 3_000;
/** A whole attempt, whatever the merchant's server does. */
export const DELIVERY_TIMEOUT_MS = 10_000;
/** Of the headers, and of the body. */
const REPLY_BYTES_LIMIT = 16_384;
/** Answers such as 102 Processing before the final one. */
const INTERIM_ANSWERS_LIMIT = 16;
const IDLE_CONNECTIONS_LIMIT = 64;
/**
 * We end idle connections before the merchant's server does, which is mostly after 5 s or
 * later.
 */
const IDLE_CONNECTION_MS = 4_000;

export interface ExchangeOptions {
  mode: GuardMode;
  connectTimeoutMs?: number;
  /** Like `dns.lookup` with `all`. */
  lookup?: typeof systemLookup;
}

export interface Reply {
  status: number;
  text: string;
}

interface Limits {
  /** When the attempt began, by `performance.now()`. It may take several requests. */
  beganAtMs: number;
  timeoutMs: number;
  /** Ends the attempt at once. */
  signal: AbortSignal | undefined;
}

export interface Exchange {
  /**
   * Posts a body and reads the whole reply. Settles within the limits, whatever
   * the other side sends or leaves out. What it throws is for `faultText`.
   */
  post(url: URL, headers: Record<string, string | number>, body: Buffer, limits: Limits): Promise<Reply>;
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
    super(ENDED);
  }
}
const ENDED = 'the connection was ended before the answer';

/**
 * Posts over connections of its own. No proxy variable of the environment redirects them,
 * and redirects are not followed. When it connects to a host, it checks all addresses of
 * the host and connects to one that it has checked.
 */
export function createExchange(options: ExchangeOptions): Exchange {
  const lookup = guardedLookup(options.mode, options.lookup ?? systemLookup);
  const pooled = { keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS_LIMIT, timeout: IDLE_CONNECTION_MS };
  const agents = { 'http:': new HttpAgent(pooled), 'https:': new HttpsAgent(pooled) };
  for (const agent of Object.values(agents)) endIdleOnData(agent);

  function open(url: URL, headers: Record<string, string | number>): ClientRequest {
    const settings = { method: 'POST', headers, lookup, maxHeaderSize: REPLY_BYTES_LIMIT };
    return url.protocol === 'https:'
      ? httpsRequest(url, { ...settings, agent: agents['https:'] })
      : httpRequest(url, { ...settings, agent: agents['http:'] });
  }

  return {
    post: (url, headers, body, { beganAtMs, timeoutMs, signal }) =>
      new Promise((resolve, reject) => {
        const request = open(url, headers);
        const cancel = (): void => fail(new Fault('the attempt was ended'));
        const timer = setTimeout(
          () => fail(new Fault(`no complete answer within ${timeoutMs / 1000} s`)),
          beganAtMs + timeoutMs - performance.now(),
        );
        signal?.addEventListener('abort', cancel);
        const stopTimer = limitConnecting(request, options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS, fail);

        // No event of the request takes back the limits: only the end of the promise does.
        function release(): void {
          clearTimeout(timer);
          signal?.removeEventListener('abort', cancel);
          stopTimer();
        }
        function done(reply: Reply): void {
          release();
          resolve(reply);
        }
        function fail(error: Error): void {
          release();
          reject(error); // first: destroying the request raises errors of its own
          request.destroy();
        }
        readReply(request, done, fail);
        request.end(body);
      }),
    close() {
      for (const agent of Object.values(agents)) agent.destroy();
    },
  };
}

/** An idle connection on which bytes arrive is ended: they belong to no request. */
function endIdleOnData(agent: HttpAgent): void {
  const end = function (this: Socket): void {
    this.destroy();
  };
  const keep = agent.keepSocketAlive;
  const reuse = agent.reuseSocket;
  agent.keepSocketAlive = (socket) => {
    (socket as Socket).once('data', end);
    return keep.call(agent, socket);
  };
  agent.reuseSocket = (socket, request) => {
    (socket as Socket).off('data', end);
    reuse.call(agent, socket, request);
  };
}

/** Fails a request that has no connection in time. Returns what ends the watch. */
function limitConnecting(request: ClientRequest, limitMs: number, fail: (error: Error) => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  const stop = (): void => clearTimeout(timer);
  request.once('socket', (socket) => {
    if (!socket.connecting) return; // an idle connection that is used again
    timer = setTimeout(() => fail(new Fault(`no connection within ${limitMs / 1000} s`)), limitMs);
    socket.once('encrypted' in socket ? 'secureConnect' : 'connect', stop);
  });
  return stop;
}

/** Calls `done` or `fail` however the exchange ends, if it ends by itself. */
function readReply(request: ClientRequest, done: (reply: Reply) => void, fail: (error: Error) => void): void {
  let interim = 0;
  let answered = false;
  let bytesBefore = 0;
  request.once('socket', (socket) => {
    bytesBefore = socket.bytesRead;
  });
  request.on('information', () => {
    if (++interim > INTERIM_ANSWERS_LIMIT) fail(new Fault(`more than ${INTERIM_ANSWERS_LIMIT} answers 1xx`));
  });
  // Node would end the connection and say nothing.
  request.on('upgrade', (response, socket) => {
    socket.destroy();
    done({ status: response.statusCode as number, text: '' });
  });
  request.on('response', (response) => {
    answered = true;
    readText(response, (text) => done({ status: response.statusCode as number, text }), fail);
  });
  request.on('error', (error: NodeJS.ErrnoException) => {
    const unread = request.reusedSocket && request.socket?.bytesRead === bytesBefore;
    const ended = error.code === 'ECONNRESET' || error.code === 'EPIPE';
    fail(unread && ended ? new IdleConnectionEnded() : error);
  });
  request.on('close', () => {
    if (!answered) fail(new Fault(ENDED));
  });
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
  response.on('close', () => fail(new Fault(ENDED)));
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
