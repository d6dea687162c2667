import { LOCKS } from '../db/advisory-locks.ts';
import type { Database } from '../db/database.ts';
import type { Session } from '../db/queryable.ts';
import type { Keys } from '../keys/keys.ts';
import { CHAIN_START, signHeads, startDigest } from './chain.ts';
import { type ChainHead, fetchUnsigned, insertSigning, lastSigning, openUnsigned } from './store.ts';

/**
 * Signs the heads of all chains that changed since they were last signed, on one snapshot, so that
 * nobody who appends has to wait. Returns how many; 0 if none changed, or another process is
 * signing.
 */
export async function signAuditHeads(db: Database, keys: Keys, now: () => number): Promise<number> {
  return db.session(async (session) => {
    await session.script('begin isolation level repeatable read');
    try {
      const signed = await signInTransaction(session, keys, now);
      await session.script(signed > 0 ? 'commit' : 'rollback');
      return signed;
    } catch (error) {
      await session.script('rollback').catch(() => {});
      throw error;
    }
  });
}

async function signInTransaction(session: Session, keys: Keys, now: () => number): Promise<number> {
  const [lock] = await session.query<{ free: boolean }>(
    'signing-lock',
    'select pg_try_advisory_xact_lock($1) as free',
    [LOCKS.auditSigning],
  );
  if (!lock?.free) return 0;
  const previous = await lastSigning(session);
  const signingId = (previous?.signingId ?? 0) + 1;
  const atMs = now();
  const digest = startDigest(signingId, atMs, previous?.digest ?? CHAIN_START);
  const heads: ChainHead[] = [];
  await openUnsigned(session);
  for (let some = await fetchUnsigned(session); some.length > 0; some = await fetchUnsigned(session)) {
    for (const head of some) digest.add(head);
    heads.push(...some);
  }
  if (heads.length === 0) return 0;
  const signing = { signingId, atMs, chains: heads.length, digest: digest.end() };
  const { version, key } = keys.auditHead;
  await insertSigning(session, { ...signing, keyVersion: version, signature: signHeads(key, signing) }, heads);
  return heads.length;
}
