import { randomInt } from 'node:crypto';
import { ApiError } from '../api-error.ts';
import { hasLuhnDigit, luhnDigit } from '../crypto/luhn.ts';
import type { Queryable } from '../db/queryable.ts';
import type { Keys } from '../keys/keys.ts';
import type { CardBin } from '../products/store.ts';
import { isPanTaken, type WhenLocked } from './pan-store.ts';
import { panIdentity, type StoredPan } from './store.ts';

/**
 * Free numbers are found by chance alone, so a BIN that is nearly used up may seem to have
 * none.
 */
const ATTEMPTS_LIMIT = 50;

/** A PAN that is to be stored with a card. */
export interface NewPan {
  cardNo: string;
  pan: string;
  expiryYymm: string;
}

/** 1004 on `pan` unless it is a PAN of the BIN, with its check digit. */
export function requirePanOf(bin: CardBin, pan: string): void {
  if (!pan.startsWith(bin.bin) || pan.length !== bin.panDigits || !hasLuhnDigit(pan))
    throw new ApiError('invalidParameter', { field: 'pan' });
}

/**
 * Locks a PAN for this card until the transaction ends, and returns it as it is to be
 * stored. Errors: 5005.
 */
export async function claimPan(tx: Queryable, keys: Keys, newPan: NewPan): Promise<StoredPan> {
  const stored = await tryPan(tx, keys, newPan, 'wait');
  if (stored === undefined) throw new ApiError('panTaken');
  return stored;
}

/**
 * Makes a PAN that no card has: the BIN, random digits, the check digit. Claims it like
 * `claimPan`. Errors: 5006.
 */
export async function generatePan(
  tx: Queryable,
  keys: Keys,
  { cardNo, bin, expiryYymm }: { cardNo: string; bin: CardBin; expiryYymm: string },
): Promise<StoredPan> {
  for (let attempt = 0; attempt < ATTEMPTS_LIMIT; attempt++) {
    let body = bin.bin;
    while (body.length < bin.panDigits - 1) body += randomInt(10);
    const stored = await tryPan(tx, keys, { cardNo, pan: body + luhnDigit(body), expiryYymm }, 'taken');
    if (stored !== undefined) return stored;
  }
  throw new ApiError('binExhausted');
}

/**
 * Like `claimPan`, but returns undefined if another card has the PAN. A fingerprint is
 * unique under its own key version. After a rotation cards stand under several versions
 * until they are moved, so this looks the PAN up under every live version. It locks on the
 * oldest version, which every process has, so two inserts of one PAN wait for each other.
 */
export async function tryPan(
  tx: Queryable,
  keys: Keys,
  { cardNo, pan, expiryYymm }: NewPan,
  whenLocked: WhenLocked,
): Promise<StoredPan | undefined> {
  const digits = Buffer.from(pan, 'latin1');
  try {
    const { versions, version } = keys.panFingerprint;
    const fingerprints = versions.map((each) => keys.panFingerprint.mac(each, digits));
    const oldest = fingerprints.at(-1) as Buffer;
    const lock = [oldest.readInt32BE(0), oldest.readInt32BE(4)] as const;
    if (await isPanTaken(tx, fingerprints, lock, whenLocked)) return undefined;
    return {
      panWrapped: keys.pan.wrap(digits, panIdentity(cardNo)),
      panFingerprint: keys.panFingerprint.mac(version, digits),
      panFingerprintVersion: version,
      panLastFour: pan.slice(-4),
      expiryYymm,
      cvkVersion: keys.cvv.version,
    };
  } finally {
    digits.fill(0);
  }
}
