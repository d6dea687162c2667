import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { LOCKS } from '../src/db/advisory-locks.ts';
import { openDatabase } from '../src/db/database.ts';
import { remoteMerchant, validPin } from './support/calls.ts';
import { emptyDatabase } from './support/empty-database.ts';
import { noPgBouncer, startPgBouncer } from './support/pgbouncer.ts';
import { API_KEY } from './support/sandbox.ts';
import { type Installation, install } from './support/server-process.ts';
import { readValue } from './support/values.ts';

/** An empty database whose sessions begin with other settings than the server's. */
async function databaseWith(t: TestContext, settings: Record<string, string>): Promise<string> {
  const url = await emptyDatabase(t);
  const db = openDatabase({ url, connections: 1 });
  const name = new URL(url).pathname.slice(1);
  for (const [setting, value] of Object.entries(settings))
    await db.script(`alter database ${name} set ${setting} = '${value}'`);
  await db.close();
  return url;
}

/** Sets many PINs at once, lists cards, and runs commands that print times. */
async function serves(installation: Installation): Promise<void> {
  const { url } = await installation.serve();
  const merchant = remoteMerchant(url);
  const sets = await Promise.all(Array.from({ length: 40 }, (_, i) => merchant.setPin(validPin(i))));
  assert.deepEqual(new Set(sets.map(({ code }) => code)), new Set([0]));
  const listed = await merchant.listCards();
  assert.equal(listed.code, 0);
  const { stdout } = await installation.run(['credential', 'list']);
  assert.match(stdout, new RegExp(`${API_KEY} .*2026-05-22T00:00:00\\.000Z|${API_KEY}`));
  assert.equal((await installation.run(['audit', 'verify'])).status, 0);
}

test('what the database sets for its sessions changes nothing', async (t) => {
  const url = await databaseWith(t, {
    default_transaction_isolation: 'serializable',
    default_transaction_deferrable: 'on',
    DateStyle: 'German, DMY',
    IntervalStyle: 'sql_standard',
    TimeZone: 'Asia/Kathmandu',
    bytea_output: 'escape',
    array_nulls: 'off',
    standard_conforming_strings: 'off',
    client_encoding: 'LATIN1',
    extra_float_digits: '-10',
    enable_seqscan: 'on',
    enable_indexscan: 'off',
    plan_cache_mode: 'force_custom_plan',
    synchronous_commit: 'off',
    statement_timeout: '5s',
    lock_timeout: '1',
    idle_in_transaction_session_timeout: '5s',
  });
  await serves(install(t, { env: { DATABASE_URL: url } }));
  const db = openDatabase({ url, connections: 1 });
  for (const [setting, value] of [
    ['synchronous_commit', 'on'],
    ['statement_timeout', '10s'],
    ['default_transaction_isolation', 'read committed'],
  ])
    assert.equal(await readValue(db, `select current_setting('${setting}')`), value);
  await db.close();
});

test('settings in DATABASE_URL are used beside those of the platform', async (t) => {
  const plain = await emptyDatabase(t);
  const options = encodeURIComponent('-c enable_seqscan=on -c work_mem=5MB');
  const url = `${plain}${plain.includes('?') ? '&' : '?'}options=${options}`;
  const db = openDatabase({ url, connections: 1 });
  assert.equal(await readValue(db, "select current_setting('enable_seqscan')"), 'off');
  assert.equal(await readValue(db, "select current_setting('work_mem')"), '5MB');
  await db.close();
});

test('a platform serves through PgBouncer in session mode, with its defaults', { skip: noPgBouncer }, async (t) => {
  const url = await startPgBouncer(t, await emptyDatabase(t), 'session');
  await serves(install(t, { env: { DATABASE_URL: url } }));
});

for (const mode of ['transaction', 'statement'] as const)
  test(`PgBouncer in ${mode} mode is refused in one line, by every command`, { skip: noPgBouncer }, async (t) => {
    const url = await startPgBouncer(t, await emptyDatabase(t), mode);
    const installation = install(t, { env: { DATABASE_URL: url, PORT: '0' } });
    for (const args of [['migrate'], ['merchant', 'list'], ['serve']]) {
      const { status, stderr } = await installation.run(args);
      assert.equal(status, 1);
      assert.match(stderr, /^pinward-server: DATABASE_URL leads to a connection pooler in transaction mode, .*\n$/);
    }
  });

test('a pooler with room for one connection is refused in one line', { skip: noPgBouncer }, async (t) => {
  const url = await startPgBouncer(t, await emptyDatabase(t), 'session', 'default_pool_size = 1');
  const { status, stderr } = await install(t, { env: { DATABASE_URL: url } }).run(['migrate']);
  assert.equal(status, 1);
  assert.match(
    stderr,
    /^pinward-server: DATABASE_URL leads to a connection pooler that keeps .*default_pool_size.*\n$/,
  );
});

test('a pooler that resets no connection keeps no lock of a migration', { skip: noPgBouncer }, async (t) => {
  const direct = await emptyDatabase(t);
  const url = await startPgBouncer(t, direct, 'session', 'server_reset_query =');
  assert.equal((await install(t, { env: { DATABASE_URL: url } }).run(['migrate'])).status, 0);
  assert.equal((await install(t, { env: { DATABASE_URL: direct } }).run(['migrate'])).status, 0);
});

test('a migration that waits too long for a lock ends, and names the holder of the lock', async (t) => {
  const url = await emptyDatabase(t);
  const db = openDatabase({ url, connections: 1 });
  t.after(() => db.close());
  await db.session(async (holder) => {
    await holder.query('hold', 'select pg_advisory_lock($1)', [LOCKS.migrate]);
    const pid = await readValue<number>(holder, 'select pg_backend_pid()');
    const key = randomBytes(32).toString('hex');
    const installation = install(t, { env: { DATABASE_URL: url, PINWARD_MODE: 'production', PINWARD_KEK: key } });
    const { status, stderr } = await installation.run(['migrate']);
    assert.equal(status, 1);
    assert.match(stderr, new RegExp(`cannot migrate the database: .*database connection ${pid} of pinward`));
    assert.match(stderr, new RegExp(`pg_terminate_backend\\(${pid}\\)\\n$`));
  });
});
