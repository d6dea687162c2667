import { METHODS } from 'node:http';
import type { FastifyInstance, HTTPMethods } from 'fastify';
import { sendFailure } from './envelope.ts';

/**
 * Collects the methods of the routes that follow. The returned function then adds routes for all
 * other methods of their paths, which answer 405 and name the right ones.
 */
export function collectMethods(app: FastifyInstance): () => void {
  // All that Node can parse. It hands CONNECT to nobody who serves requests.
  for (const method of METHODS)
    if (method !== 'CONNECT' && !app.supportedMethods.includes(method)) app.addHttpMethod(method);
  const methodsOf = new Map<string, string[]>();
  app.addHook('onRoute', ({ url, method }) => {
    methodsOf.set(url, [...(methodsOf.get(url) ?? []), ...[method].flat()]);
  });
  return () => {
    for (const [url, methods] of [...methodsOf]) {
      // Fastify adds the root of a plugin with a slash at its end too, and does not tell.
      const slashed = `${url}/`;
      if (!url.endsWith('*') && app.hasRoute({ url: slashed, method: methods[0] as HTTPMethods }))
        methodsOf.set(slashed, methods);
    }
    for (const [url, methods] of [...methodsOf]) {
      app.route({
        url,
        method: app.supportedMethods.filter((method) => !methods.includes(method)) as HTTPMethods[],
        schema: { hide: true } as object,
        onRequest: (request, reply) => {
          sendFailure(request, reply.header('Allow', methods.join(', ')), 'invalidParameter', { httpStatus: 405 });
        },
        handler: () => {},
      });
    }
  };
}
