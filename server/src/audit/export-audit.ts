import type { Queryable } from '../db/queryable.ts';
import type { Keys } from '../keys/keys.ts';
import { merchantNumbers, readCheckpoint, readHeads, readHeadsOfSigning, readRecords, readSignings } from './store.ts';
import { chainOf, type Subject } from './subject.ts';

/**
 * The whole audit trail as JSON lines: signings with the public key that checks them, the heads
 * that they cover, checkpoints, and every record since `sinceMs`, chain by chain. Kept elsewhere,
 * it proves later what was there.
 */
export async function* exportAudit(db: Queryable, keys: Keys, sinceMs: number): AsyncGenerator<string> {
  const merchants = await merchantNumbers(db);
  /** `card_no` is the chain's name as hashes and signatures cover it. */
  const naming = (of: Subject) => ({
    merchant_id: of.merchantId,
    merchant_no: merchants.get(of.merchantId),
    subject_kind: of.kind,
    subject: of.subject,
    card_no: chainOf(of),
  });

  for (const { signingId, atMs, chains, digest, keyVersion, signature } of await readSignings(db)) {
    yield line('signing', {
      signing_id: signingId,
      at: atMs,
      chains,
      digest: digest.toString('hex'),
      key_version: keyVersion,
      public_key: keys.auditHead.publicKey(keyVersion).export({ format: 'der', type: 'spki' }).toString('base64'),
      signature: signature.toString('base64'),
    });
    for await (const heads of readHeadsOfSigning(db, signingId))
      for (const { seq, hash, ...of } of heads)
        yield line('head', { ...naming(of), signing_id: signingId, seq, hash: hash.toString('hex') });
  }

  for await (const heads of readHeads(db)) {
    for (const head of heads) {
      const checkpoint = await readCheckpoint(db, head);
      if (checkpoint !== undefined) {
        const { seq, hash, atMs, keyVersion, signature } = checkpoint;
        yield line('checkpoint', {
          ...naming(head),
          seq,
          hash: hash.toString('hex'),
          at: atMs,
          key_version: keyVersion,
          signature: signature.toString('base64'),
        });
      }
      for await (const records of readRecords(db, head, checkpoint?.seq ?? 0))
        for (const { seq, atMs, action, details, hash } of records)
          if (atMs >= sinceMs)
            yield line('record', {
              ...naming(head),
              seq,
              at: atMs,
              action,
              details: JSON.parse(details),
              hash: hash.toString('hex'),
            });
    }
  }
}

function line(type: string, members: object): string {
  return `${JSON.stringify({ type, ...members })}\n`;
}
