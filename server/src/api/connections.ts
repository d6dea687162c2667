import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import { ERRORS } from '@pinward/contract/errors';
import type { FastifyInstance } from 'fastify';

const CONNECTIONS_LIMIT = 10_000;
/** From the first byte of a request to its last: a client that trickles loses its connection. */
const REQUEST_TIMEOUT_MS = 10_000;

/** Limits on connections and requests, for Fastify. */
export const CONNECTION_OPTIONS = {
  bodyLimit: 16 * 1024,
  requestTimeout: REQUEST_TIMEOUT_MS,
  keepAliveTimeout: 65_000,
  http: { maxHeaderSize: 16 * 1024, headersTimeout: 5_000, connectionsCheckingInterval: 1_000 },
  // A request that arrives on an open connection during a stop is served, and told to close.
  return503OnClosing: false,
  forceCloseConnections: 'idle',
  clientErrorHandler: answerBrokenRequest,
} as const;

/** What is not HTTP never becomes a request. It gets the envelope all the same, and the connection ends. */
function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const { code, english } = ERRORS.invalidParameter;
  const body = JSON.stringify({ code, msg: english });
  const head = [
    `HTTP/1.1 ${statusLineOf(error.code)}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${body.length}`,
    `X-Request-Id: ${randomUUID()}`,
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

function statusLineOf(errorCode: string | undefined): string {
  if (errorCode === 'HPE_HEADER_OVERFLOW') return '431 Request Header Fields Too Large';
  return errorCode === 'ERR_HTTP_REQUEST_TIMEOUT' ? '408 Request Timeout' : '400 Bad Request';
}

/**
 * Bounds the connections, and ends them at a stop: first the requests that are being served end, then every
 * connection is closed, idle ones too. A caller that does not finish its request is cut off after REQUEST_TIMEOUT_MS.
 */
export function manageConnections(app: FastifyInstance): void {
  app.server.maxConnections = CONNECTIONS_LIMIT;
  let serving = 0;
  const ended = (): void => void serving--;
  app.server.on('request', (_request, response) => {
    serving++;
    response.on('close', ended);
  });
  app.addHook('preClose', (done) => {
    const began = performance.now();
    const timer = setInterval(() => {
      if (serving === 0 || performance.now() - began > REQUEST_TIMEOUT_MS) app.server.closeAllConnections();
      else app.server.closeIdleConnections();
    }, 20);
    app.server.once('close', () => clearInterval(timer));
    done();
  });
}

/** Tells the app of work that its close must wait for. */
export type Track = (work: Promise<unknown>) => void;

/**
 * Makes a close wait for handlers, whose callers may have gone away, and for other work that is tracked: so the
 * database is there until they end. Call it before routes are added.
 */
export function trackHandlers(app: FastifyInstance): Track {
  let running = 0;
  let whenIdle: (() => void) | undefined;
  const ended = (): void => {
    running--;
    if (running === 0) whenIdle?.();
  };
  function track(work: Promise<unknown>): void {
    running++;
    work.then(ended, ended);
  }
  app.addHook('onRoute', (route) => {
    const { handler } = route;
    route.handler = function tracked(request, reply) {
      const result: unknown = handler.call(this, request, reply);
      if (result instanceof Promise) track(result);
      return result;
    };
  });
  app.addHook('onClose', async () => {
    // Again and again, since one leads to another: a handler, then the storing of its answer.
    while (running > 0) {
      await new Promise<void>((resolve) => {
        whenIdle = () => setImmediate(resolve);
      });
    }
  });
  return track;
}
