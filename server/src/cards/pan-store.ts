import type { Queryable } from '../db/queryable.ts';
import type { CardKey, StoredPan } from './store.ts';

/** Stores the PAN of a card that has none. */
export async function setPan(tx: Queryable, { merchantId, cardNo }: CardKey, pan: StoredPan): Promise<void> {
  await tx.query(
    'set-pan',
    `update cards set pan_wrapped = $3, pan_fingerprint = $4, pan_fingerprint_version = $5, pan_last_four = $6,
                      expiry_yymm = $7, cvk_version = $8
      where merchant_id = $1 and card_no = $2`,
    [
      merchantId,
      cardNo,
      pan.panWrapped,
      pan.panFingerprint,
      pan.panFingerprintVersion,
      pan.panLastFour,
      pan.expiryYymm,
      pan.cvkVersion,
    ],
  );
}

/**
 * What to do about a PAN that another transaction has locked: wait for that transaction, or
 * call the PAN taken.
 */
export type WhenLocked = 'wait' | 'taken';

/**
 * Whether a card has one of these fingerprints of a PAN. Locks the PAN until the
 * transaction ends: everyone who stores a PAN calls this first, so nobody else stores this
 * PAN meanwhile. `lock` must be the same for all fingerprints of one PAN. A transaction
 * that tries several PANs must use `taken`: it locks them in any order, and two such
 * transactions that waited could deadlock.
 */
export async function isPanTaken(
  tx: Queryable,
  fingerprints: Buffer[],
  lock: readonly [number, number],
  whenLocked: WhenLocked,
): Promise<boolean> {
  if (whenLocked === 'wait') {
    await tx.query('lock-pan', 'select pg_advisory_xact_lock($1, $2)', [...lock]);
  } else {
    const [row] = await tx.query<{ locked: boolean }>(
      'try-lock-pan',
      'select pg_try_advisory_xact_lock($1, $2) as locked',
      [...lock],
    );
    if (row?.locked !== true) return true;
  }
  const rows = await tx.query('find-pan', 'select from cards where pan_fingerprint = any($1)', [fingerprints]);
  return rows.length > 0;
}
