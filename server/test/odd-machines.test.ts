import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { makeSharedRoot, SHARED_ROOT } from '../src/db/native.ts';
import { copyProgram } from './support/program-copy.ts';
import { type Installation, install, isRoot, MAIN, type Outcome } from './support/server-process.ts';

const NOT_ROOT = isRoot ? false : 'for root alone';
/** A user id that no /etc/passwd has. */
const NOBODY_KNOWN = 54_321;

/**
 * Runs a shell script; `$MAIN` is the program, and `$DATA` the data directory of the installation.
 */
function shell({ dataDir }: Pick<Installation, 'dataDir'>, script: string): Promise<Outcome> {
  const env = { PATH: process.env.PATH, MAIN: `${process.execPath} ${MAIN}`, DATA: dataDir, PINWARD_DATA_DIR: dataDir };
  return new Promise((resolve) => {
    execFile('/bin/sh', ['-c', script], { env, cwd: '/' }, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

function isOneLine({ status, stderr }: Outcome, told: RegExp): void {
  assert.equal(status, 1, stderr);
  assert.match(stderr, /^pinward-server: [^\n]+\n$/);
  assert.match(stderr.trimEnd(), told);
}

describe('root with a narrow umask', { skip: NOT_ROOT }, () => {
  test('starts the sandbox', async (t) => {
    const installation = install(t);
    const { status, stderr } = await shell(installation, 'umask 077; $MAIN merchant list');
    assert.equal(status, 0, stderr);
    assert.equal((await installation.run(['merchant', 'list'])).status, 0, 'and again without it');
  });

  test('starts it below a directory that nobody else may enter', async (t) => {
    const installation = install(t, { inside: join('closed', 'data') });
    const { status, stderr } = await shell(installation, 'umask 077; $MAIN merchant list');
    assert.equal(status, 0, stderr);
    assert.equal(statSync(join(installation.scratch, 'closed')).mode & 0o077, 0);
    assert.ok(realpathSync(join(installation.dataDir, 'postgres')).startsWith(SHARED_ROOT));
    assert.equal(statSync(SHARED_ROOT).mode & 0o777, 0o755);
  });

  test('opens the shared folder that an earlier start left closed', async (t) => {
    const installation = install(t, { inside: join('closed', 'data') });
    mkdirSync(join(installation.scratch, 'closed'), { mode: 0o700 });
    t.after(() => chmodSync(SHARED_ROOT, 0o755));
    makeSharedRoot();
    chmodSync(SHARED_ROOT, 0o700);
    const { status, stderr } = await installation.run(['merchant', 'list']);
    assert.equal(status, 0, stderr);
  });
});

describe('a start that fails', () => {
  test('says that a user id without a name needs one, and leaves nothing behind', { skip: NOT_ROOT }, async (t) => {
    const installation = install(t, { as: { uid: NOBODY_KNOWN, gid: NOBODY_KNOWN } });
    const told = new RegExp(`user id ${NOBODY_KNOWN} has no entry in /etc/passwd.* set DATABASE_URL`);
    isOneLine(await installation.run(['merchant', 'list']), told);
    assert.deepEqual(readdirSync(installation.dataDir), []);
  });

  for (const [what, initdb, told] of [
    [
      'that the system has no glibc',
      '#!/lib/no-such-loader.so.2\n',
      /no glibc, which initdb needs \(Alpine has musl\).* set DATABASE_URL/,
    ],
    ['that the processor is too old', '#!/bin/sh\nkill -ILL $$\n', /processor lacks instructions .* set DATABASE_URL/],
    [
      'what initdb says, in one line',
      '#!/bin/sh\nprintf "one\\ninitdb: error: two\\nthree\\n" >&2; exit 1\n',
      /initdb: error: two$/,
    ],
  ] as const)
    test(`says ${what}, and the next start works`, async (t) => {
      const copy = copyProgram(join(install(t).scratch, 'program'));
      const installation = install(t, { main: copy.main });
      const program = join(copy.native, 'bin', 'initdb');
      const right = spawnSync('cp', [program, `${program}.right`]);
      assert.equal(right.status, 0);
      writeFileSync(program, initdb, { mode: 0o755 });
      isOneLine(await installation.run(['merchant', 'list']), told);
      assert.ok(!existsSync(join(installation.dataDir, 'postgres')));
      spawnSync('mv', [`${program}.right`, program]);
      const { status, stderr } = await installation.run(['merchant', 'list']);
      assert.equal(status, 0, stderr);
    });

  test('says that a database is damaged', async (t) => {
    const installation = install(t);
    assert.equal((await installation.run(['merchant', 'list'])).status, 0);
    rmSync(join(realpathSync(join(installation.dataDir, 'postgres')), 'password'));
    isOneLine(await installation.run(['merchant', 'list']), /is damaged, password is missing/);
  });

  for (const [what, options, told] of [
    ['a full disk', 'size=3m', /No space left on device/],
    ['a read-only file system', 'ro', /read-only; use another directory/],
  ] as const)
    test(`says so on ${what}`, { skip: mayMount() }, async (t) => {
      const installation = install(t);
      const mount = `mkdir -p $DATA && mount -t tmpfs -o mode=755,${options} none $DATA`;
      const script = `${mount} && PINWARD_DATA_DIR=$DATA/in $MAIN merchant list`;
      isOneLine(await shell(installation, `unshare -m sh -c '${script}'`), told);
    });
});

function mayMount(): string | false {
  const { status } = spawnSync('unshare', ['-m', 'sh', '-c', 'mount -t tmpfs none /mnt'], { stdio: 'ignore' });
  return status === 0 ? false : 'this process may not mount a file system';
}

test('unusual locales, no home and a missing temporary directory do no harm', async (t) => {
  const installation = install(t, { inside: 'dätä of the sandbox' });
  const env = { LANG: 'xx_YY.UTF-9', LC_ALL: 'nonsense', TMPDIR: '/nowhere', HOME: '/nowhere', TZ: 'Mars/Olympus' };
  const { status, stdout, stderr } = await installation.run(['merchant', 'list'], { env });
  assert.equal(status, 0, stderr);
  assert.match(stdout, /Sandbox merchant/);
});

test('a start from a removed directory is reported in one line', async (t) => {
  const script = 'mkdir $DATA && cd $DATA && rmdir $DATA && unset PINWARD_DATA_DIR && $MAIN merchant list';
  isOneLine(await shell(install(t), script), /directory that this was started in does not exist any more/);
});

test('a note of what runs that was damaged is not repeated', async (t) => {
  const installation = install(t);
  await installation.serve();
  for (const note of ['', 'null', '{}', '[1', '{"url":"\\u001b[2Jx","pid":1,"since":"now"}', 'x'.repeat(100_000)]) {
    writeFileSync(join(installation.dataDir, 'running.json'), note);
    isOneLine(await installation.run(['serve']), /\(its address is not known yet\)\. Nothing was changed/);
  }
});

test('a reader that ends early ends a command quietly', async (t) => {
  const installation = install(t);
  const { stderr } = await shell(installation, '{ $MAIN audit export; $MAIN merchant list; } | true');
  assert.equal(stderr, '');
  assert.equal(installation.databasePid(), undefined, 'and its database does not stay behind');
});

describe('a secret as Kubernetes mounts it', { skip: NOT_ROOT }, () => {
  const GROUP = 54_322;

  /** A volume of a secret: the name is a link to a link, and the file is root's. */
  function mounted(t: Parameters<typeof install>[0], { mode, gid }: { mode: number; gid: number }): Installation {
    const installation = install(t, {
      as: { uid: NOBODY_KNOWN, gid: GROUP },
      env: { PINWARD_MODE: 'production', DATABASE_URL: 'postgres://a:b@127.0.0.1:1/db' },
    });
    const real = join(installation.scratch, 'volume', '..2026_01_01');
    mkdirSync(real, { recursive: true });
    writeFileSync(join(real, 'kek'), `${randomBytes(32).toString('hex')}\n`);
    chownSync(join(real, 'kek'), 0, gid);
    chmodSync(join(real, 'kek'), mode);
    symlinkSync('..2026_01_01', join(installation.scratch, 'volume', '..data'));
    symlinkSync('..data/kek', join(installation.scratch, 'volume', 'kek'));
    return installation;
  }
  const init = (on: Installation): Promise<Outcome> =>
    on.run(['keys', 'init'], { env: { PINWARD_KEK_FILE: join(on.scratch, 'volume', 'kek') } });

  test('is read with an fsGroup: root’s, and readable by a group of the process', async (t) => {
    const { status, stderr } = await init(mounted(t, { mode: 0o440, gid: GROUP }));
    assert.equal(status, 0, stderr);
  });

  for (const [what, mode, gid, told] of [
    ['the default mode, which lets everybody read it', 0o644, GROUP, /mode 0644 .*defaultMode 0400/],
    ['a mode that lets the group write it', 0o460, GROUP, /mode 0460/],
    ['no fsGroup', 0o400, 0, /cannot be read by user id 54321 \(EACCES\).*fsGroup/],
  ] as const)
    test(`is refused with ${what}`, async (t) => isOneLine(await init(mounted(t, { mode, gid })), told));
});
