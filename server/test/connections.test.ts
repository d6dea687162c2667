import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { keepRoom } from '../src/api/connection-room.ts';
import { remoteMerchant, validPin } from './support/calls.ts';
import { emptyDatabase } from './support/empty-database.ts';
import { codesIn, rawConnection, requestText } from './support/raw-connection.ts';
import { install, memoryOf, type ServerProcess, until } from './support/server-process.ts';

async function serve(t: TestContext, env: Record<string, string> = {}): Promise<ServerProcess> {
  return install(t, { env: { DATABASE_URL: await emptyDatabase(t), ...env } }).serve();
}

test('clients that send many requests and read no answer cost little memory, whatever they ask for', async (t) => {
  const server = await serve(t);
  const merchant = remoteMerchant(server.url);
  assert.equal((await merchant.setPin(validPin(1))).code, 0);
  const before = memoryOf(server);
  const paths = [
    '/openapi.json',
    '/docs/json',
    '/docs/yaml',
    '/docs/static/swagger-ui-bundle.js',
    '/docs/',
    '/readyz',
    '/x',
  ];
  const port = Number(new URL(server.url).port);
  const sockets = Array.from({ length: 120 }, (_, i) => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.9' });
    socket.on('error', () => {}).pause();
    socket.write(requestText(`GET ${paths[i % paths.length]}`).repeat(1_200));
    return socket;
  });
  t.after(() => sockets.map((socket) => socket.destroy()));
  let most = 0;
  const codes: number[] = [];
  for (let turn = 0; turn < 30; turn++) {
    await sleep(100);
    most = Math.max(most, memoryOf(server));
    codes.push((await merchant.setPin(validPin(turn))).code);
  }
  // 1009: it waited too long. On a machine that does much else this may happen.
  for (const code of codes) assert.ok(code === 0 || code === 1009, `${code}`);
  assert.ok(codes.includes(0), 'others are served');
  assert.ok(most - before < 500, `grew from ${before} to ${most} MiB`);
});

test('an address that holds all connections does not shut the others out', async (t) => {
  const server = createServer((_request, response) => response.end('{"code":0}'));
  keepRoom(server, 20, () => false);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close().closeAllConnections());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const early = rawConnection(t, url, '127.0.0.8');
  const flood = Array.from({ length: 30 }, () => rawConnection(t, url, '127.0.0.9'));
  await Promise.all(flood.slice(0, 11).map(({ closed }) => closed));
  const late = rawConnection(t, url, '127.0.0.10');
  for (const { socket, received } of [early, late]) {
    socket.write(requestText('GET /'));
    await until('it is served', () => codesIn(received()).length === 1);
  }
});

test('pipelined requests are answered in their order', async (t) => {
  const server = await serve(t);
  const { socket, received } = rawConnection(t, server.url);
  const ask = (code: string) =>
    requestText(`GET /open-api/v1/merchant/token?${code}`, code === '1002' ? {} : { 'Api-Key': 'x' });
  const wanted = Array.from({ length: 100 }, (_, i) => (i % 3 === 0 ? '1002' : '1008'));
  socket.write(wanted.map(ask).join(''));
  await until('all are answered', () => codesIn(received()).length === wanted.length);
  assert.deepEqual(codesIn(received()).map(String), wanted);
});

test('an offer to upgrade is ignored: the next request on the connection gets its answer', async (t) => {
  const server = await serve(t);
  const offer = {
    Connection: 'Upgrade, HTTP2-Settings',
    Upgrade: 'h2c',
    'HTTP2-Settings': 'AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA',
  };
  const { socket, received } = rawConnection(t, server.url);
  const path = 'POST /open-api/v1/card/pin/set';
  for (let round = 1; round <= 20; round++) {
    socket.write(requestText(path, { ...offer, 'Content-Type': 'application/json', 'Content-Length': '2' }));
    await until('the first is refused', () => codesIn(received()).length === 2 * round - 1);
    socket.write(`{}${requestText(path, offer, '{}')}`);
    await until('the next one is answered too', () => codesIn(received()).length === 2 * round);
  }
  assert.deepEqual(new Set(codesIn(received())), new Set([1002]));
});

test('offers to upgrade among pipelined requests are ignored, and all are answered in their order', async (t) => {
  const server = await serve(t);
  const offer = { Connection: 'Upgrade', Upgrade: 'h2c' };
  const known = '/open-api/v1/merchant/token';
  const [plain, unknown] = [requestText(`GET ${known}`), requestText(`GET ${known}`, { 'Api-Key': 'nobody' })];
  const [offered, posted] = [requestText(`GET ${known}`, offer), requestText(`POST ${known}`, offer, '{}')];
  for (const [requests, codes] of [
    [
      [unknown, offered, plain],
      [1008, 1002, 1002],
    ],
    [
      [unknown, unknown, plain, posted, unknown],
      [1008, 1008, 1002, 1004, 1008],
    ],
    [
      [offered, offered, posted, unknown, offered],
      [1002, 1002, 1004, 1008, 1002],
    ],
  ] as const) {
    const { socket, received } = rawConnection(t, server.url);
    socket.write(requests.join(''));
    await until('all are answered', () => codesIn(received()).length === codes.length);
    assert.deepEqual(codesIn(received()), codes);
    socket.write(unknown);
    await until('so is one after them', () => codesIn(received()).length === codes.length + 1);
  }
});

test('a broken request is answered after those before it', async (t) => {
  const server = await serve(t);
  const before = requestText('GET /open-api/v1/merchant/token', { 'Api-Key': 'nobody' });
  const post = 'POST /open-api/v1/card/pin/set';
  for (const broken of [
    'no HTTP\r\n\r\n',
    requestText('CONNECT localhost:80'),
    requestText(post, { 'Content-Length': '2, 3' }),
    `${requestText(post, { 'Transfer-Encoding': 'chunked' })}zz\r\n`,
  ]) {
    const { socket, received, closed } = rawConnection(t, server.url);
    socket.write(before + before + broken);
    await closed;
    assert.deepEqual(codesIn(received()), [1008, 1008, 1004], broken);
  }
});

// A JRE has no compiler.
const hasJdk = String(spawnSync('java', ['--list-modules']).stdout).includes('jdk.compiler');
const noJava = hasJdk ? false : 'no JDK is installed';

test("the JDK's HTTP client gets an answer to every call that is refused", { skip: noJava }, async (t) => {
  const server = await serve(t, { LIMIT_FAILED_AUTH_PER_MINUTE: '1000000' });
  const program = new URL('support/RefusedCalls.java', import.meta.url).pathname;
  const java = spawn('java', [program, server.url], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  java.stdout.on('data', (bytes) => (output += bytes));
  java.stderr.on('data', (bytes) => (output += bytes));
  await new Promise((resolve) => java.once('close', resolve));
  assert.equal(output, '500 refused\n');
});

test('a body over the limit answers 1004, however it is sent', async (t) => {
  const server = await serve(t);
  const merchant = remoteMerchant(server.url);
  for (let i = 0; i < 40; i++) {
    const { code } = await merchant.call('/card/pin/set', { card_no: 'x'.repeat(i % 2 === 0 ? 200_000 : 2_000_000) });
    assert.equal(code, 1004);
  }
  const headers = { ...(await merchant.headers()), 'Transfer-Encoding': 'chunked' };
  const { socket, received } = rawConnection(t, server.url);
  socket.write(requestText('POST /open-api/v1/card/pin/set', headers));
  const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`;
  for (let i = 0; i < 20; i++) socket.write(chunk);
  socket.write(`0\r\n\r\n${requestText('GET /open-api/v1/merchant/token')}`);
  await until('both are answered', () => codesIn(received()).length === 2);
  assert.deepEqual(codesIn(received()), [1004, 1002]);
});

test('a client that goes on sending after its answer is cut off', async (t) => {
  const server = await serve(t);
  const { socket, closed } = rawConnection(t, server.url);
  let sent = 0;
  socket.write(requestText('POST /open-api/v1/card/pin/set', { 'Content-Length': '1000000000' }));
  const piece = Buffer.alloc(65_536);
  const send = (): void => {
    while (!socket.destroyed && socket.write(piece)) sent += piece.length;
  };
  socket.on('drain', send);
  send();
  await closed;
  assert.ok(sent < 20_000_000, `it took ${sent} bytes`);
});

test('requests whose bodies do not come hold up nobody for long', async (t) => {
  const server = await serve(t);
  const merchant = remoteMerchant(server.url);
  const headers = { ...(await merchant.headers()), 'Content-Type': 'application/json', 'Content-Length': '100' };
  const slow = Array.from({ length: 600 }, () => rawConnection(t, server.url, '127.0.0.9'));
  for (const { socket } of slow) socket.write(requestText('POST /open-api/v1/card/pin/set', headers));
  await sleep(500);
  const codes: number[] = [];
  for (let i = 0; i < 10 && !codes.includes(0); i++) codes.push((await merchant.setPin(validPin(i))).code);
  assert.ok(codes.includes(0), `answers ${codes}`);
  assert.ok(
    slow.some(({ socket }) => socket.destroyed || socket.readableEnded),
    'the slow ones lost their places',
  );
});

test('what HTTP knows and the platform does not take is answered with the envelope', async (t) => {
  const server = await serve(t);
  const cases: [text: string, status: string][] = [
    ['GET /healthz HTTP/1.1\r\n\r\n', '400 Bad Request'],
    ['POST /open-api/v1/card/pin/set HTTP/1.1\r\nContent-Length: 0\r\n\r\n', '400 Bad Request'],
    ['GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', '400 Bad Request'],
    [requestText('POST /open-api/v1/card/pin/set', { Expect: 'a-cake' }, '{}'), '417 Expectation Failed'],
    [requestText('PURGE /open-api/v1/card/pin/set'), '405 Method Not Allowed'],
    [requestText('PROPFIND /openapi.json'), '405 Method Not Allowed'],
    [requestText('PUT /docs'), '405 Method Not Allowed'],
    [requestText('PUT /docs/'), '405 Method Not Allowed'],
    [requestText('QUERY /readyz'), '405 Method Not Allowed'],
    [requestText('TRACE /open-api/v1/card/list'), '405 Method Not Allowed'],
    [requestText('CONNECT localhost:80'), '405 Method Not Allowed'],
    [requestText('PURGE /nowhere'), '404 Not Found'],
    [requestText('MAKE /healthz'), '400 Bad Request'],
  ];
  for (const [text, status] of cases) {
    const { socket, received } = rawConnection(t, server.url);
    socket.write(text);
    await until(`there is an answer to ${text}`, () => codesIn(received()).length === 1);
    assert.ok(received().startsWith(`HTTP/1.1 ${status}\r\n`), `${text}\n${received()}`);
    assert.match(received(), /x-request-id: /i);
    assert.deepEqual(codesIn(received()), [1004]);
  }
});

test('a request may name a whole URL, as to a proxy', async (t) => {
  const server = await serve(t);
  const { socket, received } = rawConnection(t, server.url);
  for (const path of ['/open-api/v1/merchant/token', '/open-api/v1/card/consume/list?page=0', '/nowhere'])
    socket.write(requestText(`GET https://pinward.example:8443${path}`));
  await until('all are answered', () => codesIn(received()).length === 3);
  assert.deepEqual(codesIn(received()), [1002, 1025, 1004]);
});

test('HTTP/1.0 needs no Host', async (t) => {
  const server = await serve(t);
  const { socket, received, closed } = rawConnection(t, server.url);
  socket.write('GET /healthz HTTP/1.0\r\n\r\n');
  await closed;
  assert.match(received(), /^HTTP\/1.1 200 OK/);
});

test('the API documents have a tag, and are not sent again to a client that has them', async (t) => {
  const server = await serve(t);
  for (const path of ['/openapi.json', '/docs/json', '/issuer/openapi.json']) {
    const first = await fetch(server.url + path);
    const etag = first.headers.get('ETag') as string;
    assert.equal(first.status, 200, path);
    assert.equal(((await first.json()) as { openapi: string }).openapi, '3.1.0');
    for (const tag of [etag, `"other", W/${etag}`, '*'])
      assert.equal((await fetch(server.url + path, { headers: { 'If-None-Match': tag } })).status, 304, tag);
    assert.equal((await fetch(server.url + path, { headers: { 'If-None-Match': '"other"' } })).status, 200);
  }
});
