import type { Database } from '../db/database.ts';
import type { Keys } from '../keys/keys.ts';
import { OperatorError } from '../merchants/administer.ts';
import { auditPlatform, detailsOf } from './append.ts';
import { signCheckpoint } from './chain.ts';
import { signAuditHeads } from './sign-heads.ts';
import { atOneMoment, type ChainHead, deleteThrough, lastBefore, putCheckpoint, readHeads } from './store.ts';
import { verifyAudit } from './verify-audit.ts';

/**
 * Takes records from before a time away, and leaves a signed checkpoint in each chain from which its later records still verify.
 * A trail that is broken is not pruned: what is signed would make the break good. Gives how many records went.
 */
export async function pruneAudit(db: Database, keys: Keys, now: () => number, beforeMs: number): Promise<number> {
  const { breaks } = await atOneMoment(db, (moment) => verifyAudit(moment, keys));
  if (breaks.length > 0) throw new OperatorError(`the audit trail is broken, and nothing was taken away: ${breaks[0]}`);
  await signAuditHeads(db, keys, now);
  let gone = 0;
  for await (const heads of readHeads(db)) for (const head of heads) gone += await pruneChain(db, keys, head, now(), beforeMs);
  const details = detailsOf('operator', { before: new Date(beforeMs).toISOString(), records: gone });
  if (gone > 0) await db.transaction((tx) => auditPlatform(tx, now(), 'audit_pruned', details));
  return gone;
}

async function pruneChain(db: Database, keys: Keys, { merchantId, cardNo }: ChainHead, atMs: number, beforeMs: number): Promise<number> {
  return db.transaction(async (tx) => {
    const last = await lastBefore(tx, { merchantId, cardNo }, beforeMs);
    if (last === undefined) return 0;
    const subject = { merchantId, cardNo, ...last, atMs };
    const { version, key } = keys.auditHead;
    await putCheckpoint(tx, { ...subject, keyVersion: version, signature: signCheckpoint(key, subject) });
    return deleteThrough(tx, subject, last.seq);
  });
}
