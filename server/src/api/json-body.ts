import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ApiError } from '../api-error.ts';
import { decodeUtf8, findIllFormed } from '../text.ts';

/**
 * Reads JSON bodies (RFC 8259: UTF-8, a byte order mark is skipped). Call it before routes are
 * added. A call whose body has no required member needs no body, and where there is none its
 * Content-Type does not count. Errors, all 1004: on `Content-Type` another charset; on the field an
 * unpaired surrogate; without a field bytes that are not UTF-8, or no JSON.
 */
export function readJsonBodies(app: FastifyInstance): void {
  // Fastify's own, for its refusal of `__proto__`. It calls back before it returns.
  const parseJson = app.getDefaultJsonParser('error', 'error');

  app.removeContentTypeParser('application/json');
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, bytes, done) => {
    if (bytes.length === 0) return done(null, undefined);
    if (!isUtf8Type(request)) return done(new ApiError('invalidParameter', { field: 'Content-Type' }));
    const json = decodeUtf8(bytes);
    if (json === undefined) return done(new ApiError('invalidParameter'));
    parseJson(request, json, (error, body) => {
      const field = error === null ? findIllFormed(json, body) : undefined;
      if (field === undefined) done(error, body);
      else done(new ApiError('invalidParameter', field === '' ? {} : { field }));
    });
  });

  // Some HTTP clients send a type with every POST and DELETE.
  app.addHook('onRequest', ({ headers }, _reply, done) => {
    const isEmpty = headers['transfer-encoding'] === undefined && (headers['content-length'] ?? '0') === '0';
    if (isEmpty) delete headers['content-type'];
    done();
  });

  app.addHook('onRoute', (route) => {
    const schema = route.schema?.body as { required?: string[] } | undefined;
    if (schema === undefined || (schema.required ?? []).length > 0) return;
    route.preValidation = (request, _reply, done) => {
      if (request.body === undefined) request.body = {};
      done();
    };
  });
}

/**
 * Whether the charset of the Content-Type is UTF-8, or ASCII, which is a part of it; JSON needs
 * none.
 */
function isUtf8Type(request: FastifyRequest): boolean {
  const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(request.headers['content-type'] ?? '')?.[1];
  return charset === undefined || /^(utf-?8|us-ascii|ascii)$/i.test(charset);
}
