import { randomUUID } from 'node:crypto';
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import { createConnections } from './api/connections.ts';
import { answeredCode, answerFault, sendFailure } from './api/envelope.ts';
import { healthRoutes } from './api/health.ts';
import { issuerApi } from './api/issuer/routes.ts';
import { readJsonBodies } from './api/json-body.ts';
import { jwksRoutes } from './api/jwks.ts';
import { merchantApi } from './api/merchant/routes.ts';
import { isNotOffered } from './api/not-offered.ts';
import { documentMerchantApi, serveDocuments } from './api/openapi.ts';
import { collectMethods } from './api/other-methods.ts';
import { createAddressReader, nameAddresses } from './api/request-address.ts';
import { trackHandlers } from './api/track-handlers.ts';
import type { Services } from './services.ts';

export type App = FastifyInstance;

/** The largest request is far smaller. */
const BODY_BYTES = 16 * 1024;

/** Builds the whole HTTP side. `main.ts` listens; tests inject. */
export async function buildApp(services: Services): Promise<App> {
  const { config, log } = services;
  const readAddress = createAddressReader(config.trustProxy);
  const connections = createConnections(log, readAddress);
  const app = Fastify({
    serverFactory: (serve) => connections.createServer(serve),
    clientErrorHandler: () => {}, // Fastify's answers at once, without the envelope; connections.ts has its own
    // A request that arrives on an open connection during a stop is served, and told to close.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    bodyLimit: BODY_BYTES,
    loggerInstance: log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 1_000 },
    // The body stays as the merchant sent it: nothing is coerced, filled in or removed.
    ajv: { customOptions: { coerceTypes: false, useDefaults: false, removeAdditional: false } },
    frameworkErrors: (error, request, reply) => {
      reply.header('X-Request-Id', request.id);
      return answerFault(error, request, reply);
    },
  });
  app.removeContentTypeParser('text/plain');
  readJsonBodies(app);
  app.setErrorHandler(answerFault);
  nameAddresses(app, readAddress);
  nameRequests(app);
  logAnswers(app);
  connections.closeWith(app);
  const track = trackHandlers(app);
  const refuseOtherMethods = collectMethods(app);

  await documentMerchantApi(app);
  await app.register(merchantApi(services, track), { prefix: '/open-api/v1' });
  await app.register(issuerApi(services), { prefix: '/issuer' });
  await app.register(jwksRoutes(services));
  await app.register(healthRoutes(services));
  await serveDocuments(app);
  refuseOtherMethods();

  app.addHook('onClose', async () => services.cache.stop());
  return app;
}

/**
 * Every answer carries the id of its request. An unknown path answers before its body is read, and
 * so does a request that does not have one Host, which HTTP/1.1 asks for (RFC 9112, 3.2).
 */
function nameRequests(app: App): void {
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('X-Request-Id', request.id);
    if (request.is404) {
      const error = isNotOffered(request.url) ? 'callNotOffered' : 'invalidParameter';
      sendFailure(request, reply, error, { httpStatus: 404 });
    } else if (request.raw.httpVersion === '1.1' && countHosts(request.raw.rawHeaders) !== 1)
      sendFailure(request, reply, 'invalidParameter', { httpStatus: 400, detail: { field: 'Host' } });
    else done();
  });
}

/** Given are the names and values in turn. */
function countHosts(rawHeaders: string[]): number {
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.length === 4 && name.toLowerCase() === 'host') count++;
  }
  return count;
}

/** One line for each request. */
function logAnswers(app: App): void {
  // No logger for each request: the two places that log name the request themselves.
  app.setChildLoggerFactory((logger) => logger);
  // Absent outside the gates, whatever the types say: only handlers of a gated scope may read them.
  app.decorateRequest('caller');
  app.decorateRequest('issuer');
  app.addHook('onResponse', (request, reply, done) => {
    const { caller, issuer } = request;
    request.log.info(
      {
        requestId: request.id,
        method: request.method,
        route: request.routeOptions.url,
        status: reply.statusCode,
        code: answeredCode(request),
        ms: Math.round(reply.elapsedTime * 10) / 10,
        ip: request.address,
        merchant: caller?.merchantNo, // members that are undefined are left out
        credential: caller?.credentialId,
        issuer: issuer?.issuerNo,
      },
      'request',
    );
    done();
  });
}
