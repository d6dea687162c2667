import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { type Database, openDatabase } from '../src/db/database.ts';
import { runAs, SHARED_ROOT } from '../src/db/native.ts';
import { remoteMerchant, validPin } from './support/calls.ts';
import { copyProgram } from './support/program-copy.ts';
import { install, isRoot, until } from './support/server-process.ts';

const NOT_ROOT = isRoot ? false : 'for root alone';

async function using<T>(url: string, work: (db: Database) => Promise<T>): Promise<T> {
  const db = openDatabase({ url, connections: 1 });
  try {
    return await work(db);
  } finally {
    await db.close();
  }
}

function ownerOf(pid: number): number {
  return Number(execFileSync('ps', ['-o', 'uid=', '-p', String(pid)], { encoding: 'utf8' }));
}

test('the first start makes a database, a second user finds it running, and data outlives a stop', async (t) => {
  const installation = install(t);
  const first = await installation.open();
  assert.equal(first.started, true);
  await using(first.url, (db) => db.script('create table kept (word text); insert into kept values ($$here$$)'));
  const pid = installation.databasePid();

  const second = await installation.open();
  assert.equal(second.started, false);
  assert.equal(second.url, first.url);
  await first.release();
  assert.equal(installation.databasePid(), pid, 'the last user stops it, not the first');
  await second.release();
  assert.equal(installation.databasePid(), undefined);

  const later = await installation.open();
  assert.equal(later.started, true);
  assert.deepEqual(await using(later.url, (db) => db.tuples('kept', 'select word from kept')), [['here']]);
});

test('the database of a killed platform is taken over, and its last user stops it', async (t) => {
  const installation = install(t);
  const server = await installation.serve();
  const orphan = installation.databasePid();
  await server.stop('SIGKILL');
  const adopted = await installation.open({ serving: true });
  assert.equal(adopted.started, false);
  assert.equal(installation.databasePid(), orphan);
  await adopted.release();
  assert.equal(installation.databasePid(), undefined);
});

test('three processes that begin at once on a new directory make one database', async (t) => {
  const installation = install(t);
  const outcomes = await Promise.all(Array.from({ length: 3 }, () => installation.run(['migrate'])));
  for (const { status, stderr } of outcomes) assert.equal(status, 0, stderr);
  assert.equal(
    outcomes.filter(({ stdout }) => stdout.includes('applied 0001_platform')).length,
    1,
    'one of them made the schema',
  );
  assert.equal(installation.databasePid(), undefined, 'and none left it running');
});

test('users that come and go at once all find a server, though each stops it when nobody else is there', async (t) => {
  const installation = install(t);
  await (await installation.open()).release();
  const comeAndGo = async () => {
    for (let visit = 0; visit < 8; visit++) {
      const server = await installation.open();
      assert.deepEqual(await using(server.url, (db) => db.tuples('one', 'select 1')), [[1]]);
      await server.release();
    }
  };
  await Promise.all(Array.from({ length: 4 }, comeAndGo));
});

test('a second platform on the same directory says what runs there and ends, and the first goes on unharmed', async (t) => {
  const installation = install(t);
  const first = await installation.serve();
  const merchant = remoteMerchant(first.url);
  assert.equal((await merchant.setPin(validPin(1))).code, 0);

  const { status, stderr, stdout } = await installation.run(['serve']);
  assert.equal(status, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /^pinward-server: Pinward already runs on the data directory/);
  for (const told of [
    installation.dataDir,
    first.url,
    `process ${first.pid}`,
    'Nothing was changed',
    'PINWARD_DATA_DIR',
  ])
    assert.ok(stderr.includes(told), `${stderr} tells ${told}`);

  assert.equal((await merchant.setPin(validPin(2))).code, 0);
  assert.equal((await first.stop('SIGTERM')).status, 0);
  assert.equal(
    (await installation.serve().then((server) => server.stop('SIGTERM'))).status,
    0,
    'and the directory is free again',
  );
});

test('a process that is connecting when the database is killed connects once it is back', async (t) => {
  const installation = install(t);
  const { url } = await installation.open();
  const other = openDatabase({ url, connections: 2 });
  const waiting = (count: number) => async () =>
    (await other.tuples('waiting', `select from pg_locks where locktype = 'advisory' and not granted`)).length ===
    count;
  // As a last user does who would stop the server (USERS_LOCK in db/embedded.ts): whoever comes now
  // waits behind it.
  const leaving = assert.rejects(other.tuples('users-lock', 'select pg_advisory_lock(7746273002)'));
  await until('one waits', waiting(1));
  const entering = installation.open();
  entering.catch(() => {}); // looked at below
  await until('two wait', waiting(2));

  await installation.killDatabase();
  await leaving;
  await other.close();
  assert.deepEqual(await using((await entering).url, (db) => db.tuples('one', 'select 1')), [[1]]);
});

test('a data directory whose path is longer than a socket may have works', async (t) => {
  const installation = install(t, { inside: join('long'.repeat(20), 'path'.repeat(20), 'data') });
  assert.ok(installation.dataDir.length > 150);
  const server = await installation.open();
  const socketDirectory = new URL(server.url).searchParams.get('host') as string;
  t.after(() => rmSync(socketDirectory, { recursive: true, force: true }));
  assert.ok(socketDirectory.length < 90, socketDirectory);
  assert.equal(statSync(socketDirectory).mode & 0o777, 0o700);
  assert.deepEqual(await using(server.url, (db) => db.tuples('one', 'select 1')), [[1]]);
});

for (const [what, inside] of [
  ['a comma', 'data, ours'],
  ['a quotation mark', '"data"'],
  ['an apostrophe, a backslash or a space', "merchant's \\ data"],
] as const) {
  test(`a data directory whose path holds ${what} works`, async (t) => {
    const server = await install(t, { inside }).open();
    const socketDirectory = new URL(server.url).searchParams.get('host') as string;
    t.after(() => rmSync(socketDirectory, { recursive: true, force: true }));
    assert.deepEqual(await using(server.url, (db) => db.tuples('one', 'select 1')), [[1]]);
  });
}

test('a command with another temporary directory finds the server all the same', async (t) => {
  const installation = install(t, { inside: join('long'.repeat(20), 'path'.repeat(20), 'data') });
  const temporary = (name: string) => {
    const directory = join(installation.scratch, name);
    mkdirSync(directory);
    chmodSync(directory, 0o1777);
    return { TMPDIR: directory };
  };
  await installation.serve(temporary('one'));
  const socketDirectory = readFileSync(join(installation.dataDir, 'postgres', 'data', 'postmaster.pid'), 'utf8').split(
    '\n',
  )[4] as string;
  t.after(() => rmSync(socketDirectory, { recursive: true, force: true }));
  const { status, stdout, stderr } = await installation.run(['merchant', 'list'], { env: temporary('other') });
  assert.equal(status, 0, stderr);
  assert.match(stdout, /Sandbox merchant/);
});

test('the server is durable, listens on no port, and asks for its password', async (t) => {
  const installation = install(t);
  const { url } = await installation.open();
  await using(url, async (db) => {
    for (const [name, value] of Object.entries({
      fsync: 'on',
      synchronous_commit: 'on',
      full_page_writes: 'on',
      data_checksums: 'on',
      listen_addresses: '',
      unix_socket_permissions: '0700',
      log_statement: 'none',
      log_min_error_statement: 'panic',
      log_parameter_max_length: '-1',
      log_parameter_max_length_on_error: '0',
    }))
      assert.deepEqual(await db.tuples(`show-${name}`, `show ${name}`), [[value]], name);
  });
  const wrong = new URL(url);
  wrong.password = 'wrong';
  await assert.rejects(
    using(wrong.toString(), (db) => db.tuples('one', 'select 1')),
    { code: '28P01' },
  );

  const user = (await runAs())?.uid ?? process.getuid?.();
  const cluster = realpathSync(join(installation.dataDir, 'postgres'));
  assert.equal(ownerOf(installation.databasePid() as number), user, 'nobody for root, else ourselves');
  for (const path of ['.', 'data', 'password', 'socket']) {
    const { uid, mode } = statSync(join(cluster, path));
    assert.equal(uid, user, path);
    assert.equal(mode & 0o077, 0, `${path} is its own alone`);
  }
});

test('a database that is killed under a running platform comes back by itself, and every answer meanwhile is true or 1001', async (t) => {
  const installation = install(t);
  const server = await installation.serve();
  const merchant = remoteMerchant(server.url);
  const killed = installation.databasePid();
  assert.equal((await merchant.setPin(validPin(0))).code, 0);
  process.kill(killed as number, 'SIGKILL');

  const readiness = new Set<number>();
  let refused = 0;
  await until('a PIN can be set again', async () => {
    readiness.add((await fetch(`${server.url}/readyz`)).status);
    const { code, data } = await merchant.setPin(validPin(1));
    if (code === 0) assert.deepEqual(data, { result: true });
    else assert.equal(code, 1001);
    refused += code === 0 ? 0 : 1;
    return code === 0 && installation.databasePid() !== killed;
  });
  assert.ok([...readiness].every((status) => status === 200 || status === 503));
  // A connection to the killed server may be drawn once more before its end has been read.
  await until('it is ready', async () => (await fetch(`${server.url}/readyz`)).status === 200);
  const { status, stdout } = await server.stop('SIGTERM');
  assert.equal(status, 0);
  assert.match(stdout, /the embedded database went away; starting it again/);
  assert.equal(stdout.match(/"code":1001/g)?.length ?? 0, refused, 'each refusal is in the log');
});

test('a platform that starts the moment after everything was killed starts', async (t) => {
  const installation = install(t);
  for (let round = 0; round < 3; round++) {
    const server = await installation.serve();
    process.kill(installation.databasePid() as number, 'SIGKILL');
    await server.stop('SIGKILL'); // the database's children may still be on their way out
  }
  assert.equal((await installation.serve().then((server) => server.stop('SIGTERM'))).status, 0);
});

test("another user's database is refused in one line that names the user", { skip: NOT_ROOT }, async (t) => {
  const installation = install(t);
  await (await installation.open()).release();
  const cluster = join(installation.dataDir, 'postgres');
  chownSync(cluster, 4321, 4321);
  const { status, stderr } = await installation.run(['migrate']);
  assert.equal(status, 1);
  assert.match(
    stderr,
    /^pinward-server: the database in .+ belongs to user id 4321 and this process can run it only as \d+: .+\n$/,
  );
  assert.ok(stderr.includes(cluster));
});

test('a database that cannot be made is reported in the words of initdb', async (t) => {
  const installation = install(t, { main: '' });
  const copy = copyProgram(join(installation.scratch, 'program'));
  rmSync(join(copy.native, 'share'), { recursive: true });
  const { status, stderr } = await install(t, { main: copy.main }).run(['migrate']);
  assert.equal(status, 1);
  assert.match(stderr, /^pinward-server: the embedded database cannot be made: initdb: error: /);
  assert.doesNotMatch(stderr, /^ +at /m, 'no stack');
});

test('root is told what to do on a system that has no user nobody', { skip: NOT_ROOT }, async (t) => {
  const installation = install(t);
  const tools = join(installation.scratch, 'tools');
  mkdirSync(tools);
  writeFileSync(join(tools, 'id'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  const { status, stderr } = await installation.run(['migrate'], { env: { PATH: tools } });
  assert.equal(status, 1);
  assert.match(
    stderr,
    /^pinward-server: PostgreSQL does not run as root and this system has no user "nobody": .+ set DATABASE_URL\n$/,
  );
});

test('library links that an install without scripts left out are made where PostgreSQL lies', async (t) => {
  const installation = install(t, { main: '' });
  const copy = copyProgram(join(installation.scratch, 'program'));
  assert.ok(copy.links.length > 0 && !copy.links.some((link) => existsSync(link)));
  const { status, stderr } = await install(t, { main: copy.main }).run(['migrate']);
  assert.equal(status, 0, stderr);
  for (const link of copy.links) assert.ok(lstatSync(link).isSymbolicLink() && existsSync(link), link);
});

test('where those links cannot be added, an ordinary user gets a copy in its data directory', {
  skip: NOT_ROOT,
}, async (t) => {
  const scratch = install(t).scratch;
  const copy = copyProgram(join(scratch, 'program'));
  const user = await runAs();
  assert.ok(user);
  const installation = install(t, { main: copy.main, as: user });
  const server = await installation.serve();
  assert.equal((await remoteMerchant(server.url).setPin(validPin(1))).code, 0);
  assert.equal(ownerOf(server.pid), user.uid);
  assert.ok(existsSync(join(installation.dataDir, `postgresql-${copy.version}`, 'bin', 'postgres')));
  assert.ok(!copy.links.some((link) => existsSync(link)), 'the checkout, which it may not write, is as it was');
});

test('root runs a platform, checkout and data below a home that nobody may enter', { skip: NOT_ROOT }, async (t) => {
  const scratch = install(t).scratch;
  const home = join(scratch, 'home');
  mkdirSync(home);
  const copy = copyProgram(join(home, 'program'));
  chmodSync(home, 0o700);
  const carried = join(SHARED_ROOT, `postgresql-${copy.version}`);
  const installation = install(t, { main: copy.main, inside: join('root', 'data') });
  mkdirSync(dirname(installation.dataDir), { mode: 0o700 });
  t.after(() => rmSync(carried, { recursive: true, force: true }));

  for (const pin of [validPin(1), validPin(2)]) {
    const server = await installation.serve();
    assert.equal((await remoteMerchant(server.url).setPin(pin)).code, 0);
    assert.equal((await server.stop('SIGTERM')).status, 0);
  }
  assert.ok(existsSync(join(carried, 'bin', 'postgres')));
  assert.equal(dirname(realpathSync(join(installation.dataDir, 'postgres'))), SHARED_ROOT);
});
