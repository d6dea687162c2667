import type { Database } from '../db/database.ts';
import type { Keys } from '../keys/keys.ts';
import { OperatorError } from '../operator-error.ts';
import { auditPlatform } from './append.ts';
import { signCheckpoint } from './chain.ts';
import { signAuditHeads } from './sign-heads.ts';
import { atOneMoment, deleteThrough, lastBefore, putCheckpoint, readHeads } from './store.ts';
import type { Subject } from './subject.ts';
import { verifyAudit } from './verify-audit.ts';

/**
 * Deletes records from before a time and leaves a signed checkpoint in each chain, from which its
 * later records still verify. Refuses a broken trail: signing it would make the break good. Returns
 * how many records it deleted.
 */
export async function pruneAudit(db: Database, keys: Keys, now: () => number, beforeMs: number): Promise<number> {
  const { breaks } = await atOneMoment(db, (snapshot) => verifyAudit(snapshot, keys));
  if (breaks.length > 0) throw new OperatorError(`the audit trail is broken, and nothing was taken away: ${breaks[0]}`);
  await signAuditHeads(db, keys, now);
  let deleted = 0;
  for await (const heads of readHeads(db))
    for (const { merchantId, kind, subject } of heads)
      deleted += await pruneChain(db, keys, { merchantId, kind, subject }, { atMs: now(), beforeMs });
  const details = { before: new Date(beforeMs).toISOString(), records: deleted };
  if (deleted > 0)
    await db.transaction((tx) => auditPlatform(tx, { atMs: now(), action: 'audit_pruned', by: 'operator', details }));
  return deleted;
}

async function pruneChain(
  db: Database,
  keys: Keys,
  subject: Subject,
  { atMs, beforeMs }: { atMs: number; beforeMs: number },
): Promise<number> {
  return db.transaction(async (tx) => {
    const last = await lastBefore(tx, subject, beforeMs);
    if (last === undefined) return 0;
    const checkpoint = { ...subject, ...last, atMs };
    const { version, key } = keys.auditHead;
    await putCheckpoint(tx, { ...checkpoint, keyVersion: version, signature: signCheckpoint(key, checkpoint) });
    return deleteThrough(tx, subject, last.seq);
  });
}
