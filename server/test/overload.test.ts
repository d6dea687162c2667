import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Database } from '../src/db/database.ts';
import { type PlainRequest, send } from './support/requests.ts';
import { API_KEY, pinBody } from './support/sandbox.ts';
import { until } from './support/server-process.ts';
import { merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

const TOKEN_PATH = '/open-api/v1/merchant/token';
const FLOODER = '203.0.113.9';

async function start(t: TestContext): Promise<TestPlatform> {
  const platform = await startPlatform({ LIMIT_FAILED_AUTH_PER_MINUTE: '60' });
  t.after(() => platform.close());
  assert.equal((await merchantOf(platform).call('POST', '/card/pin/set', pinBody('142536'))).code, 0);
  return platform;
}

/** Locks tables, so that whoever looks into them waits, and then fails. */
function whileLocked<T>(db: Database, tables: string, work: () => Promise<T>): Promise<T> {
  return db.transaction(async (tx) => {
    await tx.query('lock', `lock table ${tables} in access exclusive mode`);
    return work();
  });
}

const NOT_READY = { status: 'failed', database: 'failed', keys: 'ok', key_file: 'ok' };

async function readyz({ app }: TestPlatform): Promise<{ httpStatus: number; body: unknown }> {
  const response = await app.inject('/readyz');
  return { httpStatus: response.statusCode, body: response.json() };
}

/** Sends requests at once and returns how often each code came. */
async function codesOf(platform: TestPlatform, requests: PlainRequest[]): Promise<Record<number, number>> {
  const answers = await Promise.all(requests.map((request) => send(platform, request)));
  const codes: Record<number, number> = {};
  for (const { code } of answers) codes[code] = (codes[code] ?? 0) + 1;
  return codes;
}

test('Api-Keys and issuer secrets that do not exist cost no look-up, and the limit answers most of them', async (t) => {
  const platform = await start(t);
  const timestamp = String(platform.clock.now);
  const guess = (i: number): PlainRequest => ({ path: TOKEN_PATH, headers: { 'api-key': `guess-${i}`, timestamp } });
  const issuerGuess = (i: number): PlainRequest => ({
    path: '/issuer/v1/pin/C202605220001',
    headers: { authorization: `Bearer guess-${i}` },
  });
  assert.deepEqual(await codesOf(platform, [issuerGuess(0)]), { 5001: 1 });
  await whileLocked(platform.db, 'credentials, issuers', async () => {
    const many = Array.from({ length: 1_000 }, (_, i) => ({ ...guess(i), from: FLOODER }));
    assert.deepEqual(await codesOf(platform, many), { 1008: 60, 1009: 940 });
    const secrets = Array.from({ length: 1_000 }, (_, i) => ({ ...issuerGuess(i), from: '203.0.113.10' }));
    assert.deepEqual(await codesOf(platform, secrets), { 5001: 60, 1009: 940 });
    const set = await merchantOf(platform).call('POST', '/card/pin/set', pinBody('142536'));
    assert.equal(set.code, 0, 'who is known is served meanwhile');
  });
});

test('a new credential works at once, and within a moment from an address with too many failures', async (t) => {
  const platform = await start(t);
  const timestamp = String(platform.clock.now);
  const ask = (apiKey: string) =>
    send(platform, { path: TOKEN_PATH, headers: { 'api-key': apiKey, timestamp }, from: '127.0.0.7' });
  for (let i = 0; i < 61; i++) await ask(`guess-${i}`);
  assert.equal((await ask('guess')).code, 1009);
  assert.equal((await ask(API_KEY)).code, 0);
});

test('calls that find the queue for the database full are refused at once, and those before them are served', async (t) => {
  const platform = await start(t);
  const merchant = merchantOf(platform);
  const list = () => merchant.call('POST', '/card/list', { start_time: '2026-05-01', end_time: '2026-06-01' });
  assert.equal((await list()).code, 0);
  const answers = await whileLocked(platform.db, 'cards', async () => {
    const calls = Array.from({ length: 700 }, list);
    let answered = 0;
    for (const call of calls) void call.then(() => answered++);
    await until('some are refused', () => answered > 0);
    return calls;
  }).then((calls) => Promise.all(calls));
  const refused = answers.filter(({ httpStatus }) => httpStatus === 503);
  assert.ok(refused.length > 0);
  for (const { code, headers } of refused) assert.deepEqual([code, headers['retry-after']], [1009, '1']);
  // Those that waited for the lock itself may have given up.
  for (const { code, httpStatus } of answers) if (httpStatus === 200) assert.ok([0, 1001].includes(code));
  assert.ok(answers.some(({ code }) => code === 0));
});

test('many readiness probes share one check, and PIN sets go on', async (t) => {
  const platform = await start(t);
  await whileLocked(platform.db, 'write_probe', async () => {
    const asked = Array.from({ length: 1_000 }, () => readyz(platform));
    const set = await merchantOf(platform).call('POST', '/card/pin/set', pinBody('142536'));
    assert.equal(set.code, 0);
    const [first, ...others] = await Promise.all(asked);
    assert.deepEqual(first, { httpStatus: 503, body: NOT_READY });
    for (const other of others) assert.deepEqual(other, first);
  });
});

test('a platform whose database takes no writes is not ready, and is ready again by itself', async (t) => {
  const platform = await start(t);
  assert.equal((await readyz(platform)).httpStatus, 200);
  const name = new URL(platform.databaseUrl).pathname.slice(1);
  const cut = () =>
    platform.db
      .query('cut', 'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()')
      .catch(() => {});
  const set = async () => (await merchantOf(platform).call('POST', '/card/pin/set', pinBody('142536'))).code;
  await platform.db.script(`alter database ${name} set default_transaction_read_only = on`);
  await cut();
  await until('it is not ready', async () => (await readyz(platform)).httpStatus === 503);
  assert.equal(await set(), 1001);
  await platform.db.session(async (session) => {
    await session.script('set default_transaction_read_only = off');
    await session.script(`alter database ${name} reset default_transaction_read_only`);
  });
  await cut();
  await until('it is ready', async () => (await readyz(platform)).httpStatus === 200);
  assert.equal(await set(), 0);
});
