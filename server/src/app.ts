import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import Fastify, { type FastifyBaseLogger, type FastifyInstance, type HTTPMethods, LogController } from 'fastify';
import { authenticate } from './auth/authenticate.ts';
import { tokenRoutes } from './auth/routes.ts';
import { cardholderRoutes } from './cardholders/routes.ts';
import { cardRoutes } from './cards/routes.ts';
import { codeOf, textOf } from './errors.ts';
import { answerFault, outcomeOf, sendFailure } from './http/envelope.ts';
import { healthRoutes } from './http/health.ts';
import { repeatAnswers } from './http/idempotency.ts';
import { issuerRoutes } from './issuer/routes.ts';
import { documentApi, serveDocuments } from './openapi.ts';
import { jwksRoutes, pinRoutes } from './pins/routes.ts';
import { productRoutes } from './products/routes.ts';
import type { Services } from './services.ts';

const BODY_LIMIT_BYTES = 16 * 1024;
const HEADER_LIMIT_BYTES = 16 * 1024;
/** From the first byte of a request to its last: a client that trickles loses its connection. */
const REQUEST_TIMEOUT_MS = 10_000;
const HEADERS_TIMEOUT_MS = 5_000;
const IDLE_CONNECTION_TIMEOUT_MS = 65_000;
const MOST_CONNECTIONS = 10_000;

export type App = FastifyInstance;

/** Builds the whole HTTP side; `main.ts` listens, tests inject. */
export async function buildApp(services: Services): Promise<App> {
  const app = Fastify({
    loggerInstance: services.log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    trustProxy: services.config.trustProxy.length > 0 ? services.config.trustProxy : false,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: IDLE_CONNECTION_TIMEOUT_MS,
    http: { maxHeaderSize: HEADER_LIMIT_BYTES, headersTimeout: HEADERS_TIMEOUT_MS, connectionsCheckingInterval: 1_000 },
    // A request that comes on an open connection while we stop is served, and told to close.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 1_000 },
    // The body is what the merchant sent: nothing is coerced, filled in or taken out.
    ajv: { customOptions: { coerceTypes: false, useDefaults: false, removeAdditional: false } },
    clientErrorHandler: answerBrokenRequest,
    frameworkErrors: (error, request, reply) => {
      reply.header('X-Request-Id', request.id);
      return answerFault(error, request, reply);
    },
  });
  app.server.maxConnections = MOST_CONNECTIONS;
  app.removeContentTypeParser('text/plain');

  // No logger of its own for every request: the two places that log name the request themselves.
  app.setChildLoggerFactory((logger) => logger);
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('X-Request-Id', request.id);
    // Before the body is read: no form of it makes an unknown path anything but unknown.
    if (request.is404) sendFailure(request, reply, 'invalidParameter', undefined, 404);
    else done();
  });
  app.addHook('onResponse', (request, reply, done) => {
    const { caller, issuer } = request;
    request.log.info(
      {
        requestId: request.id,
        method: request.method,
        route: request.routeOptions.url,
        status: reply.statusCode,
        code: outcomeOf(request),
        ms: Math.round(reply.elapsedTime * 10) / 10,
        ip: request.ip,
        merchant: caller?.merchantNo, // what is undefined is left out
        credential: caller?.credentialId,
        issuer: issuer?.issuerNo,
      },
      'request',
    );
    done();
  });
  app.setErrorHandler(answerFault);
  // Absent outside the gate, whatever the type says: only a gated scope's handlers may read it.
  app.decorateRequest('caller');
  app.decorateRequest('issuer');

  await documentApi(app);
  const methodsOf = collectMethods(app);
  const track = waitForHandlers(app);

  await app.register(
    async (scope) => {
      scope.addHook('onRequest', authenticate(services, { accessToken: false }));
      await scope.register(tokenRoutes(services));
    },
    { prefix: '/open-api/v1' },
  );
  await app.register(
    async (scope) => {
      scope.addHook('onRequest', authenticate(services, { accessToken: true }));
      // Repeatable as it is: it pays for nobody's Idempotency-Key.
      await scope.register(pinRoutes(services));
      await scope.register(async (keyed) => {
        repeatAnswers(keyed, services, track);
        await keyed.register(cardholderRoutes(services));
        await keyed.register(productRoutes(services));
        await keyed.register(cardRoutes(services));
      });
    },
    { prefix: '/open-api/v1' },
  );
  await app.register(issuerRoutes(services), { prefix: '/issuer' });
  await app.register(jwksRoutes(services));
  await app.register(healthRoutes(services));
  refuseOtherMethods(app, methodsOf);
  await serveDocuments(app);
  app.addHook('onClose', async () => services.gate.stop());
  endConnections(app);
  return app;
}

/**
 * How a stop goes: requests that are being served end, then every connection is closed, also those on which nothing was ever
 * said or that went idle after we began. A caller that does not finish its request is cut at the time that a request may take.
 */
function endConnections(app: App): void {
  let served = 0;
  const closed = (): void => void served--;
  app.server.on('request', (_request, response) => {
    served++;
    response.on('close', closed);
  });
  app.addHook('preClose', (done) => {
    const began = performance.now();
    const timer = setInterval(() => {
      if (served === 0 || performance.now() - began > REQUEST_TIMEOUT_MS) app.server.closeAllConnections();
      else app.server.closeIdleConnections();
    }, 20);
    app.server.once('close', () => clearInterval(timer));
    done();
  });
}

/**
 * A caller that goes away does not end its handler. The close waits for it, and for other work on a request that is tracked, so that
 * the database is there to its end.
 */
function waitForHandlers(app: App): (work: Promise<unknown>) => void {
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
    // One leads to the next: a handler, then the storing of its answer.
    while (running > 0) {
      await new Promise<void>((resolve) => {
        whenIdle = () => setImmediate(resolve);
      });
    }
  });
  return track;
}

function collectMethods(app: App): Map<string, string[]> {
  const methodsOf = new Map<string, string[]>();
  app.addHook('onRoute', ({ url, method }) => {
    methodsOf.set(url, [...(methodsOf.get(url) ?? []), ...[method].flat()]);
  });
  return methodsOf;
}

/** A known path with another method is 405 and names the right one. */
function refuseOtherMethods(app: App, methodsOf: Map<string, string[]>): void {
  for (const [url, methods] of [...methodsOf]) {
    app.route({
      url,
      method: app.supportedMethods.filter((method) => !methods.includes(method)) as HTTPMethods[],
      schema: { hide: true } as object,
      onRequest: (request, reply) => {
        sendFailure(request, reply.header('Allow', methods.join(', ')), 'invalidParameter', undefined, 405);
      },
      handler: () => {},
    });
  }
}

/** What is no HTTP never becomes a request; it gets the envelope all the same, and the connection ends. */
function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const status =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? '408 Request Timeout'
        : '400 Bad Request';
  const body = JSON.stringify({ code: codeOf('invalidParameter'), msg: textOf('invalidParameter', 'en_US') });
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${body.length}\r\nX-Request-Id: ${randomUUID()}\r\nConnection: close\r\n\r\n${body}`,
  );
}
