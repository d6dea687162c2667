import type { Queryable } from '../db/database.ts';
import type { Keys } from '../keys/keys.ts';
import { type ChainName, merchantNumbers, readCheckpoint, readHeads, readHeadsOfSigning, readRecords, readSignings } from './store.ts';

const AT_ONCE = 1_000;
const BEFORE_ALL: ChainName = { merchantId: -1, cardNo: '' };

/**
 * Everything that the audit knows, as JSON lines: signings with the public key that checks them, the heads that they cover, checkpoints,
 * and every record since `sinceMs`, chain by chain. Whoever keeps them elsewhere can prove later what was there.
 */
export async function* exportAudit(db: Queryable, keys: Keys, sinceMs: number): AsyncGenerator<string> {
  const merchants = await merchantNumbers(db);
  const line = (type: string, chain: ChainName | undefined, more: object): string =>
    `${JSON.stringify({ type, ...(chain && { merchant_id: chain.merchantId, merchant_no: merchants.get(chain.merchantId), card_no: chain.cardNo }), ...more })}\n`;
  for (const { signingId, atMs, chains, digest, keyVersion, signature } of await readSignings(db)) {
    yield line('signing', undefined, {
      signing_id: signingId,
      at: atMs,
      chains,
      digest: digest.toString('hex'),
      key_version: keyVersion,
      public_key: keys.auditHead.publicKey(keyVersion).export({ format: 'der', type: 'spki' }).toString('base64'),
      signature: signature.toString('base64'),
    });
    yield* paged(
      (after) => readHeadsOfSigning(db, signingId, after, AT_ONCE),
      (head) => line('head', head, { signing_id: signingId, seq: head.seq, hash: head.hash.toString('hex') }),
    );
  }
  for await (const heads of readHeads(db)) {
    for (const head of heads) {
      const checkpoint = await readCheckpoint(db, head);
      if (checkpoint !== undefined) {
        const { seq, hash, atMs, keyVersion, signature } = checkpoint;
        const more = { seq, hash: hash.toString('hex'), at: atMs, key_version: keyVersion, signature: signature.toString('base64') };
        yield line('checkpoint', head, more);
      }
      let seq = checkpoint?.seq ?? 0;
      for (;;) {
        const records = await readRecords(db, head, seq, AT_ONCE);
        for (const { atMs, action, details, hash, ...record } of records) {
          if (atMs < sinceMs) continue;
          yield line('record', head, { seq: record.seq, at: atMs, action, details: JSON.parse(details), hash: hash.toString('hex') });
        }
        const last = records.at(-1);
        if (last === undefined) break;
        seq = last.seq;
      }
    }
  }
}

async function* paged<T extends ChainName>(read: (after: ChainName) => Promise<T[]>, lineOf: (one: T) => string): AsyncGenerator<string> {
  let after = BEFORE_ALL;
  for (;;) {
    const some = await read(after);
    for (const one of some) yield lineOf(one);
    const last = some.at(-1);
    if (last === undefined) return;
    after = last;
  }
}
