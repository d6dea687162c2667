import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { ERRORS, type ErrorName, errorText } from '@pinward/contract/errors';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { createAdmission } from './admission.ts';
import { keepRoom } from './connection-room.ts';
import { ignoreUpgrades } from './upgrades.ts';

/*
 * Connections and their limits. Requests of one connection are served one after the other: the next
 * one starts when the answer before it has been handed to the system. So a client that sends much
 * and reads nothing makes the process hold one answer for each connection, whatever it asks for.
 */

const CONNECTIONS_LIMIT = 10_000;
/** Pipelined requests that wait behind the one before them: of one connection, and of all. */
const PIPELINED_PER_CONNECTION = 128;
const PIPELINED_LIMIT = 4_096;
/**
 * Bytes of answers that clients do not read. Beyond it, the connection of the oldest answer is
 * closed.
 */
const UNREAD_BYTES_LIMIT = 64 * 1024 * 1024;
/** The size that is assumed for an answer that is read from a file while it is sent. */
const STREAM_BYTES = 128 * 1024;
/** How long an answer may wait for the client to read it. */
const UNREAD_TIMEOUT_MS = 10_000;
/** How long a request may hold a place without its whole body, while others wait for one. */
const SLOW_BODY_MS = 1_000;
/** From the first byte of a request to its last: a client that trickles loses its connection. */
const REQUEST_TIMEOUT_MS = 10_000;
/** What a request may still send after its answer. Beyond it, the connection is closed. */
const DRAINED_BYTES_LIMIT = 4 * 1024 * 1024;
const HEADERS_TIMEOUT_MS = 5_000;
const IDLE_TIMEOUT_MS = 65_000;
const HEADER_BYTES = 16 * 1024;
/** What load balancers ask for. */
const HEALTH_PATHS: ReadonlySet<string> = new Set(['/healthz', '/readyz']);
const SWEEP_EVERY_MS = 1_000;

interface Connection {
  serve: RequestListener;
  /** The request that is in service, or waits for it. */
  current: IncomingMessage | undefined;
  pipelined: [IncomingMessage, ServerResponse][];
  /**
   * Runs when all of them are answered. Until then nothing is read from the connection.
   */
  afterwards: (() => void) | undefined;
}

/** An answer that was written, and not handed to the system yet. */
interface Unread {
  bytes: number;
  sinceMs: number;
}

export interface Connections {
  /** Creates the HTTP server that hands requests to `serve`, within the limits. */
  createServer(serve: RequestListener): Server;
  /**
   * Ends the connections when the app closes: first the requests in service end, then every
   * connection is closed, idle ones too. A client that does not finish its request is cut off after
   * REQUEST_TIMEOUT_MS.
   */
  closeWith(app: FastifyInstance): void;
}

/**
 * `addressOf` tells whose request it is: addresses take turns if the process is busy.
 *
 * Long, because its functions share the state of each connection.
 */
export function createConnections(log: Logger, addressOf: (request: IncomingMessage) => string): Connections {
  const connections = new WeakMap<Socket, Connection>();
  const admission = createAdmission();
  /** More than one if the host's name has several addresses. */
  const servers: Server[] = [];
  let pipelined = 0;
  /** When each began. Oldest first. */
  const serving = new Map<ServerResponse, number>();
  /** Oldest first. */
  const unread = new Map<ServerResponse, Unread>();
  let unreadBytes = 0;
  let refused = 0;

  function onRequest(serve: RequestListener, request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    if (socket.destroyed) return; // the rest of what was read before the connection was closed
    let connection = connections.get(socket);
    if (connection === undefined) {
      connection = { serve, current: undefined, pipelined: [], afterwards: undefined };
      connections.set(socket, connection);
    }
    if (connection.current === undefined) {
      submit(connection, request, response);
    } else if (connection.pipelined.length >= PIPELINED_PER_CONNECTION || pipelined >= PIPELINED_LIMIT) {
      forgetPipelined(connection);
      socket.destroy();
    } else {
      connection.pipelined.push([request, response]);
      pipelined++;
      socket.pause();
    }
  }

  function submit(connection: Connection, request: IncomingMessage, response: ServerResponse): void {
    connection.current = request;
    response.on('close', onClosed);
    admission.admit({
      light: HEALTH_PATHS.has(request.url ?? ''),
      address: () => addressOf(request),
      start() {
        if (response.destroyed) return admission.release(); // its client has gone
        serving.set(response, performance.now());
        response.on('pipe', onPiped).on('prefinish', onWritten);
        connection.serve(request, response);
      },
      refuse() {
        refused++;
        refuse(response, 503, 'tooFrequent', { 'Retry-After': '1' });
      },
    });
  }

  /** A file is being sent. */
  function onPiped(this: ServerResponse): void {
    onAnswered(this, STREAM_BYTES);
  }

  /** `end()` was called. */
  function onWritten(this: ServerResponse): void {
    onAnswered(this, this.writableLength);
  }

  function onAnswered(response: ServerResponse, bytes: number): void {
    if (!serving.delete(response)) return;
    admission.release();
    if (!response.req.complete) drain(response.req);
    unread.set(response, { bytes, sinceMs: performance.now() });
    unreadBytes += bytes;
    if (unreadBytes > UNREAD_BYTES_LIMIT) unread.keys().next().value?.destroy();
  }

  /** The answer was handed to the system, or its connection ended. */
  function onClosed(this: ServerResponse): void {
    if (serving.delete(this)) admission.release();
    unreadBytes -= unread.get(this)?.bytes ?? 0;
    unread.delete(this);
    const { socket } = this.req;
    const connection = connections.get(socket) as Connection;
    connection.current = undefined;
    if (socket.destroyed) {
      forgetPipelined(connection);
      return;
    }
    const next = connection.pipelined.shift();
    if (next === undefined) {
      connection.afterwards?.();
      return;
    }
    pipelined--;
    if (connection.pipelined.length === 0 && connection.afterwards === undefined) socket.resume();
    submit(connection, ...next);
  }

  /** Does something to a connection after the answers to the requests that came before. */
  function afterAnswers(socket: Socket, work: () => void): void {
    const connection = connections.get(socket);
    if (connection?.current === undefined) {
      work();
      return;
    }
    socket.pause();
    connection.afterwards = () => {
      connection.afterwards = undefined;
      work();
    };
  }

  /**
   * What is not HTTP never becomes a request. It gets the envelope all the same, and the connection
   * ends.
   */
  function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
    const connection = connections.get(socket);
    const end = (): void => endWith(socket, statusLineOf(error.code));
    if (error.code === 'ECONNRESET' || !socket.writable) {
      socket.destroy();
    } else if (connection?.current?.complete === false) {
      end(); // its body is broken, so it waits for the rest in vain
    } else {
      if (connection?.pipelined.at(-1)?.[0].complete === false) {
        connection.pipelined.pop();
        pipelined--;
      }
      afterAnswers(socket, end);
    }
  }

  function forgetPipelined(connection: Connection): void {
    pipelined -= connection.pipelined.length;
    connection.pipelined = [];
  }

  function sweep(): void {
    if (admission.counts().waiting > 0) cutSlowBodies();
    admission.expire();
    const latestMs = performance.now() - UNREAD_TIMEOUT_MS;
    for (const [response, { sinceMs }] of unread) {
      if (sinceMs > latestMs) break;
      response.destroy();
    }
    if (refused > 0) log.warn({ refused, ...admission.counts(), unreadBytes }, 'overloaded: requests were refused');
    refused = 0;
  }

  /** While others wait, a client that is slow to send its body loses its place to them. */
  function cutSlowBodies(): void {
    const latestMs = performance.now() - SLOW_BODY_MS;
    for (const [{ req }, sinceMs] of serving) {
      if (sinceMs > latestMs) break;
      if (!req.complete) req.socket.destroy();
    }
  }

  return {
    createServer(serve) {
      const server = createServer(
        {
          maxHeaderSize: HEADER_BYTES,
          headersTimeout: HEADERS_TIMEOUT_MS,
          requestTimeout: REQUEST_TIMEOUT_MS,
          keepAliveTimeout: IDLE_TIMEOUT_MS,
          connectionsCheckingInterval: 1_000,
          requireHostHeader: false, // Node would refuse without the envelope; app.ts does it
        },
        (request, response) => onRequest(serve, request, response),
      );
      keepRoom(server, CONNECTIONS_LIMIT, (socket) => connections.get(socket)?.current !== undefined);
      server.on('clientError', answerBrokenRequest);
      server.on('checkExpectation', (_request, response) => refuse(response, 417, 'invalidParameter'));
      server.on('connect', (_request, socket: Socket) =>
        afterAnswers(socket, () => endWith(socket, '405 Method Not Allowed')),
      );
      ignoreUpgrades(server, afterAnswers);
      const sweeping = setInterval(sweep, SWEEP_EVERY_MS).unref();
      server.on('close', () => clearInterval(sweeping));
      servers.push(server);
      return server;
    },
    closeWith(app) {
      app.addHook('preClose', (done) => {
        if (!app.server.listening) return done();
        const beganMs = performance.now();
        const timer = setInterval(() => {
          const { serving, waiting } = admission.counts();
          const idle = serving + waiting + unread.size + pipelined === 0;
          const all = idle || performance.now() - beganMs > REQUEST_TIMEOUT_MS;
          for (const server of servers)
            if (all) server.closeAllConnections();
            else server.closeIdleConnections();
        }, 20);
        app.server.once('close', () => clearInterval(timer));
        done();
      });
    },
  };
}

/**
 * Reads what a client still sends of a request that was answered already, so that the client reads
 * the answer.
 */
function drain(request: IncomingMessage): void {
  let drained = 0;
  request.on('data', (bytes: Buffer) => {
    drained += bytes.length;
    if (drained > DRAINED_BYTES_LIMIT) request.socket.destroy();
  });
  request.read(0); // else Node reads the rest itself, without limit
}

/**
 * Answers with the envelope before a request reaches Fastify. In English: its headers were not
 * looked at.
 */
function refuse(
  response: ServerResponse,
  status: number,
  error: ErrorName,
  headers: Record<string, string> = {},
): void {
  const body = envelopeOf(error);
  response.writeHead(status, { ...headersOf(body), ...headers }).end(body);
}

function endWith(socket: Socket, statusLine: string): void {
  const body = envelopeOf('invalidParameter');
  const headers = Object.entries({ ...headersOf(body), Connection: 'close' });
  const head = [`HTTP/1.1 ${statusLine}`, ...headers.map(([name, value]) => `${name}: ${value}`)];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

function envelopeOf(error: ErrorName): string {
  return JSON.stringify({ code: ERRORS[error].code, msg: errorText(error, 'en_US') });
}

function headersOf(body: string): Record<string, string> {
  return {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': String(Buffer.byteLength(body)),
    'X-Request-Id': randomUUID(),
  };
}

function statusLineOf(errorCode: string | undefined): string {
  if (errorCode === 'HPE_HEADER_OVERFLOW') return '431 Request Header Fields Too Large';
  return errorCode === 'ERR_HTTP_REQUEST_TIMEOUT' ? '408 Request Timeout' : '400 Bad Request';
}
