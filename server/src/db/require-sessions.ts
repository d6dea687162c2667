import pg from 'pg';
import { OperatorError } from '../operator-error.ts';

const TRIES = 4;
const TIMEOUT_MS = 5_000;

/**
 * Throws OperatorError if a pooler runs the statements of one connection in several sessions of the
 * server. PgBouncer does so in transaction mode. Settings, prepared statements and locks would then
 * be in the wrong session.
 *
 * Such a pooler takes any free session for the next statement. The check holds one session in a
 * transaction on a second connection. Then the first connection gets another session than before.
 */
export async function requireSessions(url: string): Promise<void> {
  const options = { connectionString: url, connectionTimeoutMillis: TIMEOUT_MS, query_timeout: TIMEOUT_MS };
  const first = new pg.Client({ ...options, application_name: 'pinward' });
  const second = new pg.Client({ ...options, application_name: 'pinward' });
  first.on('error', ignoreError);
  second.on('error', ignoreError);
  try {
    await first.connect();
    await second.connect();
    const own = await sessionOf(first);
    for (let i = 0; i < TRIES; i++) {
      await second.query('begin').catch(explain);
      const held = await sessionOf(second);
      if (held === own || (await sessionOf(first)) !== own) throw new OperatorError(POOLED);
      await second.query('rollback');
    }
  } finally {
    await Promise.allSettled([first.end(), second.end()]);
  }
}

const POOLED =
  'DATABASE_URL leads to a connection pooler in transaction mode, where settings, prepared statements and locks are ' +
  'lost: set its pool_mode to session, or connect to PostgreSQL itself';

const TOO_FEW =
  'DATABASE_URL leads to a connection pooler that keeps a second connection waiting: give it room for more ' +
  '(default_pool_size of PgBouncer)';

/**
 * PgBouncer refuses transactions in statement mode (SQLSTATE 08P01). In session mode a connection
 * waits if the pool is full.
 */
function explain(error: Error & { code?: string }): never {
  if (error.code === '08P01') throw new OperatorError(POOLED);
  throw error.message === 'Query read timeout' ? new OperatorError(TOO_FEW) : error;
}

/** The process ID of the server's session that runs the statement. */
async function sessionOf(client: pg.Client): Promise<number | undefined> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return rows[0]?.pid;
}

function ignoreError(): void {}
