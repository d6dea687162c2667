import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readConfig } from '../src/config.ts';
import { type Database, openDatabase } from '../src/db/database.ts';
import type { StoredKeyFile } from '../src/keys/key-file.ts';
import { makeKey } from '../src/keys/make-key.ts';
import { openSeal } from '../src/keys/open-key-file.ts';
import { openPlatform } from '../src/platform.ts';
import { remoteMerchant } from './support/calls.ts';
import { emptyDatabase } from './support/empty-database.ts';
import { pinBlock } from './support/issuer.ts';
import { FIRST_CARD, ZONE_KEY } from './support/sandbox.ts';
import { ageKeys, editKeyFile, type Installation, install, until } from './support/server-process.ts';
import { testKek } from './support/test-kek.ts';

const KEK = '5a'.repeat(32);

interface Sandbox extends Installation {
  keyFile: string;
  db: Database;
  databaseUrl: string;
  /** Runs a command that must succeed. Returns what it wrote to both outputs. */
  succeeds(args: string[], env?: Record<string, string>): Promise<string>;
  /** Runs a command that must be refused. */
  refuses(args: string[], words: RegExp, env?: Record<string, string>): Promise<void>;
}

/** A sandbox, or a production platform, on a database of its own, which was opened once. */
async function sandbox(t: TestContext, mode = 'sandbox'): Promise<Sandbox> {
  const databaseUrl = await emptyDatabase(t);
  const installation = install(t, { env: { PINWARD_MODE: mode, DATABASE_URL: databaseUrl, PINWARD_KEK: KEK } });
  const db = openDatabase({ url: databaseUrl, connections: 2 });
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= db.close();
    return closing;
  };
  t.after(close);
  const made: Sandbox = {
    ...installation,
    keyFile: join(installation.dataDir, 'keys.json'),
    db: { ...db, close },
    databaseUrl,
    async succeeds(args, env = {}) {
      const { status, stdout, stderr } = await installation.run(args, { env });
      assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
      return stdout + stderr;
    },
    async refuses(args, words, env = {}) {
      const { status, stderr } = await installation.run(args, { env });
      assert.equal(status, 1, args.join(' '));
      assert.match(stderr, words);
      assert.doesNotMatch(stderr, /\n {4}at /, 'no stack trace');
    },
  };
  if (mode === 'production') for (const args of [['keys', 'init'], ['migrate']]) await made.succeeds(args);
  await made.succeeds(['keys', 'list']);
  return made;
}

const read = (path: string): StoredKeyFile => JSON.parse(readFileSync(path, 'utf8'));
const rotate = (purpose: string) => ['keys', 'rotate', purpose, '--active-in', '0'];

test('a key file from before a rotation is refused by every start and command, until the newest is back', async (t) => {
  const one = await sandbox(t);
  const old = readFileSync(one.keyFile);
  const [, kcv] = (await one.succeeds(rotate('pin-verify'))).match(/KCV ([0-9A-F]{6})/) ?? [];
  const newest = readFileSync(one.keyFile);
  writeFileSync(one.keyFile, old);
  const words = new RegExp(
    `the key file .*keys\\.json and the database disagree:\\n  - pin-verify version 2 \\(KCV ${kcv}\\) is not in the file` +
      '\\nThe file is older than the database, .* Bring back the newest copy of the key file',
  );
  for (const args of [['serve'], rotate('pin-verify'), rotate('cvv'), ['keys', 'rewrap'], ['merchant', 'list']])
    await one.refuses(args, words);
  const nextKek = { PINWARD_KEK: '6b'.repeat(32), PINWARD_OLD_KEK: KEK };
  await one.refuses(['keys', 'rotate', 'kek'], words, nextKek);
  assert.deepEqual(readFileSync(one.keyFile), old, 'nothing was changed');
  writeFileSync(one.keyFile, newest);
  assert.match(await one.succeeds(rotate('pin-verify')), /^pin-verify version 3/);
});

test('a key file from before a rotation of the KEK is refused', async (t) => {
  const one = await sandbox(t);
  const old = readFileSync(one.keyFile);
  await one.succeeds(['keys', 'rotate', 'kek'], { PINWARD_KEK: '6b'.repeat(32), PINWARD_OLD_KEK: KEK });
  writeFileSync(one.keyFile, old);
  await one.refuses(['keys', 'list'], /kek version 2 \(KCV [0-9A-F]{6}\) is not in the file/);
});

test('a key file with another key under a version is refused', async (t) => {
  const one = await sandbox(t);
  const old = readFileSync(one.keyFile);
  await one.succeeds(rotate('pin-verify'));
  writeFileSync(one.keyFile, old);
  const stored = read(one.keyFile);
  const kek = await openSeal(one.keyFile, stored, testKek);
  const other = await makeKey({ file: stored, kek, hsm: undefined }, 'pin-verify', { now: new Date() });
  await editKeyFile(one.keyFile, testKek, (file) => void file.keys.push(other));
  await one.refuses(
    ['serve'],
    new RegExp(`pin-verify version 2 is KCV ${other.kcv} in the file and KCV [0-9A-F]{6} in the database`),
  );
});

test('a key file from before a key was destroyed is refused', async (t) => {
  const one = await sandbox(t);
  await one.succeeds(rotate('jwe'));
  await ageKeys(one, { PINWARD_KEK: KEK });
  const old = readFileSync(one.keyFile);
  await one.succeeds(['keys', 'destroy', 'jwe', '1']);
  writeFileSync(one.keyFile, old);
  await one.refuses(['serve'], /jwe version 1 \(KCV [0-9A-F]{6}\) was destroyed, and is still in the file/);
});

test('a rotation that was killed between file and database is completed by the next command, which says so', async (t) => {
  const one = await sandbox(t);
  const before = readFileSync(one.keyFile, 'utf8');
  const session = await one.db.session(async (held) => {
    await held.script('begin; lock table key_versions in exclusive mode'); // may be read, not written
    const rotation = one.start(rotate('cvv'));
    await until('the file is written', () => readFileSync(one.keyFile, 'utf8') !== before);
    await rotation.stop('SIGKILL');
    await until('its statement has ended', async () => {
      const waiting = await one.db.query(
        'end-waiting',
        `select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`,
      );
      return waiting.length === 0;
    });
    await held.script('rollback');
    return rotation;
  });
  assert.equal((await session.ended).stdout, '');
  const took =
    /pinward-server: the database took over cvv version 2 \(KCV [0-9A-F]{6}\) from the key file, which is newer/;
  assert.match(await one.succeeds(['keys', 'list']), took);
  assert.doesNotMatch(await one.succeeds(['keys', 'list']), took);
  assert.match(await one.succeeds(rotate('cvv')), /^cvv version 3/);
});

test('a database from a backup goes on with a newer key file, unless that has destroyed what it needs', async (t) => {
  const one = await sandbox(t);
  const server = await one.serve();
  assert.equal((await remoteMerchant(server.url).setPin('142536')).code, 0);
  await server.stop('SIGTERM');
  await one.db.close();
  const backup = await emptyDatabase(t, new URL(one.databaseUrl).pathname.slice(1));
  const second = await emptyDatabase(t, new URL(one.databaseUrl).pathname.slice(1));
  const ofBackup = readFileSync(one.keyFile);
  for (const purpose of ['pin-verify', 'pan-wrap', 'cvv']) await one.succeeds(rotate(purpose));

  const restored = await one.serve({ DATABASE_URL: backup });
  const taken = restored.log().filter(({ msg }) => String(msg).startsWith('the database took over'));
  assert.equal(taken.length, 3);
  const verified = await fetch(`${restored.url}/issuer/v1/pin/verify`, {
    method: 'POST',
    headers: { Authorization: 'Bearer sandbox_issuer_key', 'Content-Type': 'application/json' },
    body: JSON.stringify({
      card_no: FIRST_CARD.cardNo,
      pin_block: pinBlock('142536'),
      format: 4,
      zone_key: ZONE_KEY,
    }),
  });
  assert.deepEqual(((await verified.json()) as { data: object }).data, { result: 'match' });
  await restored.stop('SIGTERM');

  await one.succeeds(['keys', 'rewrap']);
  await ageKeys(one, { PINWARD_KEK: KEK });
  await one.succeeds(['keys', 'destroy', 'pan-wrap', '1']);
  await one.refuses(
    ['serve'],
    /pan-wrap version 1 \(KCV [0-9A-F]{6}\) is destroyed in the file, and the database needs it for 6 PANs\nThe database is older than the file\. Bring back the key file from the time of the database\./,
    { DATABASE_URL: second },
  );
  writeFileSync(one.keyFile, ofBackup);
  await one.succeeds(['keys', 'list'], { DATABASE_URL: second });
});

test('a platform that serves keeps its keys if the file does not fit the database, says so once, and takes over one that does', async (t) => {
  const one = await sandbox(t);
  const other = await sandbox(t);
  const events: string[] = [];
  const env = { DATABASE_URL: one.databaseUrl, PINWARD_KEK: KEK, PINWARD_DATA_DIR: one.dataDir };
  const platform = await openPlatform(readConfig(env), { serving: true, onEvent: (event) => void events.push(event) });
  t.after(() => platform.close());
  const { keys } = platform;
  const old = readFileSync(one.keyFile);
  await one.succeeds(rotate('cvv'));
  await until('the rotation is taken over', () => events.includes('the key file changed and was taken over'));
  assert.deepEqual([keys.cvv.version, keys.fileFault], [2, undefined]);
  const newest = readFileSync(one.keyFile);

  const spoiled: [what: string, spoil: () => void, fault: RegExp][] = [
    [
      'from before the rotation',
      () => writeFileSync(one.keyFile, old),
      /disagree:\n {2}- cvv version 2 .* is not in the file/,
    ],
    ['of another installation', () => copyFileSync(other.keyFile, one.keyFile), /was made with another key file/],
    ['cut short', () => writeFileSync(one.keyFile, newest.subarray(0, 100)), /it is no JSON/],
    [
      'edited',
      () =>
        writeFileSync(
          one.keyFile,
          newest.toString().replace('"algorithm": "TDES-2"', '"algorithm": "TDES-2", "expiry_order": "MMYY"'),
        ),
      /was altered: its seal/,
    ],
  ];
  for (const [what, spoil, fault] of spoiled) {
    spoil();
    await until(`it sees a file ${what}`, () => fault.test(keys.fileFault ?? ''));
    assert.equal(keys.cvv.version, 2);
    assert.equal(events.filter((event) => fault.test(event)).length, 1, what);
  }
  writeFileSync(one.keyFile, newest);
  await until('the file is taken over', () => keys.fileFault === undefined);
});

test('a key file from before files had a seal is sealed at the next start, and refused from then on', async (t) => {
  for (const mode of ['sandbox', 'production']) {
    const one = await sandbox(t, mode);
    const { seal: _, ...file } = read(one.keyFile);
    const earlier = JSON.stringify({ ...file, format: 'pinward-keys-1' });
    // As the program of that time left its database.
    await one.db.script('truncate key_versions; update installation set key_file_sealed = false');
    writeFileSync(one.keyFile, earlier);
    const told = /was of an earlier format and is sealed now: keep a copy of it/;
    assert.equal(told.test(await one.succeeds(['keys', 'list'])), mode === 'production');
    assert.equal(read(one.keyFile).format, 'pinward-keys-2');
    assert.doesNotMatch(await one.succeeds(['keys', 'list']), told);
    writeFileSync(one.keyFile, earlier);
    await one.refuses(['serve'], /has no seal, and the database knows it with one.*bring back the newest copy/);
  }
});
