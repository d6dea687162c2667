import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import {
  canEnter,
  EmbeddedError,
  giveTo,
  makeSharedRoot,
  NATIVE_ENV,
  nativeFolder,
  programFault,
  type RunAs,
  SHARED_ROOT,
} from './native.ts';

/** The files of an embedded server. */
export interface Cluster {
  /** Holds data/, log and password. */
  root: string;
  socketDirectory: string;
  /** Contains the password. */
  url: string;
}

const ROLE = 'pinward';
const DATABASE = 'postgres';
/**
 * The path of a socket may have 107 bytes on Linux and 103 on macOS. PostgreSQL adds the name of
 * the socket to the directory.
 */
const SOCKET_DIRECTORY_LIMIT = 103 - '/.s.PGSQL.5432'.length;

/**
 * Finds the files of the cluster, or makes them. They are in the data directory. If this process is
 * root and `nobody` cannot enter the data directory, they are below SHARED_ROOT, and a link in the
 * data directory points there. Throws EmbeddedError if they are gone or belong to another user.
 */
export function prepareCluster(dataDir: string, user: RunAs | undefined): Cluster {
  const entry = join(dataDir, 'postgres');
  if (lstatSync(entry, { throwIfNoEntry: false }) === undefined) makeCluster(dataDir, entry, user);
  if (lstatSync(entry).isSymbolicLink() && !existsSync(entry))
    throw new EmbeddedError(
      `the database of ${dataDir} was in ${readlinkSync(entry)} and is not there any more; ` +
        `remove ${entry} to start with an empty database`,
    );
  const root = realpathSync(entry);
  requireOwner(root, user);
  requireWhole(root);
  const password = readFileSync(join(root, 'password'), 'utf8').trim();
  const socketDirectory = prepareSocketDirectory(root, user);
  const host = encodeURIComponent(socketDirectory);
  return { root, socketDirectory, url: `postgres://${ROLE}:${password}@localhost/${DATABASE}?host=${host}` };
}

/**
 * If several processes do this at once, one of them wins, since renaming and linking are atomic.
 * The others use what it made.
 */
function makeCluster(dataDir: string, entry: string, user: RunAs | undefined): void {
  const linked = user !== undefined && !canEnter(dataDir, user);
  if (linked) makeSharedRoot();
  const root = linked ? join(SHARED_ROOT, randomBytes(8).toString('hex')) : entry;
  const draft = `${root}.new-${process.pid}`;
  rmSync(draft, { recursive: true, force: true });
  try {
    initialise(draft, nativeFolder(user, dataDir), user);
  } catch (error) {
    rmSync(draft, { recursive: true, force: true }); // a failed start leaves nothing behind
    throw error;
  }
  try {
    renameSync(draft, root);
    if (linked) symlinkSync(root, entry);
  } catch (error) {
    rmSync(linked && existsSync(root) ? root : draft, { recursive: true, force: true });
    if (!existsSync(entry)) throw error;
  }
}

function initialise(draft: string, native: string, user: RunAs | undefined): void {
  mkdirSync(draft, { mode: 0o700 });
  const passwordFile = join(draft, 'password');
  writeFileSync(passwordFile, `${randomBytes(24).toString('hex')}\n`, { mode: 0o600 });
  if (user !== undefined) giveTo(user, draft, passwordFile);
  const made = spawnSync(
    join(native, 'bin', 'initdb'),
    [
      '-D',
      join(draft, 'data'),
      '-U',
      ROLE,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      '--no-instructions',
    ],
    { ...user, cwd: '/', env: NATIVE_ENV, encoding: 'utf8' },
  );
  if (made.status !== 0)
    throw new EmbeddedError(`the embedded database cannot be made: ${programFault('initdb', made)}`);
}

/**
 * Only its owner can run a cluster. Checked before its files are read, so that the operator learns
 * the owner even of a directory that this process cannot enter.
 */
function requireOwner(root: string, user: RunAs | undefined): void {
  const owner = statSync(root).uid;
  const ours = user?.uid ?? process.getuid?.() ?? owner;
  if (owner !== ours)
    throw new EmbeddedError(
      `the database in ${root} belongs to user id ${owner} and this process can run it only as ${ours}: ` +
        'start as the user who made it, or set PINWARD_DATA_DIR',
    );
}

/** A cluster appears whole or not at all, so one that lacks something was damaged later. */
function requireWhole(root: string): void {
  for (const name of ['password', 'data/PG_VERSION'])
    if (!existsSync(join(root, name)))
      throw new EmbeddedError(
        `the database in ${root} is damaged, ${name} is missing: bring it back from a copy, ` +
          `or remove ${root} to start with an empty database`,
      );
}

/**
 * Makes the directory of the socket, inside the cluster if possible. It is a directory of ours in
 * /tmp if the path is too long, or holds a comma or a quotation mark: PostgreSQL takes a list of
 * socket directories, in which commas separate the names and quotation marks enclose them.
 * It is /tmp whatever TMPDIR says, so that processes with different TMPDIRs agree.
 */
function prepareSocketDirectory(root: string, user: RunAs | undefined): string {
  const inside = join(root, 'socket');
  const fits = Buffer.byteLength(inside) <= SOCKET_DIRECTORY_LIMIT && !/[,"]/.test(inside);
  const hash = createHash('sha256').update(root).digest('hex').slice(0, 16);
  const directory = fits ? inside : join('/tmp', `pinward-${hash}`);
  try {
    mkdirSync(directory, { mode: 0o700 });
    if (user !== undefined) giveTo(user, directory);
    chmodSync(directory, 0o700);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    // Everybody can write to /tmp: a directory that someone else put there is not trusted.
    const ours = user?.uid ?? process.getuid?.() ?? 0;
    const found = lstatSync(directory);
    if (!found.isDirectory() || found.uid !== ours)
      throw new EmbeddedError(`${directory} is not a directory that belongs to user id ${ours}: remove it`);
  }
  return directory;
}
