import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openDatabase } from '../src/db/database.ts';
import { emptyDatabase } from './support/empty-database.ts';
import { type Installation, install, isRoot, until } from './support/server-process.ts';

const NOT_ROOT = isRoot ? false : 'for root alone';
/**
 * The user and group of a service, `nobody`: PostgreSQL runs only as a user that the system knows.
 */
const [SERVICE, GROUP] = [65_534, 65_534];
/** A user that no system has. */
const OTHER = 54_323;
const ROTATE = ['keys', 'rotate', 'cvv', '--active-in', '0'];

interface Place extends Installation {
  keyFile: string;
}

/** A sandbox whose key file is in a directory of its own. */
async function place(t: TestContext, as?: { uid: number; gid: number }): Promise<Place> {
  const kek = { PINWARD_KEK: '5a'.repeat(32) };
  // Another user cannot reach the run's database, and gets an embedded one.
  const installation = install(
    t,
    as === undefined ? { env: { ...kek, DATABASE_URL: await emptyDatabase(t) } } : { env: kek, as },
  );
  const folder = join(installation.scratch, 'keys');
  mkdirSync(folder);
  if (as !== undefined) chownSync(folder, as.uid, as.gid);
  const keyFile = join(folder, 'keys.json');
  const run: Installation['run'] = (args, more = {}) =>
    installation.run(args, { ...more, env: { PINWARD_KEY_FILE: keyFile, ...more.env } });
  const { status, stderr } = await run(['keys', 'list']);
  assert.equal(status, 0, stderr);
  return { ...installation, run, keyFile };
}

const versionsOf = (path: string): number =>
  JSON.parse(readFileSync(path, 'utf8')).keys.filter(({ purpose }: { purpose: string }) => purpose === 'cvv').length;

test('a rotation by root leaves owner, group and mode of the key file as they were', { skip: NOT_ROOT }, async (t) => {
  const { run, keyFile } = await place(t);
  chownSync(keyFile, SERVICE, GROUP);
  chmodSync(keyFile, 0o640);
  const { status, stderr } = await run(ROTATE);
  assert.equal(status, 0, stderr);
  const { uid, gid, mode } = statSync(keyFile);
  assert.deepEqual([uid, gid, mode & 0o7777], [SERVICE, GROUP, 0o640]);
  assert.equal(versionsOf(keyFile), 2);
});

test('a key file behind symbolic links is replaced where it is, and the links stay', async (t) => {
  const { run, keyFile, scratch } = await place(t);
  const target = join(scratch, 'vault.json');
  const middle = join(scratch, 'middle.json');
  renameSync(keyFile, target);
  symlinkSync('vault.json', middle);
  symlinkSync(middle, keyFile);
  const { status, stderr } = await run(ROTATE);
  assert.equal(status, 0, stderr);
  assert.ok(lstatSync(keyFile).isSymbolicLink() && lstatSync(middle).isSymbolicLink());
  assert.ok(lstatSync(target).isFile());
  assert.equal(versionsOf(target), 2);
  assert.deepEqual(
    readdirSync(scratch).filter((name) => name.startsWith('vault')),
    ['vault.json'],
    'no draft is left',
  );
});

test('a rotation that cannot keep owner and group, or make the file, is refused in a line before anything is done', {
  skip: NOT_ROOT,
}, async (t) => {
  const { run, keyFile, open } = await place(t, { uid: SERVICE, gid: GROUP });
  const folder = join(keyFile, '..');
  const before = readFileSync(keyFile);
  const db = openDatabase({ url: (await open()).url, connections: 1 });
  t.after(() => db.close());
  const records = async () =>
    (await db.query<{ count: number }>('records', 'select count(*) as count from audit_records'))[0]?.count;
  const recorded = await records();
  const refused = async (words: RegExp) => {
    const { status, stderr } = await run(ROTATE);
    assert.equal(status, 1);
    assert.match(stderr, words);
    assert.equal(stderr.split('\n').length, 2, 'one line');
    assert.deepEqual(readFileSync(keyFile), before);
    assert.equal(await records(), recorded);
    assert.deepEqual(readdirSync(folder), ['keys.json']);
  };

  chownSync(keyFile, OTHER, GROUP);
  chmodSync(keyFile, 0o640);
  await refused(/keys\.json belongs to user 54323 and group 65534, which user 65534 cannot keep/);
  chownSync(keyFile, SERVICE, GROUP);
  chownSync(folder, 0, 0);
  chmodSync(folder, 0o755);
  await refused(
    /keys\.json cannot be replaced: user 65534 may not make files in .*keys \(EACCES\); nothing was changed/,
  );
});

test('a platform that may not read the changed key file says so, and takes it over once it may', {
  skip: NOT_ROOT,
}, async (t) => {
  const one = await place(t, { uid: SERVICE, gid: GROUP });
  const server = await one.serve({ PINWARD_KEY_FILE: one.keyFile });
  const readyz = async () => (await (await fetch(`${server.url}/readyz`)).json()) as Record<string, string>;
  chownSync(one.keyFile, 0, 0);
  const { status } = await one.run(['keys', 'list']);
  assert.equal(status, 1);
  await until('it says so', () =>
    server.log().some(({ msg }) => /cannot be taken over; the keys stay as they were: .*EACCES/.test(String(msg))),
  );
  await until('/readyz says so', async () => (await readyz()).key_file === 'failed');
  assert.equal((await readyz()).status, 'ok', 'the keys in memory work');
  chownSync(one.keyFile, SERVICE, GROUP);
  await until('it is taken over', () =>
    server.log().some(({ msg }) => msg === 'the key file changed and was taken over'),
  );
  await until('/readyz says so', async () => (await readyz()).key_file === 'ok');
});
