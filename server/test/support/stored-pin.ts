import { createHash } from 'node:crypto';
import { panIdentity } from '../../src/cards/store.ts';
import type { Database } from '../../src/db/database.ts';
import type { Keys } from '../../src/keys/keys.ts';
import { pinReferenceValue } from '../../src/pins/pin-reference-value.ts';

export interface StoredPin {
  version: number;
  /** Whether the stored reference value is that of this PIN. */
  is(pin: string): Promise<boolean>;
}

/** Reads a card's PIN from the database. Gives undefined if the card has none. */
export async function storedPin(
  { db, keys }: { db: Database; keys: Keys },
  cardNo: string,
): Promise<StoredPin | undefined> {
  const [row] = await db.query<{
    merchantId: number;
    version: number;
    prv: Buffer;
    salt: Buffer;
    keyVersion: number;
    panWrapped: Buffer;
  }>(
    'stored-pin',
    `select merchant_id as "merchantId", pin_version as version, pin_prv as prv, pin_salt as salt,
            pin_key_version as "keyVersion", pan_wrapped as "panWrapped"
       from cards where card_no = $1 and pin_version > 0`,
    [cardNo],
  );
  if (row === undefined) return undefined;
  const { merchantId, version, prv, salt, keyVersion, panWrapped } = row;
  return {
    version,
    async is(pin) {
      const pan = keys.pan.unwrap(panWrapped, panIdentity(cardNo));
      return prv.equals(
        await pinReferenceValue(keys.pinVerify, keyVersion, { merchantId, cardNo, pan, salt, pin: Buffer.from(pin) }),
      );
    },
  };
}

export interface AuditRecord {
  seq: number;
  action: string;
  details: Record<string, unknown>;
}

/**
 * Reads the audit records of a card, or of `cardholder:U...`. Throws unless their chain is whole:
 * it starts from zeros, every number occurs once, every hash covers the one before it, and the
 * subject's row names the last hash as the head. The hashes are computed here, not by the
 * database's own function.
 */
export async function intactChain(db: Database, cardNo: string): Promise<AuditRecord[]> {
  const rows = await db.query<{
    merchantId: number;
    seq: number;
    atMs: number;
    action: string;
    details: string;
    hash: Buffer;
  }>(
    'audit-chain',
    `select merchant_id as "merchantId", seq, (extract(epoch from at) * 1000)::bigint as "atMs", action, details, hash
       from audit_records where audit_chain(subject_kind, subject) = $1 order by seq`,
    [cardNo],
  );
  let previous = Buffer.alloc(32);
  for (const [index, { merchantId, seq, atMs, action, details, hash }] of rows.entries()) {
    if (seq !== index + 1) throw new Error(`record ${index + 1} of ${cardNo} is missing`);
    const text = `${merchantId} ${prefixed(cardNo)} ${seq} ${atMs} ${prefixed(action)} ${prefixed(details)}`;
    previous = createHash('sha256').update(previous).update(text).digest();
    if (!previous.equals(hash)) throw new Error(`record ${seq} of ${cardNo} was altered`);
  }
  const [head] = await db.query<{ count: number; hash: Buffer }>(
    'audit-head',
    `select audit_count as count, audit_head as hash from cards where card_no = $1
     union all
     select audit_count, audit_head from cardholders where 'cardholder:' || cardholder_no = $1`,
    [cardNo],
  );
  if (head?.count !== rows.length || !head.hash.equals(previous))
    throw new Error(`the head of ${cardNo} is not the hash of its last record`);
  return rows.map(({ seq, action, details }) => ({ seq, action, details: JSON.parse(details) }));
}

function prefixed(text: string): string {
  return `${Buffer.byteLength(text)}:${text}`;
}
