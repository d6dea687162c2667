import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { readConfig } from '../src/config.ts';
import { runAs } from '../src/db/native.ts';
import { openPlatform, type Platform } from '../src/platform.ts';
import { type RemoteMerchant, remoteMerchant, validPin } from './support/calls.ts';
import { emptyDatabase } from './support/empty-database.ts';
import { FIRST_CARD, pinBody } from './support/sandbox.ts';
import { childrenOf, type Installation, install, type ServerProcess, until } from './support/server-process.ts';
import { intactChain, storedPin } from './support/stored-pin.ts';

/** A sandbox on a database of its own on the run's server, and a look into it from here. */
async function sandbox(
  t: TestContext,
): Promise<{ server: ServerProcess; merchant: RemoteMerchant; platform: Platform }> {
  const env = { DATABASE_URL: await emptyDatabase(t), LIMIT_PIN_SETS_PER_CARD_PER_MINUTE: '1000000' };
  const installation = install(t, { env });
  const server = await installation.serve();
  const platform = await openPlatform(readConfig({ ...env, PINWARD_DATA_DIR: installation.dataDir }));
  t.after(() => platform.close());
  return { server, merchant: remoteMerchant(server.url), platform };
}

async function look(server: ServerProcess, path: string): Promise<{ status: number; body: unknown }> {
  const response = await fetch(server.url + path);
  return { status: response.status, body: await response.json() };
}

/** A sandbox on an embedded server that the test holds, so that it can stop it. */
async function sandboxOnEngine(
  t: TestContext,
): Promise<{ engine: Installation; stop(): Promise<void>; server: ServerProcess }> {
  const engine = install(t);
  const database = await engine.open();
  const server = await install(t, { env: { DATABASE_URL: database.url } }).serve();
  return { engine, stop: () => database.release(), server };
}

const READY = { status: 200, body: { status: 'ok', database: 'ok', keys: 'ok', key_file: 'ok' } };
const NOT_READY = { status: 503, body: { status: 'failed', database: 'failed', keys: 'ok', key_file: 'ok' } };

test('a fault in the data answers 1001 and stores nothing', async (t) => {
  const { merchant, platform } = await sandbox(t);
  for (const damage of ['null', `set_byte(pan_wrapped, 20, get_byte(pan_wrapped, 20) # 1)`, `'\\x00'`]) {
    const sound = await platform.db.tuples<[Buffer]>('keep', 'select pan_wrapped from cards where card_no = $1', [
      FIRST_CARD.cardNo,
    ]);
    await platform.db.script(`update cards set pan_wrapped = ${damage} where card_no = '${FIRST_CARD.cardNo}'`);
    const answer = await merchant.setPin(validPin(1));
    assert.equal(answer.text, '{"code":1001,"msg":"System error, please try again later"}', damage);
    await platform.db.tuples('mend', 'update cards set pan_wrapped = $2 where card_no = $1', [
      FIRST_CARD.cardNo,
      sound[0]?.[0],
    ]);
    assert.equal(await storedPin(platform, FIRST_CARD.cardNo), undefined);
  }
  assert.equal((await merchant.setPin(validPin(1))).code, 0);
  assert.ok(await (await storedPin(platform, FIRST_CARD.cardNo))?.is(validPin(1)));
});

/** Opens a connection and writes to it by hand. */
function rawConnection(
  t: TestContext,
  { url }: ServerProcess,
): { socket: Socket; received(): string; closed: Promise<void> } {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  let received = '';
  socket.setEncoding('utf8').on('data', (text) => {
    received += text;
  });
  socket.on('error', () => {}); // what counts is its end
  t.after(() => socket.destroy());
  return { socket, received: () => received, closed: new Promise((resolve) => socket.once('close', () => resolve())) };
}

async function requestHead(merchant: RemoteMerchant, length: number): Promise<string> {
  const headers = { Host: 'localhost', ...(await merchant.headers()), 'Content-Length': String(length) };
  return `POST /open-api/v1/card/pin/set HTTP/1.1\r\n${Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')}\r\n`;
}

/** Waits until `/readyz` answers so: an answer holds for a second. */
async function readinessIs(server: ServerProcess, expected: Awaited<ReturnType<typeof look>>): Promise<void> {
  await until('the readiness changes', async () => (await look(server, '/readyz')).status === expected.status);
  assert.deepEqual(await look(server, '/readyz'), expected);
}

test('while the database is stopped calls answer 1001 without internal details, and work again once it is back', async (t) => {
  const { engine, stop, server } = await sandboxOnEngine(t);
  const merchant = remoteMerchant(server.url);
  assert.deepEqual(await look(server, '/healthz'), { status: 200, body: { status: 'ok' } });
  assert.deepEqual(await look(server, '/readyz'), READY);
  assert.equal((await merchant.setPin(validPin(1))).code, 0);

  await stop();
  await readinessIs(server, NOT_READY);
  assert.deepEqual(
    await look(server, '/healthz'),
    { status: 200, body: { status: 'ok' } },
    'the process itself is well',
  );
  const english = await merchant.setPin(validPin(2));
  const chinese = await merchant.call('/card/pin/set', pinBody(validPin(2)), { Language: 'zh_CN' });
  assert.equal(english.text, '{"code":1001,"msg":"System error, please try again later"}');
  assert.equal(chinese.text, '{"code":1001,"msg":"系统异常，请稍后重试"}');
  for (const { httpStatus, requestId } of [english, chinese]) {
    assert.equal(httpStatus, 200);
    const lines = await until('the log tells of it', () => {
      const found = server.log().filter((line) => line.requestId === requestId);
      return found.length === 2 ? found : undefined;
    });
    assert.deepEqual(
      lines.map(({ msg }) => msg),
      ['unexpected fault', 'request'],
    );
    assert.match(JSON.stringify(lines[0]?.err), /ENOENT|ECONNREFUSED|terminat/);
    assert.equal(lines[1]?.code, 1001);
  }

  await engine.open();
  await until('a PIN can be set again', async () => (await merchant.setPin(validPin(3))).code === 0);
  await readinessIs(server, READY);
});

test('a database that hangs makes the platform unready, and it is ready again when the database goes on', async (t) => {
  const { engine, server } = await sandboxOnEngine(t);
  const merchant = remoteMerchant(server.url);
  assert.equal((await merchant.setPin(validPin(1))).code, 0);
  const main = engine.databasePid()!;
  const family = [main, ...childrenOf(main)];
  for (const pid of family) process.kill(pid, 'SIGSTOP');
  try {
    await readinessIs(server, NOT_READY);
    assert.deepEqual(await look(server, '/healthz'), { status: 200, body: { status: 'ok' } });
  } finally {
    for (const pid of family) process.kill(pid, 'SIGCONT');
  }
  await until('it is ready', async () => (await look(server, '/readyz')).status === 200);
  assert.equal((await merchant.setPin(validPin(2))).code, 0);
});

test('clients that send headers or body very slowly lose the connection, and others are served meanwhile', async (t) => {
  const { server, merchant, platform } = await sandbox(t);
  const body = JSON.stringify(pinBody(validPin(9)));
  const trickling = [await requestHead(merchant, 1000), (await requestHead(merchant, body.length)) + body].map(
    (text, index) => {
      const connection = rawConnection(t, server);
      const whole = index === 0 ? 0 : text.length - body.length; // the second sends its headers at once
      let sent = whole;
      connection.socket.write(text.slice(0, whole));
      const timer = setInterval(() => connection.socket.write(text[sent++] ?? ''), 250);
      t.after(() => clearInterval(timer));
      return connection;
    },
  );
  let over = false;
  void Promise.all(trickling.map(({ closed }) => closed)).then(() => {
    over = true;
  });
  let set = 0;
  await until('both are cut', async () => {
    assert.equal((await merchant.setPin(validPin(set++))).code, 0);
    return over;
  });
  for (const { received } of trickling) assert.match(received(), /^HTTP\/1\.1 408 .*"code":1004/s);
  assert.equal((await storedPin(platform, FIRST_CARD.cardNo))?.version, set, 'what trickled in changed nothing');
});

test('connections that are cut in the middle of a request do no harm', async (t) => {
  const { server, merchant, platform } = await sandbox(t);
  const body = JSON.stringify(pinBody(validPin(1)));
  const whole = (await requestHead(merchant, body.length)) + body;
  for (let length = 1; length < whole.length; length += 23) {
    const { socket, closed } = rawConnection(t, server);
    socket.write(whole.slice(0, length), () => socket.resetAndDestroy());
    await closed;
  }
  assert.equal((await merchant.setPin(validPin(2))).code, 0);
  assert.equal((await server.stop('SIGTERM')).status, 0);
  assert.deepEqual(faultsIn(server), []);
  assert.equal((await storedPin(platform, FIRST_CARD.cardNo))?.version, 1, 'none of the halves was a set');
});

test('a PIN set whose caller has disconnected is done completely or not at all, before the platform ends', async (t) => {
  const { server, merchant, platform } = await sandbox(t);
  const body = JSON.stringify(pinBody(validPin(1)));
  const whole = (await requestHead(merchant, body.length)) + body;
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      const { socket, closed } = rawConnection(t, server);
      socket.write(whole, () => socket.destroy());
      await closed;
    }),
  );
  assert.equal((await server.stop('SIGTERM')).status, 0);
  assert.deepEqual(faultsIn(server), []);
  const records = await intactChain(platform.db, FIRST_CARD.cardNo);
  const stored = await storedPin(platform, FIRST_CARD.cardNo);
  assert.equal(records.filter(({ action }) => action === 'pin_set').length, stored?.version ?? 0);
  assert.ok(stored === undefined || (await stored.is(validPin(1))));
});

/** What an operator need see. */
function faultsIn(server: ServerProcess): unknown[] {
  return server.log().filter(({ level, code }) => Number(level) >= 40 || code === 1001);
}

test('every request is one line of the log, with its id, the pattern of its route and its code', async (t) => {
  const { server, merchant } = await sandbox(t);
  const calls: [answer: { requestId: string }, expected: Record<string, unknown>][] = [
    [await merchant.setPin(validPin(1)), { method: 'POST', route: '/open-api/v1/card/pin/set', code: 0, status: 200 }],
    [await merchant.setPin('111111'), { method: 'POST', route: '/open-api/v1/card/pin/set', code: 4016, status: 200 }],
    [
      await merchant.call('/card/C202605220001/detail'),
      { method: 'GET', route: '/open-api/v1/card/:card_no/detail', code: 0 },
    ],
    [
      await merchant.call('/card/C-of-nobody/detail'),
      { method: 'GET', route: '/open-api/v1/card/:card_no/detail', code: 4001 },
    ],
    [await merchant.call('/no/such/path'), { method: 'GET', code: 1004, status: 404 }],
    [await merchant.call('/card/pin/set'), { method: 'GET', code: 1004, status: 405 }],
  ];
  const { stdout } = await server.stop('SIGTERM');
  for (const [{ requestId }, expected] of calls) {
    const lines = stdout.split('\n').filter((line) => line.includes(requestId));
    assert.equal(lines.length, 1, `${expected.route}`);
    const line = JSON.parse(lines[0] ?? '{}') as Record<string, unknown>;
    assert.deepEqual(Object.fromEntries(Object.keys(expected).map((name) => [name, line[name]])), expected);
    assert.equal(line.requestId, requestId);
    assert.equal(typeof line.ms, 'number');
    assert.equal(line.ip, '127.0.0.1');
  }
  assert.ok(!stdout.includes('C-of-nobody'), 'paths as they were sent stay out');
});

test('idle connections do not delay the end', async (t) => {
  const { server, merchant } = await sandbox(t);
  const silent = rawConnection(t, server);
  const halfway = rawConnection(t, server);
  halfway.socket.write('GET /healthz HTTP/1.1\r\nHost: loc');
  assert.equal((await merchant.setPin(validPin(1))).code, 0); // fetch keeps its connection, too
  const { status } = await server.stop('SIGTERM');
  assert.equal(status, 0);
  await silent.closed;
});

test('a port in use is reported in one line, and the database is stopped', async (t) => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  t.after(() => other.close());
  const port = String((other.address() as AddressInfo).port);
  const installation = install(t);
  const { status, stderr } = await installation.run(['serve'], { env: { PORT: port } });
  assert.equal(status, 1);
  assert.match(stderr, new RegExp(`^pinward-server: cannot listen: .*EADDRINUSE.*:${port}; set HOST and PORT\n$`));
  assert.equal(installation.databasePid(), undefined);
});

test('an unreadable data directory is named, and not reported as a port in use', async (t) => {
  // Root may read everything.
  const as = await runAs();
  const installation = install(t, as === undefined ? {} : { as });
  mkdirSync(installation.dataDir, { recursive: true });
  chmodSync(installation.dataDir, 0o000);
  try {
    const { status, stderr } = await installation.run(['serve']);
    assert.equal(status, 1);
    assert.match(
      stderr,
      /^pinward-server: .+ cannot be read or written: EACCES: .+; check the owner of PINWARD_DATA_DIR\n$/,
    );
    assert.ok(stderr.includes(installation.dataDir), stderr);
  } finally {
    chmodSync(installation.dataDir, 0o700);
  }
});

test('a database that does not answer, or refuses us, is reported in one line', async (t) => {
  const faulty = install(t, { env: { PINWARD_MODE: 'production', PINWARD_KEK: '5a'.repeat(32) } });
  const served = new URL(process.env.TEST_SERVER_URL as string);
  const wrong = new URL(served);
  wrong.password = 'wrong';
  const missing = new URL(served);
  missing.pathname = '/there_is_none';
  for (const url of [
    'postgres://u:secret-word@127.0.0.1:1/d',
    'postgres://u:secret-word@localhost:1/d',
    'postgres://u:secret-word@no-such-host.invalid/d',
    'postgres://u:secret-word@/d?host=/nowhere',
    wrong,
    missing,
  ]) {
    const { status, stderr } = await faulty.run(['migrate'], { env: { DATABASE_URL: String(url) } });
    assert.equal(status, 1);
    assert.match(stderr, /^pinward-server: the database .*: .+; check DATABASE_URL\n$/);
    assert.ok(!stderr.includes('secret-word'));
  }
});

test('what the sandbox prints to be pasted sets the PIN', {
  skip: spawnSync('curl', ['--version']).error && 'curl is missing',
}, async (t) => {
  const { server, platform } = await sandbox(t);
  const greeting = await until('it greets', () => /^PINWARD=[\s\S]*?^curl .*$/m.exec(server.stdout())?.[0]);
  const env = { PATH: process.env.PATH ?? '' };
  assert.equal(
    execFileSync('sh', ['-eu'], { input: greeting, env, encoding: 'utf8' }),
    '{"code":0,"msg":"Success","data":{"result":true}}',
  );
  assert.ok(await (await storedPin(platform, FIRST_CARD.cardNo))?.is('142536'));
});
