import pg from 'pg';
import { type Batch, createBatcher } from './batch.ts';
import { OverloadError } from './errors.ts';
import type { Queryable, Session } from './queryable.ts';
import { setUpSession } from './session-settings.ts';

export interface Database extends Session {
  /**
   * Runs `item` in one statement with whatever other items of that batch are waiting (db/batch.ts).
   */
  batched<Item, Result>(batch: Batch<Item, Result>, item: Item): Promise<Result>;
  /** Runs `work` in one transaction: commits when it returns, rolls back when it throws. */
  transaction: RunTransaction;
  /**
   * Connections of their own for what must be answered when all others are busy: readiness, and the
   * cache's poll.
   */
  monitor: Pick<Queryable, 'query'> & { transaction: RunTransaction };
  /**
   * Runs `work` on a connection of its own without time limits, outside any transaction. For
   * migrations.
   */
  session<T>(work: (session: Session) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

type RunTransaction = <T>(work: (tx: Queryable) => Promise<T>) => Promise<T>;

export interface DatabaseOptions {
  url: string;
  connections?: number;
  /** Called for a connection that fails while idle; the pool replaces it. */
  onIdleError?: (error: Error) => void;
}

const CONNECT_TIMEOUT_MS = 5_000;
const MONITOR_CONNECTIONS = 2;
/** Statements that may wait for a connection of the pool. More are refused. */
const WAITING_LIMIT = 512;
const STATEMENT_TIMEOUT_MS = 10_000;
const POOL_LIMITS = {
  statementMs: STATEMENT_TIMEOUT_MS,
  // Locks are held for milliseconds; a longer wait is for something that is stuck.
  lockMs: 1_000,
  idleInTransactionMs: STATEMENT_TIMEOUT_MS,
};
/**
 * A migration takes as long as it takes. A lock that it waits for is held by a statement that
 * should have ended.
 */
const SESSION_LIMITS = { statementMs: 0, lockMs: 30_000, idleInTransactionMs: 0 };
const INT8_OID = 20;

/** 64-bit integers become numbers: here they are milliseconds and counts, all far below 2^53. */
const types = {
  getTypeParser: ((oid: number, format?: 'text') =>
    oid === INT8_OID ? Number : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
};

/**
 * Opens a pool. Connections are made when first needed, so a database that is down shows at the
 * first statement.
 */
export function openDatabase({ url, connections = 16, onIdleError }: DatabaseOptions): Database {
  const openPool = (max: number): pg.Pool => {
    const pool = new pg.Pool({
      ...clientOptions(url),
      max,
      // The server's limit ends a statement. This one ends the wait for a server that no longer
      // answers at all.
      query_timeout: STATEMENT_TIMEOUT_MS + 2_000,
      onConnect: async (client) => {
        // Nobody else listens between two statements of a transaction, and an unheard error would
        // end the process.
        client.on('error', ignoreError);
        await setUpSession(client, POOL_LIMITS, 'pool');
      },
    });
    pool.on('error', (error) => onIdleError?.(error));
    return pool;
  };
  const pool = openPool(connections);
  const monitor = openPool(MONITOR_CONNECTIONS);

  const queries = queriesOnPool(pool);
  return {
    ...queries,
    batched: createBatcher(queries),
    transaction: (work) => runTransaction(pool, work),
    monitor: { ...queriesOnPool(monitor), transaction: (work) => runTransaction(monitor, work) },
    async script(text) {
      await pool.query(text);
    },
    async session(work) {
      const client = new pg.Client(clientOptions(url));
      client.on('error', ignoreError);
      await client.connect();
      try {
        await setUpSession(client, SESSION_LIMITS, 'session');
        return await work({
          ...queriesOn(client),
          async script(text) {
            await client.query(text);
          },
        });
      } finally {
        // A pooler may keep the connection, with its locks.
        await client.query('select pg_advisory_unlock_all()').catch(ignoreError);
        await client.end();
      }
    },
    async close() {
      await Promise.all([pool.end(), monitor.end()]);
    },
  };
}

function clientOptions(url: string): pg.ClientConfig {
  return {
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    application_name: 'pinward',
    keepAlive: true,
    types,
  };
}

async function runTransaction<T>(pool: pg.Pool, work: (tx: Queryable) => Promise<T>): Promise<T> {
  const client = await withRoom(pool, () => pool.connect());
  let broken: Error | undefined;
  try {
    await client.query('begin');
    const result = await work(queriesOn(client));
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback').catch((rollbackError: Error) => {
      broken = rollbackError;
    });
    throw error;
  } finally {
    client.release(broken);
  }
}

/** Uses the pool. Throws OverloadError if too many wait for a connection, or the wait took too long. */
function withRoom<T>(pool: pg.Pool, use: () => Promise<T>): Promise<T> {
  if (pool.waitingCount >= WAITING_LIMIT) return Promise.reject(new OverloadError());
  return use().catch((error: Error) => {
    // The pool gives this fault no code. It tells nothing about the server, which was not asked.
    throw error.message === 'timeout exceeded when trying to connect' ? new OverloadError() : error;
  });
}

/**
 * A lost connection fails its running statement and all later ones; its error event says nothing
 * more.
 */
function ignoreError(): void {}

function queriesOn(client: Pick<pg.ClientBase, 'query'>): Queryable {
  return {
    async query<R extends object>(name: string, text: string, values: unknown[] = []) {
      const result = await client.query({ name, text, values });
      return result.rows as R[];
    },
    async tuples<R extends unknown[]>(name: string, text: string, values: unknown[] = []) {
      const result = await client.query<R>({ name, text, values, rowMode: 'array' });
      return result.rows;
    },
  };
}

/** Each statement runs on the next free connection. Errors: OverloadError too. */
function queriesOnPool(pool: pg.Pool): Queryable {
  return queriesOn({
    query: (statement: pg.QueryConfig) => withRoom(pool, () => pool.query(statement)),
  } as pg.Pool);
}
