import { LOCKS } from '../db/advisory-locks.ts';
import type { Database } from '../db/database.ts';
import type { Keys } from '../keys/keys.ts';
import { CHAIN_START, signHeads, startDigest } from './chain.ts';
import { type ChainHead, fetchUnsigned, insertSigning, lastSigning, openUnsigned } from './store.ts';

/**
 * Signs the heads of all chains that changed since they were last signed, as they stand at one moment, without holding up whoever
 * appends. Gives how many; 0 if none changed, or another process is at it.
 */
export async function signAuditHeads(db: Database, keys: Keys, now: () => number): Promise<number> {
  return db.session(async (session) => {
    await session.script('begin isolation level repeatable read');
    try {
      const [[free] = [false]] = await session.query<[boolean]>('signing-lock', 'select pg_try_advisory_xact_lock($1)', [
        LOCKS.auditSigning,
      ]);
      if (!free) return await ended(session, 'rollback', 0);
      const previous = await lastSigning(session);
      const signingId = (previous?.signingId ?? 0) + 1;
      const atMs = now();
      const digest = startDigest(signingId, atMs, previous?.digest ?? CHAIN_START);
      const heads: ChainHead[] = [];
      await openUnsigned(session);
      for (;;) {
        const some = await fetchUnsigned(session);
        if (some.length === 0) break;
        for (const head of some) digest.add(head);
        heads.push(...some);
      }
      if (heads.length === 0) return await ended(session, 'rollback', 0);
      const subject = { signingId, atMs, chains: heads.length, digest: digest.end() };
      const { version, key } = keys.auditHead;
      await insertSigning(session, { ...subject, keyVersion: version, signature: signHeads(key, subject) }, heads);
      return await ended(session, 'commit', heads.length);
    } catch (error) {
      await session.script('rollback').catch(() => {});
      throw error;
    }
  });
}

async function ended<T>(session: { script(text: string): Promise<void> }, how: 'commit' | 'rollback', value: T): Promise<T> {
  await session.script(how);
  return value;
}
