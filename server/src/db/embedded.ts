/*
 * The embedded database: a real PostgreSQL, carried by an npm package and run as a child process on the data
 * directory, so that a newcomer needs no database server. It listens on a unix socket alone, with a random password
 * and fsync on. It outlives a platform that is killed; the next start adopts it.
 *
 * Locks live in the database itself, so none can be stale: whoever uses the server holds USERS shared, and the one
 * that may stop it is the one that gets USERS alone; the platform that serves holds SERVING.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { LOCKS } from './advisory-locks.ts';
import { canEnter, EmbeddedError, nativeFolder, type RunAs, runAs, SHARED_ROOT } from './native.ts';

export interface EmbeddedServer {
  /** For `openDatabase`; carries the password. */
  url: string;
  /** Where the data stands. */
  place: string;
  /** Whether this call started the server, or found it running. */
  started: boolean;
  /** Lets go of the server, and stops it if nobody else uses it. */
  release(): Promise<void>;
}

/** Another platform serves on the data directory. */
export class InUseError extends Error {
  override readonly name = 'InUseError';
}

/** The last user of the server is stopping it. */
class StoppingError extends Error {
  readonly code = '57P01'; // as the server itself says it a moment later
}

/** A connection that holds our locks, and the server it is to. */
interface Keeper {
  client: pg.Client;
  pid: number;
}

const ROLE = 'pinward';
const DATABASE = 'postgres';
const START_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 30_000;
const MOST_FAILED_STARTS = 40;
/** A socket's path may have 107 bytes on Linux and 103 on macOS; PostgreSQL adds `/.s.PGSQL.5432`. */
const LONGEST_SOCKET_DIRECTORY = 103 - '/.s.PGSQL.5432'.length;
const LARGEST_LOG_BYTES = 8 * 1024 * 1024;

const SETTINGS = {
  listen_addresses: '',
  unix_socket_permissions: '0700',
  max_connections: '100',
  shared_buffers: '128MB',
  // Statements and their parameters stay out of the log, whatever fails.
  log_min_error_statement: 'panic',
  log_parameter_max_length_on_error: '0',
  log_statement: 'none',
  log_checkpoints: 'off',
};

export interface EmbeddedOptions {
  /** For the platform that serves: there may be one. */
  serving?: boolean;
  /** Told in a sentence when the server goes away and when it is back. */
  onEvent?: (event: string) => void;
  /** More of PostgreSQL's settings, for tests. */
  settings?: Record<string, string>;
}

/** Starts the server on a data directory, making its files at the first time, or joins the one that runs. */
export async function openEmbedded(dataDir: string, options: EmbeddedOptions = {}): Promise<EmbeddedServer> {
  const user = await runAs();
  mkdirSync(dataDir, { recursive: true, mode: user === undefined ? 0o700 : 0o711 });
  const cluster = prepareCluster(dataDir, user);
  const native = nativeFolder(user, dataDir);
  const settings = { ...SETTINGS, ...options.settings };

  let started = false;
  let keeper = await keep();
  let released = false;

  /**
   * Connects, starting the server if need be, and takes the locks. The connection holds them as long as it lives.
   * The server may be stopped or killed by somebody else between any two of these steps: then all begins anew.
   */
  async function keep(): Promise<Keeper> {
    const deadline = Date.now() + START_DEADLINE_MS;
    for (;;) {
      const joined = await connectOrStart(cluster, native, user, settings, deadline);
      try {
        await joined.client.query('select pg_advisory_lock_shared($1)', [LOCKS.embeddedUsers]);
        // Whoever stops a server ends its own connection with it, which may give us the lock while ours still lives.
        // An answer after the look means that the lock file looked at was this server's, not its successor's.
        const pid = serverPid(cluster);
        const stopping = isStopping(cluster);
        await joined.client.query('select');
        if (stopping || pid === undefined) throw new StoppingError('the server is being stopped');
        if (options.serving && !(await takeServingLock(joined.client)))
          throw new InUseError('another platform serves on this data directory');
        started ||= joined.started;
        joined.client.on('end', () => void recover());
        return { client: joined.client, pid };
      } catch (error) {
        await joined.client.end().catch(() => {});
        if (!willPass(error) || Date.now() > deadline) throw error;
      }
    }
  }

  /** The server went away under us: bring it back, for as long as it takes. */
  async function recover(): Promise<void> {
    if (released) return;
    options.onEvent?.('the embedded database went away; starting it again');
    for (let waitMs = 100; !released; waitMs = Math.min(waitMs * 2, 5_000)) {
      try {
        keeper = await keep();
        if (released) await keeper.client.end();
        else options.onEvent?.('the embedded database is back');
        return;
      } catch (error) {
        options.onEvent?.(`the embedded database does not start: ${(error as Error).message}`);
        await sleep(waitMs);
      }
    }
  }

  return {
    url: cluster.url,
    place: cluster.root,
    started,
    async release() {
      if (released) return;
      released = true;
      try {
        await keeper.client.query('select pg_advisory_unlock_all()');
        const { rows } = await keeper.client.query<{ alone: boolean }>('select pg_try_advisory_lock($1) as alone', [LOCKS.embeddedUsers]);
        if (rows[0]?.alone) await stopServer(cluster, keeper.pid);
      } catch {
        // The server is gone already: nothing to let go of.
      }
      await keeper.client.end().catch(() => {});
    },
  };
}

interface Cluster {
  /** Holds data/, log and password. */
  root: string;
  socketDirectory: string;
  url: string;
}

/**
 * Finds or makes the cluster's files. They stand in the data directory; where we are root and `nobody` may not enter
 * that, below SHARED_ROOT, and a link in the data directory says where. Of several processes that do this at
 * once, one wins (renaming and linking are atomic) and the others take what it made.
 */
function prepareCluster(dataDir: string, user: RunAs | undefined): Cluster {
  const entry = join(dataDir, 'postgres');
  if (lstatSync(entry, { throwIfNoEntry: false }) === undefined) {
    const hidden = user !== undefined && !canEnter(dataDir, user);
    const root = hidden ? join(SHARED_ROOT, randomBytes(8).toString('hex')) : entry;
    mkdirSync(dirname(root), { recursive: true, mode: 0o755 });
    const draft = `${root}.new-${process.pid}`;
    initialise(draft, nativeFolder(user, dataDir), user);
    try {
      renameSync(draft, root);
      if (hidden) symlinkSync(root, entry);
    } catch (error) {
      rmSync(hidden && existsSync(root) ? root : draft, { recursive: true, force: true });
      if (!existsSync(entry)) throw error;
    }
  }
  if (lstatSync(entry).isSymbolicLink() && !existsSync(entry)) {
    throw new EmbeddedError(
      `the database of ${dataDir} stood in ${readlinkSync(entry)}, and is not there any more; remove ${entry} to begin anew`,
    );
  }
  const root = realpathSync(entry);
  const owner = statSync(root).uid; // whoever may not enter it is to learn whose it is
  const we = user?.uid ?? process.getuid?.() ?? owner;
  if (owner !== we)
    throw new EmbeddedError(
      `the database in ${root} belongs to user id ${owner} and this process can run it only as ${we}: start as the user who made it, or set PINWARD_DATA_DIR`,
    );
  const password = readFileSync(join(root, 'password'), 'utf8').trim();
  const socketDirectory = socketDirectoryFor(root, user);
  return { root, socketDirectory, url: `postgres://${ROLE}:${password}@localhost/${DATABASE}?host=${encodeURIComponent(socketDirectory)}` };
}

function initialise(draft: string, native: string, user: RunAs | undefined): void {
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { mode: 0o700 });
  const passwordFile = join(draft, 'password');
  writeFileSync(passwordFile, `${randomBytes(24).toString('hex')}\n`, { mode: 0o600 });
  if (user !== undefined) for (const path of [draft, passwordFile]) chownSync(path, user.uid, user.gid);
  const { status, error, stderr } = spawnSync(
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
    { ...user, cwd: '/', env: environment(), encoding: 'utf8' },
  );
  if (status !== 0) {
    rmSync(draft, { recursive: true, force: true });
    throw new EmbeddedError(`the embedded database cannot be made: ${error?.message ?? stderr.trim()}`);
  }
}

/**
 * Inside the cluster, or where a socket cannot have its path, a directory of ours in /tmp: whatever TMPDIR says to one process or
 * another. PostgreSQL takes a list of socket directories, in which commas part the names and quotation marks enclose them.
 */
function socketDirectoryFor(root: string, user: RunAs | undefined): string {
  const inside = join(root, 'socket');
  const short = join('/tmp', `pinward-${createHash('sha256').update(root).digest('hex').slice(0, 16)}`);
  const directory = Buffer.byteLength(inside) <= LONGEST_SOCKET_DIRECTORY && !/[,"]/.test(inside) ? inside : short;
  const we = user ?? { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  try {
    mkdirSync(directory, { mode: 0o700 });
    if (user !== undefined) chownSync(directory, user.uid, user.gid);
    chmodSync(directory, 0o700);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    // /tmp is everybody's: a directory that someone else put there is not to be trusted.
    const there = lstatSync(directory);
    if (!there.isDirectory() || there.uid !== we.uid)
      throw new EmbeddedError(`${directory} is not a directory of user id ${we.uid}: remove it`);
  }
  return directory;
}

/** What a server that starts, stops, recovers or was killed does to its callers. */
const PASSING = new Set(['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE', '57P01', '57P02', '57P03']);

function willPass(error: unknown): boolean {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === undefined
    ? /^(Connection terminated|timeout expired|Client has encountered a connection error)/.test(message)
    : PASSING.has(code);
}

/** Connects to the server of a cluster, starting it when none answers. */
async function connectOrStart(
  cluster: Cluster,
  native: string,
  user: RunAs | undefined,
  settings: Record<string, string>,
  deadline: number,
): Promise<{ client: pg.Client; started: boolean }> {
  let child: ChildProcess | undefined;
  let failures = 0;
  for (;;) {
    const client = new pg.Client({
      connectionString: cluster.url,
      connectionTimeoutMillis: 5_000,
      application_name: 'pinward keeper',
      keepAlive: true,
    });
    // Before it connects: the server's last word may come in one piece with its first. Its end is what counts.
    client.on('error', () => {});
    try {
      await client.connect();
      return { client, started: child !== undefined };
    } catch (error) {
      await client.end().catch(() => {});
      if (!willPass(error)) throw error;
      if (Date.now() > deadline) throw new EmbeddedError(`the embedded database does not answer:\n${logTail(cluster)}`);
      const { code } = error as NodeJS.ErrnoException;
      if (child === undefined && (code === 'ENOENT' || code === 'ECONNREFUSED')) {
        const spawned = spawnServer(cluster, native, user, settings);
        child = spawned;
        // A server ends at once while another holds its lock file, or while the children of a killed one are on their way out.
        const ended = (): void => {
          failures++;
          if (child === spawned) child = undefined;
          removeLockOfTheDead(cluster);
        };
        spawned.once('exit', ended);
        spawned.once('error', ended);
      }
      if (failures >= MOST_FAILED_STARTS) throw new EmbeddedError(`the embedded database does not start:\n${logTail(cluster)}`);
      await sleep(failures === 0 ? 20 : 250);
    }
  }
}

function spawnServer(cluster: Cluster, native: string, user: RunAs | undefined, settings: Record<string, string>): ChildProcess {
  const logPath = join(cluster.root, 'log');
  if ((statSync(logPath, { throwIfNoEntry: false })?.size ?? 0) > LARGEST_LOG_BYTES) truncateSync(logPath);
  const log = openSync(logPath, 'a', 0o600);
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  // Detached: a Ctrl-C in the terminal is for the platform, which ends its requests before it stops the server.
  const child = spawn(join(native, 'bin', 'postgres'), ['-D', join(cluster.root, 'data'), '-k', cluster.socketDirectory, ...flags], {
    ...user,
    cwd: '/',
    env: environment(),
    stdio: ['ignore', log, log],
    detached: true,
  });
  closeSync(log);
  child.unref();
  return child;
}

/** A killed platform's lock goes with its connection, which the server may notice a moment later. */
async function takeServingLock(client: pg.Client): Promise<boolean> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const { rows } = await client.query<{ taken: boolean }>('select pg_try_advisory_lock($1) as taken', [LOCKS.embeddedServing]);
    if (rows[0]?.taken) return true;
    await sleep(50);
  }
  return false;
}

/**
 * A fast shutdown: open transactions are rolled back, everything committed is on disk. Only of the server whose lock we
 * got: somebody else's stop of it may have given us the lock, and another server may stand there by now.
 */
async function stopServer(cluster: Cluster, pid: number): Promise<void> {
  if (serverPid(cluster) !== pid) return;
  process.kill(pid, 'SIGINT');
  const deadline = Date.now() + STOP_DEADLINE_MS;
  while (serverPid(cluster) === pid && Date.now() < deadline) await sleep(20);
}

/** PostgreSQL says so in its lock file's eighth line before it ends the first connection. */
function isStopping(cluster: Cluster): boolean {
  try {
    return (
      readFileSync(join(cluster.root, 'data', 'postmaster.pid'), 'utf8')
        .split('\n')[7]
        ?.trimEnd() === 'stopping'
    );
  } catch {
    return true; // no lock file: it has stopped
  }
}

/** The process that PostgreSQL wrote into its lock file, whether or not it lives. */
function serverPid(cluster: Cluster): number | undefined {
  try {
    return Number.parseInt(readFileSync(join(cluster.root, 'data', 'postmaster.pid'), 'utf8'), 10) || undefined;
  } catch {
    return undefined;
  }
}

/**
 * In a container whose first process does not collect the dead, a killed server stays as a zombie, and PostgreSQL takes its lock
 * file for a living one's. Removed only if that process is a zombie and no process works in the data directory any more.
 */
function removeLockOfTheDead(cluster: Cluster): void {
  const pid = serverPid(cluster);
  const data = join(cluster.root, 'data');
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    if (stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) !== 'Z') return;
    const someoneWorksThere = readdirSync('/proc').some((process) => /^\d+$/.test(process) && workingDirectoryOf(process) === data);
    if (!someoneWorksThere && serverPid(cluster) === pid) rmSync(join(data, 'postmaster.pid'));
  } catch {
    // No such process, or no /proc: PostgreSQL judges the lock by itself.
  }
}

function workingDirectoryOf(process: string): string | undefined {
  try {
    return readlinkSync(`/proc/${process}/cwd`);
  } catch {
    return undefined; // gone meanwhile, a zombie, or another user's, which cannot be our server
  }
}

function logTail(cluster: Cluster): string {
  try {
    return readFileSync(join(cluster.root, 'log'), 'utf8').trimEnd().split('\n').slice(-8).join('\n');
  } catch {
    return '(it wrote no log)';
  }
}

function environment(): NodeJS.ProcessEnv {
  return { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };
}
