import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ERRORS } from '@pinward/contract/errors';
import { generatedDocuments, standingDocument } from './support/documents.ts';
import { startPlatform, type TestPlatform } from './support/test-platform.ts';

interface Operation {
  operationId?: string;
  parameters?: { in: string; name: string; required?: boolean; schema: object }[];
  responses: Record<string, { description?: string }>;
}

let platform: TestPlatform;
let generated: Record<string, string>;
before(async () => {
  platform = await startPlatform();
  generated = await generatedDocuments(platform.app, platform.db);
});
after(() => platform.close());

describe('a generated document stands as the program makes it now', () => {
  for (const name of ['errors.md', 'openapi.json', 'card-status.md', 'schema.md']) {
    test(name, () => assert.equal(standingDocument(name), generated[name], 'run: npm run generate'));
  }
});

test('every code of the catalogue is its own and is told in English and in Chinese', () => {
  const entries = Object.values(ERRORS);
  assert.equal(new Set(entries.map(({ code }) => code)).size, entries.length);
  for (const { code, english, chinese } of entries) {
    assert.match(english, /^[\x20-\x7e]{5,}$/, `${code}`);
    assert.match(chinese, /\p{Script=Han}/u, `${code}`);
  }
});

test('/openapi.json serves the document that stands in docs/', async () => {
  const response = await platform.app.inject('/openapi.json');
  assert.deepEqual(response.json(), JSON.parse(standingDocument('openapi.json')));
});

test('the OpenAPI document holds together: references resolve, gated calls name the headers of the gate and of a repetition', () => {
  const document = JSON.parse(generated['openapi.json'] as string) as {
    openapi: string;
    paths: Record<string, Record<string, Operation>>;
    components: object;
  };
  assert.equal(document.openapi, '3.1.0');
  for (const [, reference] of (generated['openapi.json'] as string).matchAll(/"\$ref": "#\/([^"]+)"/g)) {
    const target = (reference as string)
      .split('/')
      .reduce<unknown>((at, step) => (at as Record<string, unknown> | undefined)?.[step], document);
    assert.ok(target, `${reference} is not there`);
  }
  const gated = Object.entries(document.paths).filter(([path]) => path.startsWith('/open-api/'));
  assert.equal(gated.length, 14);
  for (const [path, operations] of gated) {
    for (const [method, { parameters = [], responses }] of Object.entries(operations)) {
      const headers = parameters.filter((parameter) => parameter.in === 'header').map(({ name }) => name);
      const token = path.endsWith('/merchant/token') ? [] : ['Access-Token'];
      const key = method === 'post' && !path.endsWith('/card/pin/set') ? ['Idempotency-Key'] : [];
      const wanted = ['Api-Key', 'Timestamp', ...token, 'Language', ...key];
      assert.deepEqual(headers.slice(0, wanted.length), wanted, path);
      assert.ok(responses['200'], path);
    }
  }
});

test('every operation of the OpenAPI document tells its answers and its parameters, each once', () => {
  const { paths } = JSON.parse(generated['openapi.json'] as string) as {
    paths: Record<string, Record<string, Operation>>;
  };
  const ids: string[] = [];
  for (const [path, operations] of Object.entries(paths)) {
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    for (const [method, { operationId, parameters = [], responses }] of Object.entries(operations)) {
      const where = `${method} ${path}`;
      assert.ok(Object.keys(responses).length > 0, where);
      for (const [status, { description }] of Object.entries(responses)) {
        assert.match(status, /^([1-5]\d\d|default)$/, where);
        assert.ok(description, `${where} ${status} has no description`);
      }
      const told = parameters.filter((parameter) => parameter.in === 'path');
      assert.deepEqual(
        told.map(({ name, required }) => [name, required]),
        inPath.map((name) => [name, true]),
        where,
      );
      assert.equal(
        new Set(parameters.map((parameter) => `${parameter.in} ${parameter.name}`)).size,
        parameters.length,
        where,
      );
      for (const { name, schema } of parameters) assert.ok(schema, `${where} ${name} has no schema`);
      if (operationId !== undefined) ids.push(operationId);
    }
  }
  assert.equal(new Set(ids).size, ids.length);
});

test('/docs is a page that loads nothing from elsewhere', async () => {
  const page = await platform.app.inject('/docs');
  assert.equal(page.statusCode, 200);
  assert.match(page.headers['content-type'] as string, /text\/html/);
  const references = [...page.body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, reference]) => reference as string);
  assert.ok(references.length > 0);
  for (const reference of references) {
    assert.doesNotMatch(reference, /^(https?:)?\/\//);
    const asset = await platform.app.inject(new URL(reference, 'http://localhost/docs').pathname);
    assert.equal(asset.statusCode, 200, reference);
  }

  // The one script that says what the page asks for; the others are the library's, and ask for what this one names.
  const { body: script } = await platform.app.inject('/docs/static/swagger-initializer.js');
  assert.doesNotMatch(script, /['"`](https?:|wss?:)?\/\//);
  assert.match(script, /validatorUrl: null/, 'the library would send the document to a validator elsewhere');
  assert.match(script, /url: resolveUrl\('\.\/json'\)/);
  assert.deepEqual((await platform.app.inject('/docs/json')).json(), JSON.parse(standingDocument('openapi.json')));
});
