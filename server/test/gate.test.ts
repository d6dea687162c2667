import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ERRORS } from '@pinward/contract/errors';
import { merchantDocument } from '../src/api/openapi.ts';
import { createCredential } from '../src/merchants/create-credential.ts';
import { disableCredential } from '../src/merchants/disable-credential.ts';
import { ISSUER } from '../src/sandbox/world.ts';
import { exchange } from './support/raw-socket.ts';
import { type PlainRequest, send } from './support/requests.ts';
import {
  API_KEY,
  DISABLED_API_KEY,
  ELSEWHERE_API_KEY,
  EXPIRED_API_KEY,
  FIRST_CARD,
  MERCHANT_NO,
  pinBody,
  SUSPENDED_API_KEY,
  SUSPENDED_MERCHANT_NO,
  seal,
} from './support/sandbox.ts';
import {
  type Answer,
  type Headers,
  merchantOf,
  operatorOf,
  startPlatform,
  type TestPlatform,
} from './support/test-platform.ts';

const TOKEN_PATH = '/open-api/v1/merchant/token';
const DETAIL_PATH = `/open-api/v1/card/${FIRST_CARD.cardNo}/detail`;
const PIN_SET_PATH = '/open-api/v1/card/pin/set';
const UPDATE_PATH = '/open-api/v1/card/status/update';
const STRANGER = '203.0.113.7';
const SUSPENDED_TEXT = 'Merchant status is abnormal, please contact administrator';

let platform: TestPlatform;
let token: string;
let port: number;
let url: string;
before(async () => {
  platform = await startPlatform();
  token = await merchantOf(platform).token();
  url = await platform.app.listen({ host: '127.0.0.1', port: 0 });
  port = Number(new URL(url).port);
});
after(() => platform.close());

function goodHeaders(): Headers {
  return { 'api-key': API_KEY, timestamp: String(platform.clock.now), 'access-token': token };
}

/** Sends a request that the gate accepts, with the changes that `change` makes to it. */
function call(change: Partial<PlainRequest> = {}): Promise<Answer> {
  return send(platform, { path: DETAIL_PATH, ...change, headers: { ...goodHeaders(), ...change.headers } });
}

function assertEnvelope(answer: Answer, code: number, msg: string): void {
  assert.deepEqual(JSON.parse(answer.text), { code, msg });
  assert.equal(answer.headers['content-type'], 'application/json; charset=utf-8');
  assert.match(String(answer.headers['x-request-id']), /^[0-9a-f-]{36}$/);
}

describe('a refusal has HTTP 200 and no data:', () => {
  const refusals: [what: string, code: number, text: string, headers: Headers][] = [
    ['a request without Api-Key', 1002, 'Api-Key is required', { 'api-key': undefined }],
    ['an empty Api-Key', 1002, 'Api-Key is required', { 'api-key': '' }],
    ['an unknown Api-Key', 1008, 'Api-Key does not exist', { 'api-key': 'no_such_key' }],
    ['a known Api-Key in upper case', 1008, 'Api-Key does not exist', { 'api-key': 'SANDBOX_API_KEY' }],
    ['a disabled Api-Key', 1010, 'Api-Key is not enabled', { 'api-key': DISABLED_API_KEY }],
    ['an expired Api-Key', 1011, 'Api-Key has expired', { 'api-key': EXPIRED_API_KEY }],
    ["a suspended merchant's Api-Key", 1022, SUSPENDED_TEXT, { 'api-key': SUSPENDED_API_KEY }],
    ['an address that is not on the allowlist', 1003, 'IP address not allowed', { 'api-key': ELSEWHERE_API_KEY }],
    ['a request without Timestamp', 1005, 'Timestamp invalid or expired', { timestamp: undefined }],
    ['a request without Access-Token', 1006, 'Access-Token is required', { 'access-token': undefined }],
    ['an empty Access-Token', 1006, 'Access-Token is required', { 'access-token': '' }],
    ['a wrong Access-Token', 1007, 'Access-Token invalid or expired', { 'access-token': 'nonsense' }],
  ];

  for (const [what, code, english, headers] of refusals) {
    test(`${what} answers ${code}, in English and in Chinese`, async () => {
      const entry = Object.values(ERRORS).find((one) => one.code === code);
      assert.equal(entry?.english, english);
      for (const request of [
        { path: DETAIL_PATH },
        { method: 'POST', path: PIN_SET_PATH, body: pinBody('142536') },
      ] as const) {
        for (const language of ['zh_CN', 'en_US', 'zh_cn', 'zh_CN, en_US', 'fr_FR', '', undefined]) {
          const answer = await call({ ...request, headers: { ...headers, language } });
          assert.equal(answer.httpStatus, 200);
          assertEnvelope(answer, code, language === 'zh_CN' ? entry.chinese : english);
        }
      }
    });
  }

  test('a card with too many PIN sets answers 1009, in English and in Chinese', async () => {
    const entry = Object.values(ERRORS).find((one) => one.code === 1009);
    assert.ok(entry);
    const limited = await startPlatform(
      { LIMIT_PIN_SETS_PER_CARD_PER_MINUTE: '1' },
      { databaseUrl: platform.databaseUrl, clock: platform.clock },
    );
    const set = (language: string | undefined) =>
      send(limited, {
        method: 'POST',
        path: PIN_SET_PATH,
        headers: { ...goodHeaders(), language },
        body: pinBody('142536'),
      });
    assert.equal((await set(undefined)).code, 0);
    for (const language of ['zh_CN', 'en_US', undefined]) {
      const answer = await set(language);
      assert.equal(answer.httpStatus, 200);
      assertEnvelope(answer, 1009, language === 'zh_CN' ? entry.chinese : entry.english);
    }
    await limited.close();
  });
});

test('a request with several faults answers the code that comes first in the contract', async () => {
  const order = [1002, 1008, 1010, 1011, 1022, 1003, 1005, 1006, 1007, 1004];
  const either = [false, true];
  const keys: { apiKey: string | undefined; keyFaults: number[] }[] = [
    { apiKey: undefined, keyFaults: [1002] },
    { apiKey: 'no_such_key', keyFaults: [1008] },
  ];
  for (const disabled of either)
    for (const expired of either)
      for (const suspended of either) {
        const merchantNo = suspended ? SUSPENDED_MERCHANT_NO : MERCHANT_NO;
        const expiry = expired ? { expiresAtMs: platform.clock.now - 1 } : {};
        const { apiKey } = await createCredential(operatorOf(platform), {
          merchantNo,
          ipAllowlist: ['127.0.0.1'],
          ...expiry,
        });
        if (disabled) await disableCredential(operatorOf(platform), apiKey);
        keys.push({ apiKey, keyFaults: [disabled ? 1010 : 0, expired ? 1011 : 0, suspended ? 1022 : 0] });
      }

  let asked = 0;
  for (const { apiKey, keyFaults } of keys) {
    const ownToken = keyFaults.some((fault) => fault > 0) ? 'no token' : await merchantOf(platform, apiKey).token();
    for (const elsewhere of either)
      for (const late of either)
        for (const tokenFault of [0, 1006, 1007])
          for (const garbled of either) {
            const faults = [...keyFaults, elsewhere ? 1003 : 0, late ? 1005 : 0, tokenFault, garbled ? 1004 : 0];
            const accessToken = tokenFault === 1006 ? undefined : tokenFault === 1007 ? 'nonsense' : ownToken;
            const { code } = await call({
              method: 'POST',
              path: UPDATE_PATH,
              from: elsewhere ? STRANGER : '127.0.0.1',
              headers: {
                'api-key': apiKey,
                'access-token': accessToken,
                ...(late && { timestamp: '0' }),
                'content-type': 'application/json',
              },
              body: garbled ? '{' : { card_no: 'C0', status: 'Frozen' },
            });
            // There is no card C0: a request without a fault answers 4001.
            assert.equal(code, order.find((one) => faults.includes(one)) ?? 4001, `faults ${faults}`);
            asked++;
          }
  }
  assert.equal(asked, 10 * 24);
});

test('no answer behind the gates may be stored, whatever it says', async () => {
  const requests: PlainRequest[] = [
    { path: TOKEN_PATH, headers: goodHeaders() },
    { path: TOKEN_PATH },
    { path: DETAIL_PATH, headers: goodHeaders() },
    { path: `/open-api/v1/card/${FIRST_CARD.cardNo}/private/info`, headers: goodHeaders() },
    { path: `/open-api/v1/merchant/client/${FIRST_CARD.cardNo}/token`, headers: goodHeaders() },
    { method: 'POST', path: PIN_SET_PATH, headers: goodHeaders(), body: pinBody('142536') },
    { path: `/issuer/v1/pin/${FIRST_CARD.cardNo}`, headers: { authorization: `Bearer ${ISSUER.secret}` } },
    { path: `/issuer/v1/pin/${FIRST_CARD.cardNo}` },
  ];
  const codes: number[] = [];
  for (const request of requests) {
    const { code, headers } = await send(platform, request);
    assert.equal(headers['cache-control'], 'no-store', request.path);
    codes.push(code);
  }
  assert.deepEqual(codes, [0, 1002, 0, 0, 0, 0, 0, 5001]);
});

describe('a Timestamp', () => {
  const variants: [what: string, header: (now: number) => string | undefined, code: 0 | 1005][] = [
    ['of the current millisecond is accepted', (now) => `${now}`, 0],
    ['that is exactly 60,000 ms old is accepted', (now) => `${now - 60_000}`, 0],
    ['that is 60,001 ms old is refused', (now) => `${now - 60_001}`, 1005],
    ['that is 1 ms in the future is refused', (now) => `${now + 1}`, 1005],
    ['that is missing is refused', () => undefined, 1005],
    ['that is empty is refused', () => '', 1005],
    ['with 12 digits is refused', (now) => `${now}`.slice(0, 12), 1005],
    ['with 14 digits is refused', (now) => `0${now}`, 1005],
    ['in seconds is refused', (now) => `${now / 1000}`, 1005],
    ['with a letter is refused', (now) => `${now}`.replace(/.$/, 'x'), 1005],
    ['with a fraction is refused', (now) => `${now}.5`.slice(-13), 1005],
    ['with a sign is refused', (now) => `+${now}`, 1005],
    ['in full-width digits is refused', () => '１７８０３１５２０００００', 1005],
    ['that is given twice is refused', (now) => `${now}, ${now}`, 1005],
  ];
  for (const [what, header, code] of variants) {
    test(what, async () => {
      for (const path of [DETAIL_PATH, TOKEN_PATH]) {
        assert.equal((await call({ path, headers: { timestamp: header(platform.clock.now) } })).code, code, path);
      }
    });
  }

  test('stops a replay of its request after 60 s', async () => {
    const captured = { headers: { timestamp: String(platform.clock.now) } };
    assert.equal((await call(captured)).code, 0);
    platform.clock.now += 60_000;
    assert.equal((await call(captured)).code, 0);
    platform.clock.now += 1;
    assert.equal((await call(captured)).code, 1005);
  });
});

describe("the caller's address", () => {
  let listed: string;
  const allowed = ['2001:db8:1::/48', '2001:db8:2::5', '198.51.100.9', '198.51.100.128/25'];
  before(async () => {
    listed = (await createCredential(operatorOf(platform), { merchantNo: MERCHANT_NO, ipAllowlist: allowed })).apiKey;
  });
  const ask = (on: TestPlatform, apiKey: string, from: string, forwarded?: string) => {
    const claims = { 'x-forwarded-for': forwarded, 'x-real-ip': forwarded, forwarded: forwarded && `for=${forwarded}` };
    return send(on, { path: TOKEN_PATH, from, headers: { ...goodHeaders(), 'api-key': apiKey, ...claims } });
  };

  test('is compared with the allowlist; an IPv4 address that is mapped to IPv6 counts as IPv4', async () => {
    const loopback = ['127.0.0.1', '127.200.3.4', '::1', '::ffff:127.0.0.1', '::FFFF:127.0.0.1'];
    const others = ['10.0.0.1', '::ffff:10.0.0.1', '128.0.0.1', '126.255.255.255', '::2', '::'];
    for (const from of loopback) assert.equal((await ask(platform, API_KEY, from)).code, 0, from);
    for (const from of others) assert.equal((await ask(platform, API_KEY, from)).code, 1003, from);
  });

  test('is compared with single addresses and blocks, in IPv4 and IPv6', async () => {
    const inside = [
      '198.51.100.9',
      '::ffff:198.51.100.9',
      '198.51.100.128',
      '198.51.100.255',
      '2001:db8:1:ffff::1',
      '2001:db8:2:0::5',
    ];
    const outside = [
      '198.51.100.8',
      '198.51.100.127',
      '198.51.101.128',
      '2001:db8:0:ffff::1',
      '2001:db8:2::6',
      '127.0.0.1',
      '::1',
    ];
    for (const from of inside) assert.equal((await ask(platform, listed, from)).code, 0, from);
    for (const from of outside) assert.equal((await ask(platform, listed, from)).code, 1003, from);
  });

  test('can be a link-local address with a zone, and a PIN set from there succeeds', async () => {
    const { apiKey, apiSecret } = await createCredential(operatorOf(platform), {
      merchantNo: MERCHANT_NO,
      ipAllowlist: ['fe80::/10'],
    });
    const first = await ask(platform, apiKey, 'fe80::1%eth0');
    const { access_token: accessToken } = first.data as { access_token: string };
    const headers = { 'api-key': apiKey, 'access-token': accessToken };
    const body = pinBody('142536', { pin: seal('142536', apiSecret.expose()) });
    const set = await call({ method: 'POST', path: PIN_SET_PATH, from: 'fe80::1%eth0', headers, body });
    assert.equal(set.code, 0);
  });

  test('is the address of the connection, and no header changes it', async () => {
    for (const claim of ['127.0.0.1', '::1', '127.0.0.1, 127.0.0.1', STRANGER]) {
      assert.equal((await ask(platform, API_KEY, STRANGER, claim)).code, 1003, claim);
      assert.equal((await ask(platform, API_KEY, '127.0.0.1', claim)).code, 0, claim);
    }
  });

  test('is the last address before the trusted proxies, if proxies are trusted', async () => {
    const behind = await startPlatform(
      { TRUST_PROXY: '10.0.0.0/8, 192.0.2.1' },
      { databaseUrl: platform.databaseUrl, clock: platform.clock },
    );
    const cases: [what: string, from: string, forwarded: string | undefined, code: 0 | 1003][] = [
      ['an allowed caller behind the proxy', '10.1.2.3', '127.0.0.1', 0],
      ['an allowed caller behind the proxy, on a dual-stack socket', '::ffff:10.1.2.3', '127.0.0.1', 0],
      ['a stranger behind the proxy', '10.1.2.3', STRANGER, 1003],
      ['an allowed caller behind two proxies', '10.1.2.3', '127.0.0.1, 192.0.2.1', 0],
      ['a stranger that sends an allowed address in the header', '10.1.2.3', `127.0.0.1, ${STRANGER}`, 1003],
      [
        'a stranger that sends an allowed address and a proxy in the header',
        '10.1.2.3',
        `127.0.0.1, 10.9.9.9, ${STRANGER}`,
        1003,
      ],
      ['an allowed caller that sends a stranger in the header', '10.1.2.3', `${STRANGER}, 127.0.0.1`, 0],
      ['a stranger that is not a proxy', STRANGER, '127.0.0.1', 1003],
      ['an allowed caller that is not a proxy', '127.0.0.1', STRANGER, 0],
      ['the proxy itself', '10.1.2.3', undefined, 1003],
      ['garbage', '10.1.2.3', 'garbage', 1003],
      ['garbage beside an allowed address', '10.1.2.3', '127.0.0.1, <garbage>', 1003],
      ['an allowed caller with a port', '10.1.2.3', '127.0.0.1:40123', 0],
      ['an allowed caller in brackets', '10.1.2.3', '[::1]', 0],
      ['an allowed caller in brackets, with a port', '10.1.2.3', '[::1]:40123', 0],
      ['an allowed caller with blanks around it', '10.1.2.3', ' \t127.0.0.1 , 192.0.2.1:7 ', 0],
      ['an allowed caller in the long spelling', '10.1.2.3', '0:0:0:0:0:0:0:1', 0],
      ['a stranger with a port', '10.1.2.3', `${STRANGER}:40123`, 1003],
      ['a stranger with a port, who sends an allowed address', '10.1.2.3', `127.0.0.1, ${STRANGER}:40123`, 1003],
      ['a port that is none', '10.1.2.3', '127.0.0.1:port', 1003],
      ['quotes around an address', '10.1.2.3', '"127.0.0.1"', 1003],
      ['a network', '10.1.2.3', '127.0.0.1/32', 1003],
      ['a host name', '10.1.2.3', 'localhost', 1003],
      ['the word unknown', '10.1.2.3', '127.0.0.1, unknown', 1003],
      ['an empty header', '10.1.2.3', '', 1003],
    ];
    for (const [what, from, forwarded, code] of cases)
      assert.equal((await ask(behind, API_KEY, from, forwarded)).code, code, what);
    await behind.close();
  });
});

describe('a request that matches no route', () => {
  const cases: [
    what: string,
    method: NonNullable<PlainRequest['method']>,
    path: string,
    status: number,
    allow?: string,
  ][] = [
    ['with an unknown path answers 404', 'GET', '/open-api/v1/nothing', 404],
    ['with an unknown path and a body of another type answers 404', 'POST', '/nothing', 404],
    ['with a double slash answers 404', 'GET', '//open-api/v1/merchant/token', 404],
    ['with a slash at the end answers 404', 'GET', `${TOKEN_PATH}/`, 404],
    ['with its path in upper case answers 404', 'GET', TOKEN_PATH.toUpperCase(), 404],
    ['by GET to a POST route answers 405', 'GET', PIN_SET_PATH, 405, 'POST'],
    ['by PUT to a POST route, with a body of another type, answers 405', 'PUT', PIN_SET_PATH, 405, 'POST'],
    ['by DELETE to a GET route answers 405', 'DELETE', DETAIL_PATH, 405, 'GET'],
    ['by POST to a GET route answers 405', 'POST', TOKEN_PATH, 405, 'GET'],
    ['by OPTIONS answers 405', 'OPTIONS', '/open-api/v1/card/list', 405, 'POST'],
    ['by PATCH to the health check answers 405', 'PATCH', '/healthz', 405, 'GET'],
  ];
  for (const [what, method, path, status, allow] of cases) {
    test(what, async () => {
      const body = ['POST', 'PUT', 'PATCH'].includes(method)
        ? { body: '<no json>', headers: { 'content-type': 'text/html' } }
        : {};
      const answer = await send(platform, { method, path, ...body });
      assert.equal(answer.httpStatus, status);
      assert.equal(answer.headers.allow, allow);
      assertEnvelope(answer, 1004, 'Invalid request parameter');
    });
  }
});

test('no spelling of a path reaches a route of the API without the gate', async () => {
  const { paths = {} } = merchantDocument(platform.app) as { paths?: Record<string, Record<string, unknown>> };
  const gated = Object.entries(paths).filter(([path]) => path.startsWith('/open-api/'));
  assert.ok(gated.length >= 6);
  for (const [template, operations] of gated) {
    const path = template.replaceAll(/\{\w+\}/g, FIRST_CARD.cardNo);
    for (const method of Object.keys(operations)) {
      const request = { method: method.toUpperCase() as 'GET' | 'POST', body: method === 'get' ? undefined : {} };
      assert.equal((await send(platform, { ...request, path })).code, 1002, path);
      assert.equal((await send(platform, { ...request, path: `${path}?api-key=${API_KEY}` })).code, 1002, path);
      for (const spelling of [
        path.replace('v1', '%761'),
        `${path};x`,
        path.replace('/open-api', '/./open-api'),
        `/x/..${path}`,
      ]) {
        assert.ok([1002, 1004].includes((await send(platform, { ...request, path: spelling })).code), spelling);
      }
    }
  }
});

describe('a body', () => {
  const json = 'application/json';
  const fine = { card_no: 'C0', status: 'Frozen' };
  const bodies: [what: string, type: string | undefined, body: string][] = [
    ['that is not JSON', json, '{"card_no":'],
    ['that is empty', json, ''],
    ['that is an array', json, '[]'],
    ['that is null', json, 'null'],
    ['that is a string', json, '"C0"'],
    ['over 16 KiB', json, JSON.stringify({ ...fine, more: 'x'.repeat(16 * 1024) })],
    ['with a __proto__', json, '{"card_no":"C0","status":"Frozen","__proto__":{"a":1}}'],
    ['with a poisoned constructor', json, '{"card_no":"C0","constructor":{"prototype":{}}}'],
    ['as text/plain', 'text/plain', JSON.stringify(fine)],
    ['as application/xml', 'application/xml', '<card/>'],
    ['as a form', 'application/x-www-form-urlencoded', 'card_no=C0'],
    ['with a type that only begins like JSON', 'application/jsonp', JSON.stringify(fine)],
    ['without a type', undefined, JSON.stringify(fine)],
  ];
  for (const [what, type, body] of bodies) {
    test(`${what} answers 1004 with HTTP 200, also over a socket`, async () => {
      const text = type === json ? 'Invalid request parameter' : 'Content-Type invalid parameter';
      const injected = await call({ method: 'POST', path: UPDATE_PATH, headers: { 'content-type': type }, body });
      assert.equal(injected.httpStatus, 200);
      assertEnvelope(injected, 1004, text);
      const headers = { ...goodHeaders(), ...(type && { 'content-type': type }) } as Record<string, string>;
      // As bytes: for a string, fetch would add a type of its own.
      const response = await fetch(url + UPDATE_PATH, {
        method: 'POST',
        headers,
        body: new TextEncoder().encode(body),
      });
      assert.deepEqual([response.status, await response.json()], [200, { code: 1004, msg: text }]);
    });
  }

  test('over 16 KiB in chunks, without a header for its length, answers 1004', async () => {
    const headers = {
      ...goodHeaders(),
      host: 'x',
      'content-type': json,
      'transfer-encoding': 'chunked',
      connection: 'close',
    };
    const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    const chunk = `1000\r\n${' '.repeat(0x1000)}\r\n`;
    const answer = await exchange(
      port,
      `POST ${UPDATE_PATH} HTTP/1.1\r\n${head.join('')}\r\n${chunk.repeat(5)}0\r\n\r\n`,
    );
    assert.deepEqual([answer.status, JSON.parse(answer.body)], [200, { code: 1004, msg: 'Invalid request parameter' }]);
  });

  test('of exactly 16 KiB is accepted, also when the type has a charset or another case', async () => {
    const body = JSON.stringify({
      ...fine,
      more: 'x'.repeat(16 * 1024 - JSON.stringify({ ...fine, more: '' }).length),
    });
    for (const type of ['application/json; charset=utf-8', 'application/json;charset=UTF-8', 'Application/JSON']) {
      assert.equal(
        (await call({ method: 'POST', path: UPDATE_PATH, headers: { 'content-type': type }, body })).code,
        4001,
        type,
      );
    }
  });
});

describe('a connection that sends', () => {
  const broken: [what: string, bytes: string, status: number][] = [
    ['headers over 16 KiB', `GET ${TOKEN_PATH} HTTP/1.1\r\nHost: x\r\nApi-Key: ${'x'.repeat(17 * 1024)}\r\n\r\n`, 431],
    ['bytes that are not HTTP', '5f0c\u0000garbage\r\n\r\n', 400],
    ['a TLS handshake', '\u0016\u0003\u0001\u0002\u0000\u0001\u0000\r\n\r\n', 400],
    [
      'two lengths for one body',
      `POST ${UPDATE_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}`,
      400,
    ],
  ];
  for (const [what, bytes, status] of broken) {
    test(`${what} gets the envelope, and the server stays up`, async () => {
      const answer = await exchange(port, bytes);
      assert.equal(answer.status, status);
      assert.match(
        answer.head,
        /content-type: application\/json; charset=utf-8\r\n(.*\r\n)*x-request-id: [0-9a-f-]{36}\r\n/i,
      );
      assert.deepEqual(JSON.parse(answer.body), { code: 1004, msg: 'Invalid request parameter' });
      assert.equal((await fetch(`${url}/healthz`)).status, 200);
    });
  }
});
