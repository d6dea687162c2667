import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Cluster } from './embedded-cluster.ts';
import { EmbeddedError, giveTo, NATIVE_ENV, type RunAs } from './native.ts';

/** How the server of a cluster is started. */
export interface Launch {
  cluster: Cluster;
  /** The folder with PostgreSQL's programs. */
  native: string;
  user: RunAs | undefined;
  /** More of PostgreSQL's settings. */
  settings: Record<string, string>;
}

const CONNECT_TIMEOUT_MS = 5_000;
const STOP_DEADLINE_MS = 30_000;
const FAILED_STARTS_LIMIT = 40;
const LAST_LINES = 20;
const LOG_BYTES_LIMIT = 8 * 1024 * 1024;

const SETTINGS = {
  listen_addresses: '',
  unix_socket_permissions: '0700',
  max_connections: '100',
  shared_buffers: '128MB',
  // Keeps statements and their parameters out of the log, whatever fails.
  log_min_error_statement: 'panic',
  log_parameter_max_length_on_error: '0',
  log_statement: 'none',
  log_checkpoints: 'off',
};

/** Errors that clients of a server get while it starts, stops, recovers or was killed. */
const TRANSIENT = new Set(['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE', '57P01', '57P02', '57P03']);

/** Whether another attempt may succeed, since the server is about to be there or to be gone. */
export function isTransient(error: unknown): boolean {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === undefined
    ? /^(Connection terminated|timeout expired|Client has encountered a connection error)/.test(message)
    : TRANSIENT.has(code);
}

/**
 * Connects to the server of a cluster, and starts it if none answers. `started` tells whether this
 * call started one. Throws EmbeddedError, with the end of the server's log, if it does not start or
 * does not answer before the deadline.
 */
export async function connectOrStart(
  launch: Launch,
  deadlineMs: number,
): Promise<{ client: pg.Client; started: boolean }> {
  const { cluster } = launch;
  let child: ChildProcess | undefined;
  let failures = 0;
  for (;;) {
    const client = new pg.Client({
      connectionString: cluster.url,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      application_name: 'pinward keeper',
      keepAlive: true,
    });
    // Added before it connects, since the server's first and last message may arrive together.
    // The 'end' event is the one that counts.
    client.on('error', () => {});
    try {
      await client.connect();
      return { client, started: child !== undefined };
    } catch (error) {
      await client.end().catch(() => {});
      if (!isTransient(error)) throw error;
      if (Date.now() > deadlineMs)
        throw new EmbeddedError(`the embedded database does not answer: ${lastWords(cluster)}`);
      const { code } = error as NodeJS.ErrnoException;
      if (child === undefined && (code === 'ENOENT' || code === 'ECONNREFUSED')) {
        const spawned = spawnServer(launch);
        child = spawned;
        // A server ends at once while another one holds its lock file, or while the children of a
        // killed server are still ending.
        const onEnd = (): void => {
          failures++;
          if (child === spawned) child = undefined;
          removeLockOfZombie(cluster);
        };
        spawned.once('exit', onEnd);
        spawned.once('error', onEnd);
      }
      if (failures >= FAILED_STARTS_LIMIT)
        throw new EmbeddedError(`the embedded database does not start: ${lastWords(cluster)}`);
      await sleep(failures === 0 ? 20 : 250);
    }
  }
}

function spawnServer({ cluster, native, user, settings }: Launch): ChildProcess {
  const logPath = join(cluster.root, 'log');
  if ((statSync(logPath, { throwIfNoEntry: false })?.size ?? 0) > LOG_BYTES_LIMIT) truncateSync(logPath);
  const log = openSync(logPath, 'a', 0o600);
  if (user !== undefined) giveTo(user, logPath); // so that this user can start the server itself, later
  const flags = Object.entries({ ...SETTINGS, ...settings }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const args = ['-D', join(cluster.root, 'data'), '-k', cluster.socketDirectory, ...flags];
  const child = spawn(join(native, 'bin', 'postgres'), args, {
    ...user,
    cwd: '/',
    env: NATIVE_ENV,
    stdio: ['ignore', log, log],
    // A Ctrl-C in the terminal must reach only the platform, which ends its requests before it
    // stops the server.
    detached: true,
  });
  closeSync(log);
  child.unref();
  return child;
}

/**
 * Stops the server with that process id by a fast shutdown: it rolls back open transactions, and
 * everything committed is on disk. Does nothing if that server has ended: we may have got the lock
 * because somebody else stopped it, and another server may run by now.
 */
export async function stopServer(cluster: Cluster, pid: number): Promise<void> {
  if (serverPid(cluster) !== pid) return;
  process.kill(pid, 'SIGINT');
  const deadlineMs = Date.now() + STOP_DEADLINE_MS;
  while (serverPid(cluster) === pid && Date.now() < deadlineMs) await sleep(20);
}

/** The process id in PostgreSQL's lock file, whether or not that process lives. */
export function serverPid(cluster: Cluster): number | undefined {
  return Number.parseInt(readLockFile(cluster) ?? '', 10) || undefined;
}

/**
 * Whether the server stops or has stopped. PostgreSQL writes this into the eighth line of its lock
 * file before it ends the first connection.
 */
export function isStopping(cluster: Cluster): boolean {
  const text = readLockFile(cluster);
  return text === undefined || text.split('\n')[7]?.trimEnd() === 'stopping';
}

function readLockFile(cluster: Cluster): string | undefined {
  try {
    return readFileSync(join(cluster.root, 'data', 'postmaster.pid'), 'utf8');
  } catch {
    return undefined; // no server runs
  }
}

/**
 * In a container whose first process does not reap its children, a killed server stays as a zombie,
 * and PostgreSQL takes its lock file for one of a living server. Removes the lock file only if that
 * process is a zombie and no process works in the data directory any more.
 */
function removeLockOfZombie(cluster: Cluster): void {
  const pid = serverPid(cluster);
  const data = join(cluster.root, 'data');
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const state = stat[stat.lastIndexOf(')') + 2];
    if (state !== 'Z') return;
    const inUse = readdirSync('/proc').some((name) => /^\d+$/.test(name) && workingDirectoryOf(name) === data);
    if (!inUse && serverPid(cluster) === pid) rmSync(join(data, 'postmaster.pid'));
  } catch {
    // No such process, or no /proc: PostgreSQL judges the lock file itself.
  }
}

function workingDirectoryOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined; // it has ended, is a zombie, or is of another user and so not our server
  }
}

/** Why the server did not start, as far as its log tells, and where the log is. */
function lastWords(cluster: Cluster): string {
  const path = join(cluster.root, 'log');
  try {
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n').slice(-LAST_LINES);
    const fault = lines.findLast((line) => /(FATAL|PANIC|ERROR):|error while loading/.test(line)) ?? lines.at(-1);
    return `${fault?.trim() || 'it wrote no log'} (more in ${path})`;
  } catch {
    return 'it wrote no log';
  }
}
