import { CLOCK_SKEW_MS } from '../../clock-window.ts';
import { deleteExpired } from '../../db/delete-expired.ts';
import type { Queryable } from '../../db/queryable.ts';
import { fromMs } from '../../db/sql-time.ts';

/** How long a key and its answer are kept. */
const KEPT_MS = 86_400_000;
/**
 * Longer than a call takes. A request that has no answer by then was left by a process that died.
 */
const LOCKED_MS = 30_000;

/**
 * A request under a key. No two of one key begin within LOCKED_MS, so the time tells them apart.
 */
export interface Run {
  credentialId: number;
  key: string;
  requestHash: Buffer;
  beganAtMs: number;
}

/**
 * Marks the request as running and returns true, if it is to be served: its key is new or older
 * than 24 hours, or the same request was left without an answer. The row decides, also between
 * processes. A lock that ends later than any lock may was set by a clock that was ahead, and does
 * not count.
 */
export async function beginRun(db: Queryable, { credentialId, key, requestHash, beganAtMs }: Run): Promise<boolean> {
  const rows = await db.query(
    'begin-run',
    `insert into idempotency_keys as kept (credential_id, key, request_hash, created_at, locked_until)
     values ($1, $2, $3, ${fromMs('$4')}, ${fromMs('$5')})
     on conflict (credential_id, key) do update
       set request_hash = excluded.request_hash, answer = null,
           created_at = excluded.created_at, locked_until = excluded.locked_until
       where kept.created_at <= ${fromMs('$6')}
          or (kept.answer is null and kept.locked_until <= excluded.created_at
              and kept.request_hash = excluded.request_hash)
          or (kept.answer is null and kept.locked_until > ${fromMs('$7')} and kept.request_hash = excluded.request_hash)
     returning 1`,
    [
      credentialId,
      key,
      requestHash,
      beganAtMs,
      beganAtMs + LOCKED_MS,
      beganAtMs - KEPT_MS,
      beganAtMs + LOCKED_MS + CLOCK_SKEW_MS,
    ],
  );
  return rows.length > 0;
}

/** The request that was made under a key; its answer is null while it runs. */
export async function findRun(
  db: Queryable,
  credentialId: number,
  key: string,
): Promise<{ requestHash: Buffer; answer: string | null } | undefined> {
  const [row] = await db.query<{ requestHash: Buffer; answer: string | null }>(
    'find-run',
    `select request_hash as "requestHash", answer from idempotency_keys where credential_id = $1 and key = $2`,
    [credentialId, key],
  );
  return row;
}

const OF_RUN = `credential_id = $1 and key = $2 and created_at = ${fromMs('$3')} and answer is null`;

/** Keeps a run's answer, unless the run outlived its lock and another has replaced it. */
export async function keepAnswer(db: Queryable, { credentialId, key, beganAtMs }: Run, answer: string): Promise<void> {
  await db.query('keep-answer', `update idempotency_keys set answer = $4, locked_until = null where ${OF_RUN}`, [
    credentialId,
    key,
    beganAtMs,
    answer,
  ]);
}

/** Deletes a run, so that the same request can be served again at once. */
export async function deleteRun(db: Queryable, { credentialId, key, beganAtMs }: Run): Promise<void> {
  await db.query('delete-run', `delete from idempotency_keys where ${OF_RUN}`, [credentialId, key, beganAtMs]);
}

/** Deletes keys older than 24 hours. Returns how many. */
export function deleteExpiredKeys(db: Queryable, nowMs: number): Promise<number> {
  return deleteExpired(db, { table: 'idempotency_keys', column: 'created_at', is: '<=', timeMs: nowMs - KEPT_MS });
}
