import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '../operator-error.ts';
import type { Queryable } from './queryable.ts';

/**
 * The advisory locks of the database, by what a holder may do. They are all listed here, since two
 * uses of the same number would wait for each other.
 */
export const LOCKS = {
  /** Migrate. If several processes start at once, one migrates and the others wait. */
  migrate: 7_746_273_001,
  /** Use the embedded server (shared), or stop it (exclusive). */
  embeddedUsers: 7_746_273_002,
  /** Serve on the embedded server. */
  embeddedServing: 7_746_273_003,
  /** Change the key file. */
  keyFile: 7_746_273_004,
  /** Sign the heads of the audit chains. */
  auditSigning: 7_746_273_005,
} as const;

const ASK_EVERY_MS = 250;
const WAIT_LIMIT_MS = 15_000;

/**
 * Takes a lock for the session. Waits WAIT_LIMIT_MS at most, then throws OperatorError, which names
 * the holder: it may have left the lock on a connection that a pooler keeps open.
 */
export async function lockSession(session: Queryable, lock: keyof typeof LOCKS, toDo: string): Promise<void> {
  const latestMs = performance.now() + WAIT_LIMIT_MS;
  while (!(await tryLock(session, LOCKS[lock]))) {
    if (performance.now() > latestMs) throw new OperatorError(await waitedFor(session, LOCKS[lock], toDo));
    await sleep(ASK_EVERY_MS);
  }
}

async function tryLock(session: Queryable, lock: number): Promise<boolean> {
  const [row] = await session.query<{ taken: boolean }>('try-lock', 'select pg_try_advisory_lock($1) as taken', [lock]);
  return row?.taken ?? false;
}

async function waitedFor(session: Queryable, lock: number, toDo: string): Promise<string> {
  const [holder] = await session.query<{ pid: number; since: string; name: string }>(
    'lock-holder',
    `select a.pid, a.application_name as name, to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS') as since
       from pg_locks l join pg_stat_activity a using (pid)
      where l.locktype = 'advisory' and l.granted and (l.classid::bigint << 32) + l.objid::bigint = $1
        and l.database = (select oid from pg_database where datname = current_database())`,
    [lock],
  );
  const what = `cannot ${toDo}: another process has held the lock for ${WAIT_LIMIT_MS / 1000} seconds`;
  if (holder === undefined) return `${what}; try again`;
  return (
    `${what} (database connection ${holder.pid} of ${holder.name || 'unknown'}, open since ${holder.since} UTC). ` +
    `Wait for it to end or, if it hangs, end it: select pg_terminate_backend(${holder.pid})`
  );
}
