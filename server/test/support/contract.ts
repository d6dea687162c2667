import assert from 'node:assert/strict';
import { BASIC } from '@hyperjump/json-schema/experimental';
import { registerSchema, type Validator, validate } from '@hyperjump/json-schema/openapi-3-1';
import type { Answer } from './test-platform.ts';

/*
 * Holds answers against an OpenAPI document by a validator that the platform does not use:
 * Fastify's own would agree with itself.
 */

/** JSON Schema of OpenAPI 3.1 documents, their schemas (2020-12) included. */
const META_SCHEMA = 'https://spec.openapis.org/oas/3.1/schema-base';

/** Headers that every HTTP answer may have. */
const OF_HTTP = new Set(['connection', 'content-length', 'content-type', 'date']);

interface Operation {
  requestBody?: { content: Record<string, { schema: object }> };
  responses: Record<
    string,
    { headers?: Record<string, { schema: object }>; content: Record<string, { schema: object }> }
  >;
}
type Paths = Record<string, Record<string, Operation>>;

/** What is judged of an answer. */
export type JudgedAnswer = Pick<Answer, 'httpStatus' | 'headers' | 'text'>;

export interface Contract {
  /** `GET /path/{name}` for every operation. */
  operations: string[];
  /**
   * Throws unless the document has the answer: status, type, headers, and of the body every member
   * and no other. Gives the operation.
   */
  judgeAnswer(method: string, path: string, answer: JudgedAnswer): Promise<string>;
  /** Throws unless the document has the callback, with every member and no other. */
  judgeCallback(action: string, body: unknown): Promise<void>;
  /** Throws unless the document takes the body. */
  judgeRequest(method: string, path: string, body: unknown): Promise<void>;
}

/** Where a document is not OpenAPI 3.1; empty if it is. */
export async function documentFaults(document: object): Promise<string[]> {
  return faultsOf(await validate(META_SCHEMA), document);
}

let documents = 0;

export function contractOf(document: object): Contract {
  const { paths, webhooks, ...rest } = structuredClone(document) as { paths: Paths; webhooks?: object };
  for (const operations of Object.values(paths))
    for (const operation of Object.values(operations))
      operation.responses = closed(operation.responses) as Operation['responses'];
  const uri = `https://contract.test/${++documents}`;
  registerSchema({ ...rest, paths, webhooks: closed(webhooks ?? {}) } as never, uri, META_SCHEMA);
  const validators = new Map<string, Promise<Validator>>();

  async function judge(steps: string[], value: unknown, what: string): Promise<void> {
    const pointer = steps
      .map((step) => `/${encodeURIComponent(step.replaceAll('~', '~0').replaceAll('/', '~1'))}`)
      .join('');
    if (!validators.has(pointer)) validators.set(pointer, validate(`${uri}#${pointer}`));
    const faults = faultsOf((await validators.get(pointer)) as Validator, value);
    assert.deepEqual(faults, [], `${what} is not as the document has it: ${JSON.stringify(value)}`);
  }

  function find(
    method: string,
    path: string,
  ): { template: string; operation: Operation; steps: string[]; name: string } {
    const [pathname = ''] = path.split('?');
    const template = Object.keys(paths).find((one) =>
      new RegExp(`^${one.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(pathname),
    );
    const operation = template === undefined ? undefined : paths[template]?.[method.toLowerCase()];
    const name = `${method} ${template}`;
    if (template === undefined || operation === undefined) assert.fail(`${method} ${path} is not in the document`);
    return { template, operation, steps: ['paths', template, method.toLowerCase()], name };
  }

  return {
    operations: Object.entries(paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    ),
    async judgeAnswer(method, path, { httpStatus, headers, text }) {
      const { operation, steps, name } = find(method, path);
      const documented = operation.responses[httpStatus];
      assert.ok(documented, `${name} answers HTTP ${httpStatus}, which is not in the document`);
      const [type = ''] = String(headers['content-type']).split(';');
      assert.ok(documented.content[type], `${name} answers in ${type}, which is not in the document`);
      await judge([...steps, 'responses', String(httpStatus), 'content', type, 'schema'], JSON.parse(text), name);
      const documentedHeaders = new Map(
        Object.entries(documented.headers ?? {}).map(([header, of]) => [header.toLowerCase(), { header, ...of }]),
      );
      for (const [given, value] of Object.entries(headers)) {
        if (OF_HTTP.has(given)) continue;
        const known = documentedHeaders.get(given);
        assert.ok(known, `${name} answers with the header ${given}, which is not in the document`);
        const typed = (known.schema as { type?: string }).type === 'integer' ? Number(value) : value;
        await judge(
          [...steps, 'responses', String(httpStatus), 'headers', known.header, 'schema'],
          typed,
          `${name}, ${given}`,
        );
      }
      return name;
    },
    judgeCallback(action, body) {
      const steps = ['webhooks', action, 'post', 'requestBody', 'content', 'application/json', 'schema'];
      return judge(steps, body, `the callback ${action}`);
    },
    async judgeRequest(method, path, body) {
      const { operation, steps, name } = find(method, path);
      assert.ok(operation.requestBody, `${name} takes no body`);
      await judge([...steps, 'requestBody', 'content', 'application/json', 'schema'], body, `the request of ${name}`);
    },
  };
}

function faultsOf(validator: Validator, value: unknown): string[] {
  const { valid, errors = [] } = validator(value as Parameters<Validator>[0], BASIC) as {
    valid: boolean;
    errors?: { instanceLocation: string; keyword: string }[];
  };
  if (valid) return [];
  return [
    'not valid',
    ...errors.map(({ instanceLocation, keyword }) => `${instanceLocation} ${keyword.split('/').at(-1)}`),
  ];
}

/**
 * Every object schema refuses what it does not name. The document itself leaves that open, so that
 * members may be added later.
 */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== 'object' || schema === null) return schema;
  const copy = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, closed(value)]));
  return 'properties' in copy ? { additionalProperties: false, ...copy } : copy;
}
