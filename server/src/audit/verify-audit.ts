import type { Queryable } from '../db/database.ts';
import type { Keys } from '../keys/keys.ts';
import { areSigned, CHAIN_START, chainText, hashOf, isCheckpointSigned, startDigest } from './chain.ts';
import {
  type ChainHead,
  type ChainName,
  findOrphan,
  merchantNumbers,
  readCheckpoint,
  readHeads,
  readHeadsOfSigning,
  readRecords,
  readSignedHeads,
  readSignings,
} from './store.ts';

export interface AuditVerdict {
  chains: number;
  records: number;
  signings: number;
  /** The first break of each chain that has one, in words; at most MOST_BREAKS. */
  breaks: string[];
}

const MOST_BREAKS = 20;
const RECORDS_AT_ONCE = 2_000;
const BEFORE_ALL: ChainName = { merchantId: -1, cardNo: '' };

/** Walks every chain from its start or checkpoint to its head, compares with what was signed, and checks the signatures. */
export async function verifyAudit(db: Queryable, keys: Keys): Promise<AuditVerdict> {
  const merchants = await merchantNumbers(db);
  const verdict: AuditVerdict = { chains: 0, records: 0, signings: 0, breaks: [] };
  const found = (what: string): void => {
    if (verdict.breaks.length < MOST_BREAKS) verdict.breaks.push(what);
  };
  const signedAt = await verifySignings(db, keys, verdict, found);
  for await (const heads of readHeads(db)) {
    for (const head of heads) {
      const fault = await verifyChain(db, keys, head, signedAt, verdict);
      if (fault !== undefined) found(`${chainText(head, merchants)}: ${fault}`);
    }
    if (verdict.breaks.length >= MOST_BREAKS) break;
  }
  const orphan = await findOrphan(db);
  if (orphan !== undefined) found(`${chainText(orphan, merchants)}: records stand there, and what they tell of is gone`);
  return verdict;
}

/** Gives when each signing was made, of those that are good. */
async function verifySignings(
  db: Queryable,
  keys: Keys,
  verdict: AuditVerdict,
  found: (what: string) => void,
): Promise<Map<number, number>> {
  const signedAt = new Map<number, number>();
  let previous: Buffer = CHAIN_START;
  let expected = 1;
  for (const signing of await readSignings(db)) {
    const { signingId, atMs, chains } = signing;
    const name = `signing ${signingId} of ${new Date(atMs).toISOString()}`;
    verdict.signings++;
    if (signingId !== expected) found(`signing ${expected}: it is missing`);
    expected = signingId + 1;
    const digest = startDigest(signingId, atMs, previous);
    let counted = 0;
    let after = BEFORE_ALL;
    for (;;) {
      const heads = await readHeadsOfSigning(db, signingId, after, RECORDS_AT_ONCE);
      for (const { merchantId, cardNo, seq, hash } of heads) digest.add({ merchantId, cardNo, count: seq, head: hash });
      counted += heads.length;
      const last = heads.at(-1);
      if (last === undefined) break;
      after = last;
    }
    if (counted !== chains || !digest.end().equals(signing.digest)) found(`${name}: its heads are not those that were signed`);
    else if (!isGood(() => areSigned(keys.auditHead.publicKey(signing.keyVersion), signing, signing.signature)))
      found(`${name}: its signature is not good`);
    else signedAt.set(signingId, atMs);
    previous = signing.digest;
  }
  return signedAt;
}

/** A key version that is none makes a signature no better. */
function isGood(check: () => boolean): boolean {
  try {
    return check();
  } catch {
    return false;
  }
}

/** The chain's first break, or undefined. */
async function verifyChain(
  db: Queryable,
  keys: Keys,
  head: ChainHead,
  signedAt: Map<number, number>,
  verdict: AuditVerdict,
): Promise<string | undefined> {
  verdict.chains++;
  const checkpoint = await readCheckpoint(db, head);
  if (
    checkpoint !== undefined &&
    !isGood(() => isCheckpointSigned(keys.auditHead.publicKey(checkpoint.keyVersion), checkpoint, checkpoint.signature))
  )
    return `the checkpoint at record ${checkpoint.seq} is not signed`;
  let previous: Buffer = checkpoint?.hash ?? CHAIN_START;
  let seq = checkpoint?.seq ?? 0;
  const signed = new Map((await readSignedHeads(db, head)).map((one) => [one.seq, one]));
  const wasSigned = (): string | undefined => {
    const one = signed.get(seq);
    signed.delete(seq);
    if (one === undefined || one.hash.equals(previous) || !signedAt.has(one.signingId)) return undefined;
    return `record ${seq} is not the one whose hash was signed on ${new Date(signedAt.get(one.signingId) as number).toISOString()}: the chain was rewritten`;
  };
  for (const one of signed.values()) if (one.seq < seq) signed.delete(one.seq);
  const atStart = wasSigned();
  if (atStart !== undefined) return atStart;
  for (;;) {
    const records = await readRecords(db, head, seq, RECORDS_AT_ONCE);
    for (const record of records) {
      verdict.records++;
      if (record.seq !== seq + 1) return `record ${seq + 1} is missing`;
      if (!hashOf(previous, record).equals(record.hash)) return `record ${record.seq} was altered, or is in another's place`;
      seq = record.seq;
      previous = record.hash;
      const rewritten = wasSigned();
      if (rewritten !== undefined) return rewritten;
    }
    if (records.length < RECORDS_AT_ONCE) break;
  }
  if (head.count > seq) return `the records after ${seq} are missing, up to ${head.count}`;
  if (head.count < seq) return `there are ${seq - head.count} records more than were written`;
  if (!head.head.equals(previous)) return `the head is not its last record's`;
  const later = [...signed.keys()].find((one) => one > seq);
  return later === undefined ? undefined : `the records after ${seq} are missing: record ${later} was signed`;
}
