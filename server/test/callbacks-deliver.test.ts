import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createSecretKey } from 'node:crypto';
import type { lookup as systemLookup } from 'node:dns';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { createDelivery, type DeliveryOptions, type Outcome } from '../src/callbacks/deliver.ts';
import { nextAttemptMs } from '../src/callbacks/retry-schedule.ts';
import { isAddressAllowed, urlFault } from '../src/net/address-guard.ts';
import { type Answering, accept, answer, isSigned, type Receiver, startReceiver } from './support/receiver.ts';
import { API_KEY, SANDBOX_SECRET } from './support/sandbox.ts';

const NOW = 1_780_000_000_000;
const MESSAGE = {
  pushId: '0b8f7c3e-0000-4000-8000-000000000001',
  action: 'Card_update',
  data: '{"card_no":"C1","reason":"é","n":null}',
};

let receiver: Receiver;
before(async () => {
  receiver = await startReceiver();
});
after(() => receiver.close());

async function deliver(
  t: TestContext,
  url: string,
  options: Partial<DeliveryOptions> = {},
  data = MESSAGE.data,
): Promise<Outcome> {
  const delivery = createDelivery({ mode: 'sandbox', clock: () => NOW, ...options });
  t.after(() => delivery.close());
  const apiSecret = createSecretKey(Buffer.from(SANDBOX_SECRET));
  return delivery.deliver({ merchantNo: 'M1', url, apiKey: API_KEY, apiSecret }, { ...MESSAGE, data });
}

const FAILED = { delivered: false, httpStatus: undefined, code: undefined };

/** A resolver that knows every name, and counts. */
function resolver(...addresses: string[]): { lookup: typeof systemLookup; lookups: () => number } {
  let lookups = 0;
  const lookup = ((_host: string, _options: unknown, callback: (error: null, found: object[]) => void) => {
    lookups++;
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    );
  }) as unknown as typeof systemLookup;
  return { lookup, lookups: () => lookups };
}

test('sends the id, the action and the data unchanged and signed, and code 0 means delivered', async (t) => {
  receiver.answering = accept;
  receiver.received.length = 0;
  assert.deepEqual(await deliver(t, receiver.url), { delivered: true, httpStatus: 200, code: 0, fault: undefined });
  const [got] = receiver.received;
  assert.equal(got?.text, `{"id":"${MESSAGE.pushId}","action":"Card_update","data":${MESSAGE.data}}`);
  assert.ok(got && isSigned(got));
  assert.equal(got.headers.timestamp, String(NOW));
  assert.equal(got.headers['content-type'], 'application/json; charset=utf-8');
  assert.match(got.headers['user-agent'] ?? '', /^pinward\/\d/);
});

for (const [what, reply] of [
  ['a byte order mark', '\ufeff{"code":0}'],
  ['blanks and line breaks', '\r\n {"code":0}\r\n\r\n'],
  ['both', '\ufeff\r\n\t{"code": 0, "message": "ok"}\n '],
] as const)
  test(`takes code 0 for delivered with ${what} around it`, async (t) => {
    receiver.answering = (_, response) => answer(response, 200, reply);
    assert.deepEqual(await deliver(t, receiver.url), { delivered: true, httpStatus: 200, code: 0, fault: undefined });
  });

const refusals: [what: string, answering: Answering, fault: RegExp, code?: number][] = [
  ['status 500', (_, r) => answer(r, 500, '{"code":0}'), /^HTTP 500$/],
  ['status 404', (_, r) => answer(r, 404, ''), /^HTTP 404$/],
  ['a redirect', (_, r) => answer(r, 302, '', { Location: receiver.url }), /^HTTP 302: redirects are not followed$/],
  [
    'a redirect that keeps the method',
    (_, r) => answer(r, 307, '{"code":0}', { Location: receiver.url }),
    /^HTTP 307: redirects/,
  ],
  ['code 1', (_, r) => answer(r, 200, '{"code":1,"message":"no such card"}'), /^code 1: no such card$/, 1],
  [
    'code 0 in quotes',
    (_, r) => answer(r, 200, '{"code":"0"}'),
    /^the reply is not a JSON object with a numeric code$/,
  ],
  ['a message that is no text', (_, r) => answer(r, 200, '{"code":7,"message":{"a":1}}'), /^code 7$/, 7],
  [
    'a message with control characters',
    (_, r) => answer(r, 200, '{"code":7,"message":"a\\u001b[2J\\nb\\u202e"}'),
    /^code 7: a\?\[2J\?b\?$/,
    7,
  ],
  ['a long message', (_, r) => answer(r, 200, `{"code":7,"message":"${'x'.repeat(500)}"}`), /^code 7: x{100}$/, 7],
  [
    'no JSON',
    (_, r) => answer(r, 200, '<html>secret of the page</html>'),
    /^the reply is not a JSON object with a numeric code$/,
  ],
  ['nothing', (_, r) => answer(r, 200, ''), /^the reply is not a JSON/],
  ['null', (_, r) => answer(r, 200, 'null'), /^the reply is not a JSON/],
  [
    'a huge answer',
    (_, r) => answer(r, 200, `{"code":0,"x":"${'x'.repeat(20_000)}"}`),
    /^the reply is larger than 16384 bytes$/,
  ],
  [
    'huge headers',
    (_, r) => answer(r, 200, '{"code":0}', { 'X-Huge': 'x'.repeat(20_000) }),
    /^no answer \(HPE_HEADER_OVERFLOW\)$/,
  ],
  ['silence', () => {}, /^no complete answer within 0.3 s$/],
  [
    'half an answer',
    (_, r) => void r.writeHead(200, { 'Content-Length': '10' }).write('{"co'),
    /^no complete answer within 0.3 s$/,
  ],
  ['a dropped connection', (_, r) => void r.destroy(), /^no answer \(ECONNRESET\)$/],
  [
    'a connection dropped in the answer',
    (_, r) => r.writeHead(200).write('{"code":0', () => r.destroy()),
    /^no answer \(ECONNRESET\)$/,
  ],
];
for (const [what, answering, fault, code] of refusals) {
  test(`takes ${what} for a failure, once, and says so`, async (t) => {
    receiver.answering = answering;
    receiver.received.length = 0;
    const outcome = await deliver(t, receiver.url, { timeoutMs: 300 });
    assert.equal(outcome.delivered, false);
    assert.match(outcome.fault ?? '', fault);
    assert.ok((outcome.fault ?? '').length <= 200);
    assert.equal(outcome.code, code);
    assert.equal(receiver.received.length, 1, 'requested once, and from nobody else');
  });
}

test('data that cannot be signed are a failure like any other', async (t) => {
  receiver.received.length = 0;
  assert.deepEqual(await deliver(t, receiver.url, {}, 'no JSON'), { ...FAILED, fault: 'no answer (unknown fault)' });
  assert.equal(receiver.received.length, 0);
});

test('an endless answer is cut off', async (t) => {
  let ended = false;
  receiver.answering = (_, response) => {
    response.writeHead(200);
    const pour = () => {
      while (!ended && response.write(Buffer.alloc(4096, 'x')));
    };
    response.on('drain', pour);
    response.on('close', () => {
      ended = true;
    });
    pour();
  };
  assert.match((await deliver(t, receiver.url)).fault ?? '', /^the reply is larger/);
});

test('a port where nobody listens, and a name that nobody knows', async (t) => {
  const closed = await startReceiver();
  await closed.close();
  assert.equal((await deliver(t, closed.url)).fault, 'no answer (ECONNREFUSED)');
  assert.match((await deliver(t, 'http://nowhere.invalid/')).fault ?? '', /^no answer \((ENOTFOUND|EAI_AGAIN)\)$/);
});

test('a name that is never resolved ends with the time for connecting', async (t) => {
  const lookup = (() => {}) as unknown as typeof systemLookup;
  assert.equal(
    (await deliver(t, 'http://slow.example/', { lookup, connectTimeoutMs: 100 })).fault,
    'no connection within 0.1 s',
  );
});

test('a request sent again after its idle connection ended has a Timestamp and a Signature of its own', async (t) => {
  const own = await startReceiver();
  t.after(() => own.close());
  const delivery = createDelivery({ mode: 'sandbox', clock: () => NOW });
  t.after(() => delivery.close());
  const apiSecret = createSecretKey(Buffer.from(SANDBOX_SECRET));
  let connections = 0;
  own.answering = (received, response) => {
    // The second request on a connection finds it dead.
    if (own.received.length === 2) {
      connections++;
      response.destroy();
    } else accept(received, response);
  };
  const endpoint = { merchantNo: 'M1', url: own.url, apiKey: API_KEY, apiSecret };
  for (let i = 0; i < 2; i++) assert.equal((await delivery.deliver(endpoint, MESSAGE)).delivered, true);
  assert.equal(connections, 1);
  const [, unanswered, again] = own.received;
  assert.deepEqual(
    [unanswered, again].map((one) => one?.headers.timestamp),
    [String(NOW), String(NOW + 1)], // also when the clock stands still
  );
  assert.ok(unanswered && isSigned(unanswered) && again && isSigned(again));
  assert.notEqual(unanswered.headers.signature, again.headers.signature);
});

describe('the guard', () => {
  const everywhere =
    `0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8
    192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:7f00:1 ::8.8.8.8 ::7f00:1 64:ff9b::8.8.8.8 64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1
    2001:0:53aa:64c:0:1:2:3 2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd12:3456::1 fe80::1 fec0::1 ff02::1 ff0e::1
    fe80::1%eth0 localhost 8.8.8 0x7f000001`.split(/\s+/);
  test('refuses addresses that are not public, in every mode', () => {
    for (const address of everywhere)
      for (const mode of ['production', 'sandbox'] as const)
        assert.equal(isAddressAllowed(address, mode), false, `${address} in ${mode}`);
  });
  test('lets only a sandbox send to its own machine', () => {
    for (const address of ['127.0.0.1', '127.255.255.254', '::1', '0:0:0:0:0:0:0:1']) {
      assert.equal(isAddressAllowed(address, 'sandbox'), true, address);
      assert.equal(isAddressAllowed(address, 'production'), false, address);
    }
  });
  test('allows public addresses', () => {
    const addresses =
      `1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 172.15.255.255
      172.32.0.0 192.0.1.1 198.17.255.255 198.20.0.0 223.255.255.255 2001:4860:4860::8888 2606:4700::1111 2a00::1 2001:200::1`.split(
        /\s+/,
      );
    for (const address of addresses)
      for (const mode of ['production', 'sandbox'] as const)
        assert.equal(isAddressAllowed(address, mode), true, `${address} in ${mode}`);
  });

  const urls: [url: string, production: boolean, sandbox: boolean][] = [
    ['https://merchant.example/callbacks?key=1', true, true],
    ['https://8.8.8.8:8443/', true, true],
    ['https://[2606:4700::1111]/', true, true],
    ['http://merchant.example/', false, true],
    ['http://127.0.0.1:8080/', false, true],
    ['http://[::1]/', false, true],
    ['https://127.0.0.1/', false, true],
    ['https://0x7f.1/', false, true], // the same, spelled otherwise
    ['https://2130706433/', false, true],
    ['https://10.0.0.1/', false, false],
    ['https://012.0.0.1/', false, false], // 10.0.0.1
    ['https://[::ffff:127.0.0.1]/', false, false],
    ['https://[fe80::1]/', false, false],
    ['https://user@merchant.example/', false, false],
    ['https://user:secret@merchant.example/', false, false],
    ['https://merchant.example/#part', false, false],
    ['https://merchant.example/#', false, false],
    ['ftp://merchant.example/', false, false],
    ['file:///etc/passwd', false, false],
    ['merchant.example', false, false],
    ['', false, false],
    [`https://merchant.example/${'x'.repeat(2_000)}`, false, false],
  ];
  for (const [url, production, sandbox] of urls) {
    test(`judges ${url.slice(0, 50) || 'nothing'}`, () => {
      assert.equal(urlFault(url, 'production') === undefined, production);
      assert.equal(urlFault(url, 'sandbox') === undefined, sandbox);
    });
  }

  test('production sends nothing over http, and nothing to its own machine, by name or by address', async (t) => {
    receiver.received.length = 0;
    const { port } = new URL(receiver.url);
    for (const [url, fault] of [
      [receiver.url, /^the URL is refused: it must begin with https/],
      [`https://127.0.0.1:${port}/`, /^the URL is refused: 127\.0\.0\.1 is not a public address$/],
      [`https://localhost:${port}/`, /^the host has an address that is not public$/],
    ] as const)
      assert.match((await deliver(t, url, { mode: 'production' })).fault ?? '', fault);
    assert.equal(receiver.received.length, 0);
  });

  for (const addresses of [
    ['10.0.0.1'],
    ['8.8.8.8', '169.254.169.254'],
    ['2606:4700::1111', '::1'],
    ['::ffff:8.8.8.8'],
    [],
  ]) {
    test(`refuses a host whose addresses are ${addresses.join(' and ') || 'none'}`, async (t) => {
      const { lookup } = resolver(...addresses);
      const { fault } = await deliver(t, 'https://merchant.example/', { mode: 'production', lookup });
      assert.equal(fault, 'the host has an address that is not public');
    });
  }

  test('connects to the address that was checked: a name is resolved once', async (t) => {
    receiver.answering = accept;
    const { lookup, lookups } = resolver('127.0.0.1');
    const { port } = new URL(receiver.url);
    assert.equal((await deliver(t, `http://merchant.example:${port}/`, { lookup })).delivered, true);
    assert.equal(lookups(), 1);
    assert.equal(receiver.received.at(-1)?.headers.host, `merchant.example:${port}`);
  });

  test('proxy variables change nothing', async (t) => {
    const proxy = await startReceiver();
    t.after(() => proxy.close());
    const names = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY', 'ALL_PROXY', 'all_proxy'];
    for (const name of names) process.env[name] = proxy.url;
    process.env.NODE_USE_ENV_PROXY = '1';
    t.after(() => {
      for (const name of [...names, 'NODE_USE_ENV_PROXY']) delete process.env[name];
    });
    receiver.answering = accept;
    assert.equal((await deliver(t, receiver.url)).delivered, true);
    assert.equal(proxy.received.length, 0);
  });

  const noOpenssl = spawnSync('openssl', ['version']).status === 0 ? false : 'there is no openssl';
  test('refuses a certificate from an unknown authority', { skip: noOpenssl }, async (t) => {
    const scratch = mkdtempSync(join(tmpdir(), 'pinward-tls-'));
    t.after(() => rmSync(scratch, { recursive: true }));
    const [keyFile, certFile] = [join(scratch, 'key.pem'), join(scratch, 'cert.pem')];
    const subject = ['-subj', '/CN=localhost', '-days', '2', '-keyout', keyFile, '-out', certFile];
    spawnSync('openssl', [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      ...subject,
    ]);
    let requests = 0;
    const server = createHttpsServer({ key: readFileSync(keyFile), cert: readFileSync(certFile) }, () => requests++);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => server.close());
    const url = `https://localhost:${(server.address() as AddressInfo).port}/`;
    assert.equal((await deliver(t, url)).fault, 'no answer (DEPTH_ZERO_SELF_SIGNED_CERT)');
    assert.equal(requests, 0);
  });
});

test('waits one second after the first failure, doubles the wait up to an hour, and gives up after a day', () => {
  const seconds = (attempts: number, chance: number) =>
    ((nextAttemptMs(attempts, NOW, NOW, chance) as number) - NOW) / 1000;
  assert.deepEqual(
    [1, 2, 3, 4, 12, 13, 14, 59].map((n) => seconds(n, 1)),
    [1, 2, 4, 8, 2048, 3600, 3600, 3600],
  );
  assert.deepEqual(
    [1, 2, 3, 4, 12, 13, 14, 59].map((n) => seconds(n, 0)),
    [0.5, 1, 2, 4, 1024, 1800, 1800, 1800],
  );
  const DAY = 86_400_000;
  assert.equal(nextAttemptMs(1, NOW, NOW + DAY - 1_000, 1), NOW + DAY);
  assert.equal(nextAttemptMs(1, NOW, NOW + DAY - 999, 1), undefined);
  assert.equal(nextAttemptMs(60, NOW + DAY, NOW, 1), undefined, 'however far ahead the event is stamped');
  for (let attempt = 1; attempt < 40; attempt++) {
    const after = (nextAttemptMs(attempt, NOW, NOW) as number) - NOW;
    assert.ok(Number.isInteger(after) && after >= 500 && after <= 3_600_000);
  }
});
