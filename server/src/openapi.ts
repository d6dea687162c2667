import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { version } from './version.ts';

const GATED = '/open-api/';
const ISSUER = '/issuer/';
const GET_TOKEN = '/open-api/v1/merchant/token';
const SET_PIN = '/open-api/v1/card/pin/set';

interface Operation {
  parameters?: object[];
  responses: Record<string, { description?: string; headers?: object; content?: Record<string, { schema: object }> }>;
  [key: string]: unknown;
}
interface Document {
  paths: Record<string, Record<string, Operation>>;
  components?: { schemas?: Record<string, object> };
}

/** Collects the routes that follow into one OpenAPI document; their schemas are the ones that validate and serialise. */
export async function documentApi(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Pinward merchant API',
        version,
        description: 'Failures come with HTTP 200 and a `code` other than 0; docs/errors.md lists them.',
      },
      tags: [{ name: 'Authentication' }, { name: 'Cardholders' }, { name: 'Cards' }, { name: 'Operation' }],
    },
    // The issuer's API has a document of its own.
    transform: ({ schema, url }) => ({ schema: url.startsWith(ISSUER) ? ({ ...schema, hide: true } as typeof schema) : schema, url }),
    transformObject: (given) =>
      'openapiObject' in given ? (complete(given.openapiObject as unknown as Document) as never) : given.swaggerObject,
  });
}

/** The same for the issuer's routes: registered in their scope, so that it sees no others. */
export async function documentIssuerApi(scope: FastifyInstance): Promise<void> {
  await scope.register(swagger, {
    decorator: 'issuerSwagger' as never,
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Pinward issuer API',
        version,
        description:
          'For the bank or processor behind the cards. Failures come with HTTP 200 and a `code` other than 0; docs/errors.md lists them.',
      },
      components: { securitySchemes: { issuer: { type: 'http', scheme: 'bearer' } } },
      security: [{ issuer: [] }],
      tags: [{ name: 'PIN' }, { name: 'Zone keys' }, { name: 'Cards' }, { name: 'Cardholders' }],
    },
    transformObject: (given) => {
      if (!('openapiObject' in given)) return given.swaggerObject;
      const document = given.openapiObject as unknown as Document;
      for (const operations of Object.values(document.paths)) for (const operation of Object.values(operations)) addFailure(operation);
      return addFailureSchema(document) as never;
    },
  });
}

export function serveIssuerDocument(scope: FastifyInstance): void {
  scope.get('/openapi.json', { schema: { hide: true } as object }, async () =>
    (scope as unknown as { issuerSwagger(): object }).issuerSwagger(),
  );
}

/** The page loads what it is made of from here, and nothing from anywhere else. */
const PAGE_POLICY =
  "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/** `/openapi.json`, and `/docs` to browse it. */
export async function serveDocuments(app: FastifyInstance): Promise<void> {
  app.get('/openapi.json', { schema: { hide: true } as object }, async () => app.swagger());
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: PAGE_POLICY,
    uiConfig: { docExpansion: 'list' },
    theme: { title: 'Pinward API' },
  });
}

const FAILURE = { $ref: '#/components/schemas/Failure' };

/** Adds what every gated call has and no route repeats: the headers of the gate and of a repetition, and the failure beside the success. */
function complete(document: Document): Document {
  for (const [path, operations] of Object.entries(document.paths)) {
    if (!path.startsWith(GATED)) continue;
    for (const [method, operation] of Object.entries(operations)) {
      const keyed = method === 'post' && path !== SET_PIN;
      operation.parameters = [...gateHeaders(path !== GET_TOKEN), ...(keyed ? [IDEMPOTENCY_KEY] : []), ...(operation.parameters ?? [])];
      addFailure(operation, path === SET_PIN ? SET_PIN_HEADERS : keyed ? KEYED_HEADERS : {});
    }
  }
  return addFailureSchema(document);
}

function addFailure(operation: Operation, headers: object = {}): void {
  const ok = operation.responses['200'];
  const content = ok?.content?.['application/json'];
  if (ok === undefined || content === undefined) return;
  ok.description = 'Success, or a failure with its code';
  ok.headers = {
    'X-Request-Id': { schema: { type: 'string' } },
    'Retry-After': { description: 'Seconds; with code 1009', schema: { type: 'integer' } },
    ...headers,
  };
  content.schema = { oneOf: [content.schema, FAILURE] };
}

function addFailureSchema(document: Document): Document {
  document.components = {
    ...document.components,
    schemas: {
      ...document.components?.schemas,
      Failure: {
        type: 'object',
        required: ['code', 'msg'],
        properties: { code: { type: 'integer', minimum: 1001 }, msg: { type: 'string' } },
        additionalProperties: false,
      },
    },
  };
  return document;
}

function header(name: string, required: boolean, schema: object, description: string): object {
  return { in: 'header', name, required, schema, description };
}

const IDEMPOTENCY_KEY = header(
  'Idempotency-Key',
  false,
  { type: 'string', pattern: '^[\\x21-\\x7e]{1,255}$' },
  'Chosen by the merchant, new for every request: for 24 hours the same request with the same key is not served again but answered as the first was. Another request with it gets 1023; while the first is being processed, 1024',
);

const KEYED_HEADERS = {
  'Retry-After': { description: 'Seconds; with codes 1009 and 1024', schema: { type: 'integer' } },
  'Idempotent-Replayed': { description: 'The answer is an earlier one, repeated', schema: { type: 'string', enum: ['true'] } },
};

const SET_PIN_HEADERS = {
  'Pin-Warning': { description: "The merchant's own policies that warn of this PIN, by commas", schema: { type: 'string' } },
};

function gateHeaders(accessToken: boolean): object[] {
  return [
    header('Api-Key', true, { type: 'string' }, "The merchant's credential"),
    header('Timestamp', true, { type: 'string', pattern: '^[0-9]{13}$' }, 'Unix milliseconds, at most 60 s old and not in the future'),
    ...(accessToken ? [header('Access-Token', true, { type: 'string' }, 'From Get Token, with the same Api-Key')] : []),
    header('Language', false, { type: 'string', enum: ['en_US', 'zh_CN'] }, 'Of `msg`; English if absent or another value'),
  ];
}
