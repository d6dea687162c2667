import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ERRORS } from '@pinward/contract/errors';
import { generatedDocuments, standingDocument } from './support/documents.ts';
import {
  BIN_NO,
  CARDHOLDER_NO,
  type Card,
  DISABLED_API_KEY,
  EXPIRED_API_KEY,
  FIRST_CARD,
  FROZEN_CARD,
  OTHER_MERCHANTS_CARD,
  pinBody,
  SUSPENDED_API_KEY,
  VIRTUAL_CARD,
  wireNamesOf,
} from './support/sandbox.ts';
import { type Headers, merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

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

test('every generated document is what the program generates now', () => {
  const stale = Object.keys(generated).filter((name) => standingDocument(name) !== generated[name]);
  assert.deepEqual(stale, [], 'run: npm run generate');
});

describe('a call of the money side answers that it is not offered', () => {
  for (const [method, path] of [
    ['POST', '/account/transfer'],
    ['POST', '/account/transfer/list'],
    ['GET', '/account/U202605220001/info'],
    ['POST', '/card/consume/list?page=0'],
    ['GET', '/card/consume/X1/info'],
  ] as const)
    test(`${method} ${path}`, async () => {
      const url = `/open-api/v1${path}`;
      const answer = await platform.app.inject({ method, url });
      assert.equal(answer.statusCode, 404);
      assert.deepEqual(answer.json(), { code: 1025, msg: 'This platform does not offer this call' });
      const chinese = await platform.app.inject({ method, url, headers: { language: 'zh_CN' } });
      assert.deepEqual(chinese.json(), { code: 1025, msg: '本平台不提供此接口' });
    });

  test('a path that the API does not have is a faulty request', async () => {
    for (const path of ['/account', '/account/transfers', '/card/consume', '/card/consume/a/b/info']) {
      const answer = await platform.app.inject({ method: 'POST', url: `/open-api/v1${path}` });
      assert.deepEqual([answer.statusCode, answer.json().code], [404, 1004], path);
    }
  });
});

describe('docs/errors.md has the text that arrives for', () => {
  const rows = standingDocument('errors.md')
    .split('\n')
    .flatMap((line) => {
      const [code, , english, chinese] = line
        .split('|')
        .slice(1, 5)
        .map((cell) => cell.trim());
      return /^\d{4}$/.test(code ?? '') ? [{ code: Number(code), texts: [english, chinese] as [string, string] }] : [];
    });
  const address = {
    ...{ first_name: 'Ann', last_name: 'Lee', phone_code: '1', phone: '4155552671', postal_code: '94105' },
    ...{ country: 'US', state: 'California', city: 'San Francisco', address_line1: '1 Main St' },
  };
  const apply = (more: object) => ({
    ...{ card_unique_no: 'errors-1', cardholder_no: CARDHOLDER_NO, card_type: 'Physical', card_bin_no: BIN_NO },
    address_info: { ...address, ...more },
  });
  const pin = (card: Card, value = '142536') => pinBody(value, wireNamesOf(card));
  const calls: [code: number, path: string, body: object, field?: string | undefined, headers?: Headers][] = [
    [1002, '/card/list', {}, undefined, { 'api-key': undefined }],
    [1004, '/card/pin/set', { ...pin(FIRST_CARD), card_no: 7 }, 'card_no'],
    [1005, '/card/list', {}, undefined, { timestamp: '1' }],
    [1006, '/card/list', {}, undefined, { 'access-token': undefined }],
    [1007, '/card/list', {}, undefined, { 'access-token': 'x' }],
    [1008, '/card/list', {}, undefined, { 'api-key': 'unknown' }],
    [1010, '/card/list', {}, undefined, { 'api-key': DISABLED_API_KEY }],
    [1011, '/card/list', {}, undefined, { 'api-key': EXPIRED_API_KEY }],
    [1019, '/card/list', { start_time: '2026-05-02 00:00:00', end_time: '2026-05-01 00:00:00' }],
    [1020, '/card/list', { start_time: '2026-01-01', end_time: '2026-12-01' }],
    [1022, '/card/list', {}, undefined, { 'api-key': SUSPENDED_API_KEY }],
    [2007, '/card/apply', apply({ city: 'San_Francisco' }), 'address_info.city'],
    [2008, '/card/apply', apply({ city: 'São Paulo' }), 'address_info.city'],
    [2009, '/card/apply', apply({ country: 'XX' }), 'address_info.country'],
    [2010, '/card/apply', apply({ postal_code: 'A' }), 'address_info.postal_code'],
    [4001, '/card/pin/set', pin(OTHER_MERCHANTS_CARD)],
    [4004, '/card/apply', { ...apply({}), card_bin_no: 'B1' }],
    [4005, '/card/pin/set', pin(FROZEN_CARD)],
    [4010, '/card/apply', apply({ phone_code: '999' }), 'address_info.phone_code'],
    [4016, '/card/pin/set', pin(FIRST_CARD, '111111')],
    [4017, '/card/pin/set', pin(VIRTUAL_CARD)],
  ];
  for (const [code, path, body, field = '', headers = {}] of calls)
    test(`${code}`, async () => {
      const merchant = merchantOf(platform);
      for (const [i, language] of ['en_US', 'zh_CN'].entries()) {
        const answer = await merchant.call('POST', path, body, { language, ...headers });
        assert.equal(answer.code, code, answer.text);
        const told = rows.find((row) => row.code === code)?.texts[i]?.split('; or: ') ?? [];
        assert.ok(told.map((text) => text.replace('FIELD', field)).includes(answer.msg), `${answer.msg}: ${told}`);
      }
    });
});

/** Never answered, and answered by calls that the documents do not have. */
const CODES_WITHOUT_OPERATION = [ERRORS.merchantMissing.code, ERRORS.callNotOffered.code];

test('every operation lists the codes that it can answer, and every code is listed', () => {
  const known = new Set<number>(Object.values(ERRORS).map(({ code }) => code));
  const listed = new Set<number>(CODES_WITHOUT_OPERATION);
  for (const name of ['openapi.json', 'issuer-openapi.json']) {
    const { paths } = JSON.parse(generated[name] as string) as { paths: Record<string, Record<string, object>> };
    const gated = Object.entries(paths).filter(([path]) => /^\/(open-api|issuer)\//.test(path));
    assert.ok(gated.length > 8);
    for (const [path, operations] of gated)
      for (const operation of Object.values(operations)) {
        const [, codes] = /"code":\{"type":"integer","enum":\[([\d,]+)\]/.exec(JSON.stringify(operation)) ?? [];
        assert.ok(codes, path);
        for (const code of codes.split(',').map(Number)) {
          assert.ok(known.has(code), `${path} ${code}`);
          listed.add(code);
        }
      }
  }
  const missing = [...known].filter((code) => !listed.has(code));
  assert.deepEqual(missing, [], 'name them in server/src/api/operation-codes.ts');
});

test('the catalogue is in the order of its codes, and each has a text in English and in Chinese', () => {
  const entries = Object.values(ERRORS);
  const codes = entries.map(({ code }) => code);
  assert.deepEqual(
    codes,
    [...new Set(codes)].toSorted((a, b) => a - b),
  );
  for (const { code, english, chinese } of entries) {
    assert.match(english, /^[\x20-\x7e]{5,}$/, `${code}`);
    assert.match(chinese, /\p{Script=Han}/u, `${code}`);
  }
});

test('/openapi.json serves the document in docs/', async () => {
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

test('every operation of the OpenAPI document describes its answers and its parameters once', () => {
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

  // The one script that says what the page asks for; the others are the library's, and ask for what
  // this one names.
  const { body: script } = await platform.app.inject('/docs/static/swagger-initializer.js');
  assert.doesNotMatch(script, /['"`](https?:|wss?:)?\/\//);
  assert.match(script, /validatorUrl: null/, 'the library would send the document to a validator elsewhere');
  assert.match(script, /url: resolveUrl\('\.\/json'\)/);
  assert.deepEqual((await platform.app.inject('/docs/json')).json(), JSON.parse(standingDocument('openapi.json')));
});
