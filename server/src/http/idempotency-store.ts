import type { Queryable } from '../db/database.ts';
import { forgetOld } from '../db/forget.ts';

/** How long a key is kept, and its answer with it. */
const KEPT_MS = 86_400_000;
/** Longer than a call takes: a request that has no answer by then was left by a process that died. */
const LOCKED_MS = 30_000;

/** A request under a key, begun at that time. No two of one key begin within `LOCKED_MS`, so the time tells one from another. */
export interface Run {
  credentialId: number;
  key: string;
  requestHash: Buffer;
  beganAtMs: number;
}

/**
 * Whether the request is to be served, and is now known as running: its key is new or older than 24 hours, or the same request
 * was left without an answer. The row decides, also between processes.
 */
export async function beginRun(db: Queryable, { credentialId, key, requestHash, beganAtMs }: Run): Promise<boolean> {
  const rows = await db.query(
    'begin-run',
    `insert into idempotency_keys as kept (credential_id, key, request_hash, created_at, locked_until)
     values ($1, $2, $3, to_timestamp($4::bigint / 1000.0), to_timestamp($5::bigint / 1000.0))
     on conflict (credential_id, key) do update
       set request_hash = excluded.request_hash, answer = null, created_at = excluded.created_at, locked_until = excluded.locked_until
       where kept.created_at <= to_timestamp($6::bigint / 1000.0)
          or (kept.answer is null and kept.locked_until <= excluded.created_at and kept.request_hash = excluded.request_hash)
     returning true`,
    [credentialId, key, requestHash, beganAtMs, beganAtMs + LOCKED_MS, beganAtMs - KEPT_MS],
  );
  return rows.length > 0;
}

/** What is kept under a key; without an answer while the request runs. */
export async function findKept(
  db: Queryable,
  credentialId: number,
  key: string,
): Promise<{ requestHash: Buffer; answer: string | undefined } | undefined> {
  const [row] = await db.query<[Buffer, string | null]>(
    'find-kept',
    'select request_hash, answer from idempotency_keys where credential_id = $1 and key = $2',
    [credentialId, key],
  );
  return row && { requestHash: row[0], answer: row[1] ?? undefined };
}

/** Keeps a run's answer, unless the run outlived its lock and another has taken its place. */
export async function keepAnswer(db: Queryable, { credentialId, key, beganAtMs }: Run, answer: string): Promise<void> {
  await db.query(
    'keep-answer',
    `update idempotency_keys set answer = $4, locked_until = null
     where credential_id = $1 and key = $2 and created_at = to_timestamp($3::bigint / 1000.0) and answer is null`,
    [credentialId, key, beganAtMs, answer],
  );
}

/** Forgets a run, so that the same request may be served anew at once. */
export async function dropRun(db: Queryable, { credentialId, key, beganAtMs }: Run): Promise<void> {
  await db.query(
    'drop-run',
    `delete from idempotency_keys
     where credential_id = $1 and key = $2 and created_at = to_timestamp($3::bigint / 1000.0) and answer is null`,
    [credentialId, key, beganAtMs],
  );
}

/** Forgets what is older than 24 hours; gives how many. */
export function forgetAnswers(db: Queryable, nowMs: number): Promise<number> {
  return forgetOld(db, 'idempotency_keys', 'created_at', '<=', nowMs - KEPT_MS);
}
