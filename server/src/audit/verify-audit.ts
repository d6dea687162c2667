import type { Queryable } from '../db/queryable.ts';
import type { Keys } from '../keys/keys.ts';
import { areHeadsSigned, CHAIN_START, hashOf, isCheckpointSigned, startDigest } from './chain.ts';
import {
  type ChainHead,
  findOrphan,
  merchantNumbers,
  readCheckpoint,
  readHeads,
  readHeadsOfSigning,
  readRecords,
  readSignedHeads,
  readSignings,
} from './store.ts';
import { subjectText } from './subject.ts';

export interface AuditVerdict {
  chains: number;
  records: number;
  signings: number;
  /** The first break of each chain that has one, in words; at most BREAKS_LIMIT. */
  breaks: string[];
}

const BREAKS_LIMIT = 20;

/**
 * Walks every chain from its start or checkpoint to its head, compares it with what was signed,
 * checks signatures.
 */
export async function verifyAudit(db: Queryable, keys: Keys): Promise<AuditVerdict> {
  const merchants = await merchantNumbers(db);
  const verdict: AuditVerdict = { chains: 0, records: 0, signings: 0, breaks: [] };
  const report = (text: string): void => {
    if (verdict.breaks.length < BREAKS_LIMIT) verdict.breaks.push(text);
  };

  const signedAt = await verifySignings(db, keys, verdict, report);
  for await (const heads of readHeads(db)) {
    for (const head of heads) {
      const fault = await verifyChain(db, keys, head, signedAt, verdict);
      if (fault !== undefined) report(`${subjectText(head, merchants)}: ${fault}`);
    }
    if (verdict.breaks.length >= BREAKS_LIMIT) break;
  }
  const orphan = await findOrphan(db);
  if (orphan !== undefined)
    report(`${subjectText(orphan, merchants)}: there are records, and what they tell of is gone`);
  return verdict;
}

/** Returns when each good signing was made, by its id. */
async function verifySignings(
  db: Queryable,
  keys: Keys,
  verdict: AuditVerdict,
  report: (text: string) => void,
): Promise<Map<number, number>> {
  const signedAt = new Map<number, number>();
  let previous: Buffer = CHAIN_START;
  let expected = 1;
  for (const signing of await readSignings(db)) {
    const { signingId, atMs, chains } = signing;
    const name = `signing ${signingId} of ${new Date(atMs).toISOString()}`;
    verdict.signings++;
    if (signingId !== expected) report(`signing ${expected}: it is missing`);
    expected = signingId + 1;

    const digest = startDigest(signingId, atMs, previous);
    let count = 0;
    for await (const heads of readHeadsOfSigning(db, signingId)) {
      for (const { seq, hash, ...subject } of heads) digest.add({ ...subject, count: seq, head: hash });
      count += heads.length;
    }
    const isSigned = () => areHeadsSigned(keys.auditHead.publicKey(signing.keyVersion), signing, signing.signature);
    if (count !== chains || !digest.end().equals(signing.digest))
      report(`${name}: its heads are not those that were signed`);
    else if (!isGood(isSigned)) report(`${name}: its signature is not good`);
    else signedAt.set(signingId, atMs);
    previous = signing.digest;
  }
  return signedAt;
}

/** A signature under a key version that does not exist is not good either. */
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
  if (checkpoint !== undefined) {
    const { keyVersion, signature } = checkpoint;
    if (!isGood(() => isCheckpointSigned(keys.auditHead.publicKey(keyVersion), checkpoint, signature)))
      return `the checkpoint at record ${checkpoint.seq} is not signed`;
  }
  let previous: Buffer = checkpoint?.hash ?? CHAIN_START;
  let seq = checkpoint?.seq ?? 0;

  /** Signed heads that the walk has not reached yet, by their record. */
  const signed = new Map((await readSignedHeads(db, head)).map((one) => [one.seq, one]));
  for (const one of signed.values()) if (one.seq < seq) signed.delete(one.seq);
  const compareWithSigned = (): string | undefined => {
    const one = signed.get(seq);
    signed.delete(seq);
    const at = one && signedAt.get(one.signingId);
    if (one === undefined || at === undefined || one.hash.equals(previous)) return undefined;
    return `record ${seq} is not the one whose hash was signed on ${new Date(at).toISOString()}: the chain was rewritten`;
  };

  const atStart = compareWithSigned();
  if (atStart !== undefined) return atStart;
  for await (const records of readRecords(db, head, seq)) {
    for (const record of records) {
      verdict.records++;
      if (record.seq !== seq + 1) return `record ${seq + 1} is missing`;
      if (!hashOf(previous, record).equals(record.hash))
        return `record ${record.seq} was altered, or is in another's place`;
      seq = record.seq;
      previous = record.hash;
      const rewritten = compareWithSigned();
      if (rewritten !== undefined) return rewritten;
    }
  }
  if (head.count > seq) return `the records after ${seq} are missing, up to ${head.count}`;
  if (head.count < seq) return `there are ${seq - head.count} records more than were written`;
  if (!head.head.equals(previous)) return `the head is not its last record's`;
  const later = [...signed.keys()].find((one) => one > seq);
  return later === undefined ? undefined : `the records after ${seq} are missing: record ${later} was signed`;
}
