import { createHash } from 'node:crypto';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { ERRORS, type ErrorName } from '@pinward/contract/errors';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { version } from '../version.ts';
import { documentedCallbacks } from './callbacks.ts';
import { refusalsOf } from './operation-codes.ts';

/*
 * The two OpenAPI documents. They are made from the routes: their schemas validate, serialise and
 * document. A gate and the repeating of answers add headers to every route of a scope. They mark
 * these routes (`config`), and this file writes the headers into the documents.
 */

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The gate before the route. */
    gate?: 'merchant' | 'merchant without token' | 'issuer';
    /** Whether an Idempotency-Key repeats its answers. */
    repeatable?: boolean;
    /** Headers of its answer, beside those of every answer: name → OpenAPI header object. */
    answerHeaders?: Record<string, object>;
  }
}

interface Operation {
  parameters?: object[];
  responses: Record<string, { description?: string; headers?: object; content?: Record<string, { schema: object }> }>;
  [key: string]: unknown;
}
interface Document {
  webhooks?: Record<string, object>;
  paths: Record<string, Record<string, Operation>>;
}
type RouteConfig = NonNullable<Parameters<FastifyInstance['route']>[0]['config']>;

const FAILURES = 'Failures come with HTTP 200 and a `code` other than 0; docs/errors.md lists them.';

/** Collects the merchants' and the public routes that follow into `merchantDocument`. */
export async function documentMerchantApi(app: FastifyInstance): Promise<void> {
  const configs = new Map<string, RouteConfig>();
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Pinward merchant API', version, description: FAILURES },
      tags: [{ name: 'Authentication' }, { name: 'Cardholders' }, { name: 'Cards' }, { name: 'Operation' }],
    },
    transform: ({ schema, url, route }) => {
      const config = route.config ?? {};
      for (const method of [route.method].flat()) configs.set(operationKey(method, url), config);
      return { schema: config.gate === 'issuer' ? ({ ...schema, hide: true } as typeof schema) : schema, url };
    },
    transformObject: (given) => {
      if (!('openapiObject' in given)) return given.swaggerObject;
      const document = given.openapiObject as unknown as Document;
      forEachOperation(document, (key, operation) => completeMerchantOperation(key, operation, configs.get(key) ?? {}));
      document.webhooks = documentedCallbacks();
      return document as never;
    },
  });
}

/** The merchants' OpenAPI document. */
export function merchantDocument(app: FastifyInstance): object {
  return app.swagger();
}

/**
 * Collects the routes of the issuers' scope into a document of its own, served at `/openapi.json`
 * of the scope.
 */
export async function documentIssuerApi(scope: FastifyInstance): Promise<void> {
  await scope.register(swagger, {
    decorator: 'issuerSwagger' as never,
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Pinward issuer API',
        version,
        description: `For the bank or processor behind the cards. ${FAILURES}`,
      },
      components: { securitySchemes: { issuer: { type: 'http', scheme: 'bearer' } } },
      security: [{ issuer: [] }],
      tags: [{ name: 'PIN' }, { name: 'Zone keys' }, { name: 'Cards' }, { name: 'Cardholders' }],
    },
    transformObject: (given) => {
      if (!('openapiObject' in given)) return given.swaggerObject;
      const document = given.openapiObject as unknown as Document;
      forEachOperation(document, (key, operation) =>
        addFailure(operation, refusalsOf({ key, gate: 'issuer', repeatable: false })),
      );
      return document as never;
    },
  });
  scope.get(
    '/openapi.json',
    { schema: { hide: true } as object },
    sendDocument(() => (scope as unknown as { issuerSwagger(): object }).issuerSwagger()),
  );
}

/** The documentation page loads its parts from here, and nothing from anywhere else. */
const PAGE_POLICY = [
  "default-src 'self'",
  "img-src 'self' data:",
  "style-src 'self' 'unsafe-inline'",
  "object-src 'none'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** Serves `/openapi.json`, and `/docs` to browse it. */
export async function serveDocuments(app: FastifyInstance): Promise<void> {
  const send = sendDocument(() => merchantDocument(app));
  app.get('/openapi.json', { schema: { hide: true } as object }, send);
  await app.register(swaggerUi, {
    uiHooks: {
      onRequest(request, reply, done) {
        if (request.routeOptions.url === '/docs/json') send(request, reply);
        else done();
      },
    },
    routePrefix: '/docs',
    staticCSP: PAGE_POLICY,
    uiConfig: { docExpansion: 'list' },
    theme: { title: 'Pinward API' },
  });
}

/**
 * Sends a document from one buffer that is made at the first request, so that many readers cost no
 * more memory.
 */
function sendDocument(make: () => object): (request: FastifyRequest, reply: FastifyReply) => FastifyReply {
  let body: Buffer | undefined;
  let etag = '';
  return (request, reply) => {
    if (body === undefined) {
      body = Buffer.from(JSON.stringify(make()));
      etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
    }
    reply.header('ETag', etag).header('Cache-Control', 'no-cache');
    const known = request.headers['if-none-match']?.split(',').map((tag) => tag.trim().replace(/^W\//, ''));
    if (known?.includes(etag) || known?.includes('*')) return reply.code(304).send();
    return reply.type('application/json; charset=utf-8').send(body);
  };
}

function operationKey(method: string, url: string): string {
  return `${method.toLowerCase()} ${url.replaceAll(/:(\w+)/g, '{$1}')}`;
}

function forEachOperation(document: Document, visit: (key: string, operation: Operation) => void): void {
  for (const [path, operations] of Object.entries(document.paths))
    for (const [method, operation] of Object.entries(operations)) visit(operationKey(method, path), operation);
}

/**
 * Adds what the gate and the repeating of answers bring: headers of the request, and headers of the
 * answer.
 */
function completeMerchantOperation(
  key: string,
  operation: Operation,
  { gate, repeatable, answerHeaders }: RouteConfig,
): void {
  if (gate === undefined) return;
  operation.parameters = [
    ...GATE_HEADERS,
    ...(gate === 'merchant' ? [ACCESS_TOKEN] : []),
    LANGUAGE,
    ...(repeatable ? [IDEMPOTENCY_KEY] : []),
    ...(operation.parameters ?? []),
  ];
  const refusals = refusalsOf({ key, gate, repeatable: repeatable ?? false });
  addFailure(operation, refusals, { ...(repeatable && REPEATABLE_ANSWER_HEADERS), ...answerHeaders });
}

const ANSWER_HEADERS = {
  'X-Request-Id': { schema: { type: 'string' } },
  'Retry-After': { description: 'Seconds; with code 1009', schema: { type: 'integer' } },
};

/** Documents that an operation answers its success or a failure. */
function addFailure(operation: Operation, refusals: ErrorName[], headers: object = {}): void {
  const ok = operation.responses['200'];
  const content = ok?.content?.['application/json'];
  if (ok === undefined || content === undefined) return;
  ok.description = 'Success, or a failure with its code';
  ok.headers = {
    ...ANSWER_HEADERS,
    'Cache-Control': { description: 'No cache may store an answer', schema: { const: 'no-store' } },
    ...headers,
  };
  operation.responses['503'] = {
    description: 'The platform is overloaded: code 1009. The call was not begun',
    headers: ANSWER_HEADERS,
    content: { 'application/json': { schema: failureSchema(['tooFrequent']) } },
  };
  content.schema = { oneOf: [content.schema, failureSchema(refusals)] };
}

/** A failure with one of the codes that the operation can answer. */
function failureSchema(refusals: ErrorName[]): object {
  return {
    title: 'Failure',
    type: 'object',
    required: ['code', 'msg'],
    properties: {
      code: {
        type: 'integer',
        enum: refusals.map((name) => ERRORS[name].code),
        description: refusals.map((name) => `${ERRORS[name].code} ${ERRORS[name].english}`).join('; '),
      },
      msg: { type: 'string' },
    },
    additionalProperties: false,
  };
}

const GATE_HEADERS = [
  header('Api-Key', { required: true, schema: { type: 'string' }, description: "The merchant's credential" }),
  header('Timestamp', {
    required: true,
    schema: { type: 'string', pattern: '^[0-9]{13}$' },
    description: 'Unix milliseconds, at most 60 s old and not in the future',
  }),
];
const ACCESS_TOKEN = header('Access-Token', {
  required: true,
  schema: { type: 'string' },
  description: 'From Get Token, with the same Api-Key',
});
const LANGUAGE = header('Language', {
  required: false,
  schema: { type: 'string', enum: ['en_US', 'zh_CN'] },
  description: 'The language of `msg`; English if absent or another value',
});
const IDEMPOTENCY_KEY = header('Idempotency-Key', {
  required: false,
  schema: { type: 'string', pattern: '^[\\x21-\\x7e]{1,255}$' },
  description:
    'Chosen by the merchant, a new one for each request. For 24 hours the same request with the same key is not served again but gets the answer of the first. Another request with the key gets 1023; while the first is being processed, 1024',
});

const REPEATABLE_ANSWER_HEADERS = {
  'Retry-After': { description: 'Seconds; with codes 1009 and 1024', schema: { type: 'integer' } },
  'Idempotent-Replayed': {
    description: 'The answer is an earlier one, repeated',
    schema: { type: 'string', enum: ['true'] },
  },
};

function header(
  name: string,
  { required, schema, description }: { required: boolean; schema: object; description: string },
) {
  return { in: 'header', name, required, schema, description };
}
