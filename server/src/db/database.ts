import pg from 'pg';

type Row = unknown[];

/** Runs statements: the pool itself, or one connection inside a transaction. Rows come as arrays, in the order of the select list. */
export interface Queryable {
  /** `name` prepares the statement once a connection; one name stands for one text. */
  query<R extends Row>(name: string, text: string, values?: unknown[]): Promise<R[]>;
}

interface Session extends Queryable {
  /** Runs statements that have no parameters, several in one text. */
  script(text: string): Promise<void>;
}

export interface Database extends Session {
  /** Runs `work` in one transaction: commits when it returns, rolls back when it throws. */
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
  /** Runs `work` on one connection of its own that has no time limits, outside any transaction. For migrations. */
  session<T>(work: (session: Session) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export interface DatabaseOptions {
  url: string;
  connections?: number;
  /** Told of connections that fail while idle; the pool replaces them. */
  onIdleError?: (error: Error) => void;
}

const CONNECT_TIMEOUT_MS = 5_000;
const STATEMENT_TIMEOUT_MS = 10_000;
/** Locks are held for milliseconds; whoever waits longer than this waits for something that is stuck. */
const LOCK_TIMEOUT_MS = 1_000;
const INT8_OID = 20;

/** Whole numbers of 64 bits are numbers here: milliseconds and counts, all far below 2^53. */
const types = {
  getTypeParser: ((oid: number, format?: 'text') =>
    oid === INT8_OID ? Number : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
};

/** Opens a pool. Connections are made when first needed, so a database that is down shows at the first statement. */
export function openDatabase({ url, connections = 16, onIdleError }: DatabaseOptions): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    lock_timeout: LOCK_TIMEOUT_MS,
    // The server's own limit ends a statement; this one ends the wait for a server that no longer answers at all.
    query_timeout: STATEMENT_TIMEOUT_MS + 2_000,
    idle_in_transaction_session_timeout: STATEMENT_TIMEOUT_MS,
    application_name: 'pinward',
    // Arrays of any length share one plan: planning a set's statement anew costs more than running it. That plan may be of a moment when a
    // table was empty, and would read it whole when it is not: so by its indexes, wherever there is one. And no bitmaps: they gather every
    // entry of a queue's index, the dead ones too, where an ordered scan stops at its limit and remembers what is dead.
    options: '-c plan_cache_mode=force_generic_plan -c jit=off -c enable_seqscan=off -c enable_bitmapscan=off',
    keepAlive: true,
    types,
  });
  pool.on('error', (error) => onIdleError?.(error));
  // Between two statements of a transaction nobody else listens, and a lost connection would end the process.
  pool.on('connect', (client) => client.on('error', ignored));

  return {
    query: (name, text, values) => run(pool, name, text, values),
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
      client.on('error', ignored);
      await client.connect();
      try {
        return await work({
          query: (name, text, values) => run(client, name, text, values),
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
        const result = await work({ query: (name, text, values) => run(client, name, text, values) });
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

/** A connection that is lost tells its own statements; those that come after fail too. */
function ignored(): void {}

async function run<R extends Row>(on: pg.Pool | pg.ClientBase, name: string, text: string, values: unknown[] = []): Promise<R[]> {
  const result = await on.query<R>({ name, text, values, rowMode: 'array' });
  return result.rows;
}

/**
 * Whether the server refused a statement and rolled it back. False after a lost connection, a shutdown or a fault of the server
 * itself (SQLSTATE 08, 40003, 57P, 58 and XX), after which nobody knows whether the commit took place.
 * By code, since the word for an error's severity is in the server's language.
 */
export function wasRolledBack(error: unknown): boolean {
  return error instanceof pg.DatabaseError && /^(?!08|40003|57P|58|XX)[0-9A-Z]{5}$/.test(error.code ?? '');
}

/** Whether a statement failed because a row with that key exists, of that constraint if one is named. */
export function isDuplicate(error: unknown, constraint?: string): boolean {
  return error instanceof pg.DatabaseError && error.code === '23505' && (constraint === undefined || error.constraint === constraint);
}

/** Whether a statement was ended because it waited too long for somebody's lock, or each for the other's. */
export function isLockFault(error: unknown): boolean {
  return error instanceof pg.DatabaseError && (error.code === '55P03' || error.code === '40P01');
}
