import pg from 'pg';
import { type Batch, createBatcher } from './batch.ts';
import type { Queryable, Session } from './queryable.ts';

export interface Database extends Session {
  /** Runs `item` in one statement with whatever other items of that batch are waiting (db/batch.ts). */
  batched<Item, Result>(batch: Batch<Item, Result>, item: Item): Promise<Result>;
  /** Runs `work` in one transaction: commits when it returns, rolls back when it throws. */
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
  /** Runs `work` on a connection of its own without time limits, outside any transaction. For migrations. */
  session<T>(work: (session: Session) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export interface DatabaseOptions {
  url: string;
  connections?: number;
  /** Called for a connection that fails while idle; the pool replaces it. */
  onIdleError?: (error: Error) => void;
}

const CONNECT_TIMEOUT_MS = 5_000;
const STATEMENT_TIMEOUT_MS = 10_000;
/** Locks are held for milliseconds; a wait longer than this is for something that is stuck. */
const LOCK_TIMEOUT_MS = 1_000;
const INT8_OID = 20;

/** 64-bit integers become numbers: here they are milliseconds and counts, all far below 2^53. */
const types = {
  getTypeParser: ((oid: number, format?: 'text') =>
    oid === INT8_OID ? Number : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
};

/**
 * Settings of every pooled connection.
 * - `force_generic_plan`: arrays of any length share one plan. Planning a PIN set anew costs more than running it.
 * - `enable_seqscan=off`: that one plan may date from when a table was empty, and would read the whole table later.
 * - `enable_bitmapscan=off`: a bitmap gathers every entry of a queue's index, the dead ones too. An ordered scan
 *   stops at its limit and remembers what is dead.
 */
const POOL_SETTINGS = '-c plan_cache_mode=force_generic_plan -c jit=off -c enable_seqscan=off -c enable_bitmapscan=off';

/** Opens a pool. Connections are made when first needed, so a database that is down shows at the first statement. */
export function openDatabase({ url, connections = 16, onIdleError }: DatabaseOptions): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    lock_timeout: LOCK_TIMEOUT_MS,
    // The server's limit ends a statement. This one ends the wait for a server that no longer answers at all.
    query_timeout: STATEMENT_TIMEOUT_MS + 2_000,
    idle_in_transaction_session_timeout: STATEMENT_TIMEOUT_MS,
    application_name: 'pinward',
    options: POOL_SETTINGS,
    keepAlive: true,
    types,
  });
  pool.on('error', (error) => onIdleError?.(error));
  // Nobody else listens between two statements of a transaction, and an unheard error would end the process.
  pool.on('connect', (client) => client.on('error', ignoreError));

  const queries = queriesOn(pool);
  return {
    ...queries,
    batched: createBatcher(queries),
    async script(text) {
      await pool.query(text);
    },
    async session(work) {
      const client = new pg.Client({
        connectionString: url,
        connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
        application_name: 'pinward',
        keepAlive: true,
        types,
      });
      client.on('error', ignoreError);
      await client.connect();
      try {
        return await work({
          ...queriesOn(client),
          async script(text) {
            await client.query(text);
          },
        });
      } finally {
        await client.end();
      }
    },
    async transaction(work) {
      const client = await pool.connect();
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
    },
    close: () => pool.end(),
  };
}

/** A lost connection fails its running statement and all later ones; its error event says nothing more. */
function ignoreError(): void {}

function queriesOn(on: pg.Pool | pg.ClientBase): Queryable {
  return {
    async query<R extends object>(name: string, text: string, values: unknown[] = []) {
      const result = await on.query({ name, text, values });
      return result.rows as R[];
    },
    async tuples<R extends unknown[]>(name: string, text: string, values: unknown[] = []) {
      const result = await on.query<R>({ name, text, values, rowMode: 'array' });
      return result.rows;
    },
  };
}
