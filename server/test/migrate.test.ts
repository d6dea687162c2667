import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Database, openDatabase } from '../src/db/database.ts';
import { migrate, requireSchema, SchemaError } from '../src/db/migrate.ts';
import { emptyDatabase } from './support/empty-database.ts';
import { install } from './support/server-process.ts';

/** Other statements give up on a lock after this (db/database.ts). */
const LOCK_TIMEOUT_MS = 1_000;

async function open(t: TestContext): Promise<Database> {
  const db = openDatabase({ url: await emptyDatabase(t) });
  t.after(() => db.close());
  return db;
}

test('an empty database is refused until it is migrated; a second time there is nothing to do', async (t) => {
  const db = await open(t);
  await assert.rejects(
    requireSchema(db),
    (error: Error) => error instanceof SchemaError && /0001_platform is not applied[\s\S]*pinward-server migrate/.test(error.message),
  );
  assert.ok((await migrate(db)).includes('0001_platform'));
  await requireSchema(db);
  assert.deepEqual(await migrate(db), []);
});

test('of several that migrate at once one does it, and all are well', async (t) => {
  const db = await open(t);
  const results = await Promise.all(Array.from({ length: 4 }, () => migrate(db)));
  assert.equal(results.filter((names) => names.length > 0).length, 1);
  await requireSchema(db);
});

test('whoever finds another at it waits for as long as that takes', async (t) => {
  const db = await open(t);
  await db.session(async (session) => {
    await session.query('lock', 'select pg_advisory_lock(7746273001)'); // LOCK in db/migrate.ts, as another process holds it
    const migrating = migrate(db);
    migrating.catch(() => {}); // looked at below
    await Promise.race([migrating, sleep(LOCK_TIMEOUT_MS + 1_000)]);
    await session.query('unlock', 'select pg_advisory_unlock(7746273001)');
    assert.ok((await migrating).includes('0001_platform'));
  });
});

test('a migration that fails leaves nothing behind, and can be done again', async (t) => {
  const db = await open(t);
  await db.script('create table pins (in_the_way int)');
  await assert.rejects(migrate(db), /already exists/);
  const tables = await db.query<[string]>('tables', `select tablename from pg_tables where schemaname = 'public' order by 1`);
  assert.deepEqual(tables.flat(), ['pins', 'schema_migrations']);
  await db.script('drop table pins');
  await migrate(db);
  await requireSchema(db);
});

test('the operator is told in one line which migration failed, and why', async (t) => {
  const url = await emptyDatabase(t);
  const db = openDatabase({ url, connections: 1 });
  await db.script('create table pins (in_the_way int)');
  await db.close();
  const { status, stdout, stderr } = await install(t, { env: { DATABASE_URL: url } }).run(['migrate']);
  assert.equal(status, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /^pinward-server: .*0001_platform.*relation "pins" already exists.*\n$/);
});

test('a migration that was applied with another content is refused, and so is a database from the future', async (t) => {
  const db = await open(t);
  await migrate(db);
  await db.script(`update schema_migrations set sha256 = 'x' where version = 1`);
  await assert.rejects(requireSchema(db), /0001_platform was applied with another content/);
  await assert.rejects(migrate(db), SchemaError);
  await db.script(`delete from schema_migrations; insert into schema_migrations values (9999, '9999_tomorrow', 'x')`);
  await assert.rejects(migrate(db), /9999_tomorrow is applied and unknown here/);
});
