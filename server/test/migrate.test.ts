import assert from 'node:assert/strict';
import { createHash, sign } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { verifyAudit } from '../src/audit/verify-audit.ts';
import { encodeFields } from '../src/crypto/encode.ts';
import { type Database, openDatabase } from '../src/db/database.ts';
import { migrate, readMigrations, requireSchema, SchemaError } from '../src/db/migrate.ts';
import { emptyDatabase } from './support/empty-database.ts';
import { install } from './support/server-process.ts';
import { testKeys } from './support/test-platform.ts';

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
    (error: Error) =>
      error instanceof SchemaError && /0001_platform is not applied[\s\S]*pinward-server migrate/.test(error.message),
  );
  assert.ok((await migrate(db)).includes('0001_platform'));
  await requireSchema(db);
  assert.deepEqual(await migrate(db), []);
});

test('one of several processes migrates, and all succeed', async (t) => {
  const db = await open(t);
  const results = await Promise.all(Array.from({ length: 4 }, () => migrate(db)));
  assert.equal(results.filter((names) => names.length > 0).length, 1);
  await requireSchema(db);
});

test('a second migration waits until the first has ended', async (t) => {
  const db = await open(t);
  await db.session(async (session) => {
    await session.tuples('lock', 'select pg_advisory_lock(7746273001)'); // LOCK in db/migrate.ts, as another process holds it
    const migrating = migrate(db);
    migrating.catch(() => {}); // looked at below
    await Promise.race([migrating, sleep(LOCK_TIMEOUT_MS + 1_000)]);
    await session.tuples('unlock', 'select pg_advisory_unlock(7746273001)');
    assert.ok((await migrating).includes('0001_platform'));
  });
});

test('a migration that fails leaves nothing behind, and can be done again', async (t) => {
  const db = await open(t);
  await db.script('create table pins (in_the_way int)');
  await assert.rejects(migrate(db), /already exists/);
  const tables = await db.tuples<[string]>(
    'tables',
    `select tablename from pg_tables where schemaname = 'public' order by 1`,
  );
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

test('PINs from their former table are moved to their cards', async (t) => {
  const db = await open(t);
  await migrateBefore(db, 4);
  const bytes = (length: number, value: number) => `decode(repeat('0${value}', ${length}), 'hex')`;
  await db.script(`
    insert into merchants (merchant_no, name, integration_mode) values ('M1', 'One', 'AUTHORIZATION');
    insert into cardholders (merchant_id, cardholder_no, cardholder_unique_no, status) values (1, 'U1', 'u1', 'Approved');
    insert into cards (merchant_id, card_no, card_unique_no, cardholder_no, card_type, status, pin_version)
    select 1, 'C' || n, 'c' || n, 'U1', 'Physical', 'Activated', n from generate_series(0, 3) n;
    insert into pins (merchant_id, card_no, version, prv, salt, key_version, envelope, channel, credential_id, set_at)
    values (1, 'C1', 1, ${bytes(32, 1)}, ${bytes(16, 4)}, 7, 'ecb', 'merchant-api', 5, to_timestamp(1)),
           (1, 'C2', 2, ${bytes(32, 2)}, ${bytes(16, 5)}, 8, 'jwe', 'merchant-api', 6, to_timestamp(2))`);
  await assert.rejects(migrate(db), /0004.*a card counts other PINs than it has/, 'C3 counts three and has none');
  await db.script(`update cards set pin_version = 0 where card_no = 'C3'`);
  assert.deepEqual(await migrate(db), namesFrom('0004_pins_on_cards'));
  const cards = await db.tuples(
    'migrated',
    `select card_no, pin_version, encode(pin_prv, 'hex'), encode(pin_salt, 'hex'), pin_key_version, pin_envelope, pin_channel, pin_credential_id,
            extract(epoch from pin_set_at)::int from cards order by card_no`,
  );
  const none = [null, null, null, null, null, null, null];
  assert.deepEqual(cards, [
    ['C0', 0, ...none],
    ['C1', 1, '01'.repeat(32), '04'.repeat(16), 7, 'ecb', 'merchant-api', 5, 1],
    ['C2', 2, '02'.repeat(32), '05'.repeat(16), 8, 'jwe', 'merchant-api', 6, 2],
    ['C3', 0, ...none],
  ]);
  for (const [column, value] of [
    ['status', "'Lost'"],
    ['card_type', "'Paper'"],
    ['frozen_by', "'nobody'"],
    ['pan_last_four', "'123'"],
    ['expiry_yymm', "'12345'"],
    ['pin_prv', bytes(31, 1)],
    ['pin_salt', bytes(17, 1)],
  ])
    await assert.rejects(db.script(`update cards set ${column} = ${value}`), /violates check constraint/, column);
});

test('audit chains from the time when a column named them verify as they were, with their signings and checkpoints', async (t) => {
  const db = await open(t);
  await migrateBefore(db, 5);
  await db.script(`
    insert into installation (mode, key_file_id) values ('sandbox', 'x');
    insert into merchants (merchant_no, name, integration_mode) values ('M1', 'One', 'AUTHORIZATION');
    insert into cardholders (merchant_id, cardholder_no, cardholder_unique_no, status) values (1, 'U1', 'u1', 'Approved');
    insert into cards (merchant_id, card_no, card_unique_no, cardholder_no, card_type, status)
    select 1, no, no, 'U1', 'Virtual', 'Activated' from unnest('{C1,zz}'::text[]) no;
    insert into issuers (issuer_no, name, secret_hash, ip_allowlist) values ('I1', 'One', sha256('x'), '{}');`);
  const chains: [merchantId: number, name: string, table: string, where: string][] = [
    [0, '', 'installation', 'true'],
    [0, 'issuer:I1', 'issuers', 'true'],
    [1, '', 'merchants', 'true'],
    [1, 'C1', 'cards', `card_no = 'C1'`],
    [1, 'cardholder:U1', 'cardholders', 'true'],
    [1, 'zz', 'cards', `card_no = 'zz'`],
  ];
  for (const [merchantId, name, table, where] of chains)
    for (const seq of [1, 2])
      await db.script(`
        with head as (
          update ${table} set audit_count = ${seq}, audit_head = audit_hash(audit_head, ${merchantId}, '${name}', ${seq}, 1000, 'x', '{}')
           where ${where} returning audit_head)
        insert into audit_records select ${merchantId}, '${name}', ${seq}, to_timestamp(1), 'x', '{}', audit_head from head`);
  const keys = await testKeys();
  const { version, key } = keys.auditHead;
  const heads = await db.tuples<[number, string, number, Buffer]>(
    'heads',
    'select merchant_id, card_no, seq, hash from audit_records where seq = 2 order by merchant_id, card_no collate "C"',
  );
  // What the program of that time signed: the digest over the heads, by the names that they had.
  const start = encodeFields(['pinward/audit-signing/v1', 1, 1000, Buffer.alloc(32)]);
  const digest = createHash('sha256')
    .update(Buffer.concat([start, ...heads.map(encodeFields)]))
    .digest();
  const signature = sign(null, encodeFields(['pinward/audit-heads/v1', 1, 1000, heads.length, digest]), key);
  await db.tuples('signing', 'insert into audit_signings values (1, to_timestamp(1), $1, $2, $3, $4)', [
    heads.length,
    digest,
    version,
    signature,
  ]);
  await db.script('insert into audit_heads select 1, merchant_id, card_no, seq, hash from audit_records where seq = 2');
  for (const name of ['C1', 'cardholder:U1', '']) {
    const [[hash] = [Buffer.alloc(0)]] = await db.tuples<[Buffer]>(
      'first',
      'select hash from audit_records where merchant_id = 1 and card_no = $1 and seq = 1',
      [name],
    );
    const text = encodeFields(['pinward/audit-checkpoint/v1', 1, name, 1, hash, 1000]);
    const values = [name, hash, version, sign(null, text, key)];
    await db.tuples(
      'checkpoint',
      'insert into audit_checkpoints values (1, $1, 1, $2, to_timestamp(1), $3, $4)',
      values,
    );
    await db.tuples('prune', 'delete from audit_records where merchant_id = 1 and card_no = $1 and seq = 1', [name]);
  }

  assert.deepEqual(await migrate(db), namesFrom('0005_audit_subjects'));
  const times = await db.tuples(
    'times',
    `select audit_at_ms from cards union all select audit_at_ms from cardholders union all select audit_at_ms from merchants
     union all select audit_at_ms from issuers union all select audit_at_ms from installation`,
  );
  assert.deepEqual(times.flat(), Array(6).fill(1000), 'the time of the last record');
  assert.deepEqual(await verifyAudit(db, keys), { chains: 6, records: 9, signings: 1, breaks: [] });
  const subjects = await db.tuples(
    'subjects',
    'select distinct merchant_id, subject_kind, subject from audit_records order by merchant_id, subject_kind, subject',
  );
  assert.deepEqual(subjects, [
    [0, 'issuer', 'I1'],
    [0, 'platform', ''],
    [1, 'card', 'C1'],
    [1, 'card', 'zz'],
    [1, 'cardholder', 'U1'],
    [1, 'merchant', 'M1'],
  ]);
  await assert.rejects(db.script(`delete from audit_records where subject = 'zz'`), /append-only/);
  await assert.rejects(db.script(`update audit_records set action = 'y'`), /append-only/);
});

/** Brings a database to where it stood before a migration, as the program of that time did. */
async function migrateBefore(db: Database, first: number): Promise<void> {
  await db.script(
    'create table schema_migrations (version integer primary key, name text, sha256 text, applied_at timestamptz default now())',
  );
  for (const { version, name, sql, sha256 } of readMigrations().filter((one) => one.version < first)) {
    await db.script(sql);
    await db.tuples('applied', 'insert into schema_migrations (version, name, sha256) values ($1, $2, $3)', [
      version,
      name,
      sha256,
    ]);
  }
}

test('a migration that was applied with another content is refused, and so is a database from the future', async (t) => {
  const db = await open(t);
  await migrate(db);
  await db.script(`update schema_migrations set sha256 = 'x' where version = 1`);
  await assert.rejects(requireSchema(db), /0001_platform was applied with another content/);
  await assert.rejects(migrate(db), SchemaError);
  await db.script(`delete from schema_migrations; insert into schema_migrations values (9999, '9999_tomorrow', 'x')`);
  await assert.rejects(migrate(db), /9999_tomorrow is applied and unknown here/);
});

/** The names of a migration and of all after it. */
function namesFrom(name: string): string[] {
  const names = readMigrations().map((migration) => migration.name);
  return names.slice(names.indexOf(name));
}
