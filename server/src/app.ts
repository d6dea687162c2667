import { randomUUID } from 'node:crypto';
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import { CONNECTION_OPTIONS, manageConnections, trackHandlers } from './api/connections.ts';
import { answeredCode, answerFault, sendFailure } from './api/envelope.ts';
import { healthRoutes } from './api/health.ts';
import { issuerApi } from './api/issuer/routes.ts';
import { jwksRoutes } from './api/jwks.ts';
import { merchantApi } from './api/merchant/routes.ts';
import { documentMerchantApi, serveDocuments } from './api/openapi.ts';
import { collectMethods } from './api/other-methods.ts';
import type { Services } from './services.ts';

export type App = FastifyInstance;

/** Builds the whole HTTP side. `main.ts` listens; tests inject. */
export async function buildApp(services: Services): Promise<App> {
  const { config, log } = services;
  const app = Fastify({
    ...CONNECTION_OPTIONS,
    loggerInstance: log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    trustProxy: config.trustProxy.length > 0 ? config.trustProxy : false,
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
  app.setErrorHandler(answerFault);
  nameRequests(app);
  logAnswers(app);
  manageConnections(app);
  const track = trackHandlers(app);
  const refuseOtherMethods = collectMethods(app);

  await documentMerchantApi(app);
  await app.register(merchantApi(services, track), { prefix: '/open-api/v1' });
  await app.register(issuerApi(services), { prefix: '/issuer' });
  await app.register(jwksRoutes(services));
  await app.register(healthRoutes(services));
  refuseOtherMethods();
  await serveDocuments(app);

  app.addHook('onClose', async () => services.cache.stop());
  return app;
}

/** Every answer carries the id of its request. An unknown path answers before its body is read. */
function nameRequests(app: App): void {
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('X-Request-Id', request.id);
    if (request.is404) sendFailure(request, reply, 'invalidParameter', { httpStatus: 404 });
    else done();
  });
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
        ip: request.ip,
        merchant: caller?.merchantNo, // members that are undefined are left out
        credential: caller?.credentialId,
        issuer: issuer?.issuerNo,
      },
      'request',
    );
    done();
  });
}
