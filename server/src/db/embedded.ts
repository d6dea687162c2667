/*
 * The embedded database, so that a newcomer needs no database server. It is a real PostgreSQL from
 * an npm package. It runs as a child process on the data directory, listens on a unix socket only,
 * and has a random password and fsync on. It survives a killed platform; the next start adopts it.
 *
 * Its locks are advisory locks in the database itself, so a lock is never stale. Every user of the
 * server holds `embeddedUsers` shared. Only a user that gets it exclusively may stop the server.
 * The platform that serves holds `embeddedServing`.
 */
import { chmodSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { makeDirectory } from '../files.ts';
import { OperatorError } from '../operator-error.ts';
import { LOCKS } from './advisory-locks.ts';
import { type Cluster, prepareCluster } from './embedded-cluster.ts';
import { connectOrStart, isStopping, isTransient, type Launch, serverPid, stopServer } from './embedded-process.ts';
import { nativeFolder, runAs } from './native.ts';

export interface EmbeddedServer {
  /** For `openDatabase`. Contains the password. */
  url: string;
  /** Where the data is. */
  place: string;
  /** Whether this call started the server. False if the server was running already. */
  started: boolean;
  /** Ends the use of the server, and stops the server if nobody else uses it. */
  release(): Promise<void>;
}

export interface EmbeddedOptions {
  /** Whether the caller is the platform that serves. There can be only one. */
  serving?: boolean;
  /** Called with a sentence when the server is lost and when it is back. */
  onEvent?: (event: string) => void;
  /** More of PostgreSQL's settings, for tests. */
  settings?: Record<string, string>;
}

/** Another platform serves on the data directory. */
export class InUseError extends OperatorError {
  override readonly name = 'InUseError';
}

/** The last user of the server is stopping it. */
class StoppingError extends Error {
  readonly code = '57P01'; // the code that the server itself gives a moment later
}

/** A connection that holds our locks, and the server that it is connected to. */
interface Keeper {
  client: pg.Client;
  pid: number;
  /** Whether a server was started to get the connection. */
  started: boolean;
}

const START_DEADLINE_MS = 60_000;

/**
 * Starts the server on a data directory, or joins the running one. Makes its files at the first
 * start. If the server is lost later, starts it again until it runs or is released.
 * Throws InUseError if `serving` is set and another platform serves, and EmbeddedError if the
 * database cannot run here.
 */
export async function openEmbedded(dataDir: string, options: EmbeddedOptions = {}): Promise<EmbeddedServer> {
  const { serving = false, onEvent, settings = {} } = options;
  const user = await runAs();
  // Made with its mode whatever the umask: as root, `nobody` must be able to pass.
  if (makeDirectory(dataDir, 0o700) && user !== undefined) chmodSync(dataDir, 0o711);
  const cluster = prepareCluster(dataDir, user);
  const launch = { cluster, native: nativeFolder(user, dataDir), user, settings };

  let released = false;
  const lost = (): void => void recover();
  let keeper = await openKeeper(launch, { serving, onEnd: lost });

  async function recover(): Promise<void> {
    if (released) return;
    onEvent?.('the embedded database went away; starting it again');
    for (let waitMs = 100; !released; waitMs = Math.min(waitMs * 2, 5_000)) {
      try {
        keeper = await openKeeper(launch, { serving, onEnd: lost });
        if (released) await keeper.client.end();
        else onEvent?.('the embedded database is back');
        return;
      } catch (error) {
        onEvent?.(`the embedded database does not start: ${(error as Error).message}`);
        await sleep(waitMs);
      }
    }
  }

  return {
    url: cluster.url,
    place: cluster.root,
    started: keeper.started,
    async release() {
      if (released) return;
      released = true;
      await releaseKeeper(cluster, keeper);
    },
  };
}

/**
 * Connects, starts the server if necessary, and takes the locks. The connection holds them as long
 * as it lives. Somebody else may stop or kill the server between any two of these steps: then all
 * of them are repeated.
 */
async function openKeeper(
  launch: Launch,
  { serving, onEnd }: { serving: boolean; onEnd: () => void },
): Promise<Keeper> {
  const { cluster } = launch;
  const deadlineMs = Date.now() + START_DEADLINE_MS;
  for (;;) {
    const { client, started } = await connectOrStart(launch, deadlineMs);
    try {
      await client.query('select pg_advisory_lock_shared($1)', [LOCKS.embeddedUsers]);
      // A user that stops the server ends its own connection too, so we may get the lock while our
      // connection still lives. The last query is answered only if the lock file that was read is
      // the one of this server, not of the next one.
      const pid = serverPid(cluster);
      const stopping = isStopping(cluster);
      await client.query('select');
      if (stopping || pid === undefined) throw new StoppingError('the server is being stopped');
      if (serving && !(await takeServingLock(client)))
        throw new InUseError('another platform serves on this data directory');
      client.on('end', onEnd);
      return { client, pid, started };
    } catch (error) {
      await client.end().catch(() => {});
      if (!isTransient(error) || Date.now() > deadlineMs) throw error;
    }
  }
}

/** Waits a second: the server may notice late that a killed platform's connection is gone. */
async function takeServingLock(client: pg.Client): Promise<boolean> {
  for (let attempt = 0; attempt < 20; attempt++) {
    if (await tryLock(client, LOCKS.embeddedServing)) return true;
    await sleep(50);
  }
  return false;
}

async function tryLock(client: pg.Client, lock: number): Promise<boolean> {
  const { rows } = await client.query<{ taken: boolean }>('select pg_try_advisory_lock($1) as taken', [lock]);
  return rows[0]?.taken ?? false;
}

async function releaseKeeper(cluster: Cluster, { client, pid }: Keeper): Promise<void> {
  try {
    await client.query('select pg_advisory_unlock_all()');
    if (await tryLock(client, LOCKS.embeddedUsers)) await stopServer(cluster, pid);
  } catch {
    // The server is gone already, so there is nothing to release.
  }
  await client.end().catch(() => {});
}
