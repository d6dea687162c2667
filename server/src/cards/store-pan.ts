import { randomInt } from 'node:crypto';
import { hasLuhnDigit, luhnDigit } from '../crypto/luhn.ts';
import type { Queryable } from '../db/database.ts';
import { ApiError } from '../errors.ts';
import type { Keys } from '../keys/keys.ts';
import type { CardBin } from '../products/store.ts';
import { isPanTaken, panIdentity, type StoredPan } from './store.ts';

/** Free numbers of a BIN that is nearly used up are found by chance alone. */
const MOST_ATTEMPTS = 50;
/** How long a card is good whose expiry the issuer leaves to the platform: to the end of this month in five years. */
const VALID_MONTHS = 60;

/** 1004 on `pan` unless it is a PAN of the BIN, with its check digit. */
export function requirePanOf(bin: CardBin, pan: string): void {
  if (!pan.startsWith(bin.bin) || pan.length !== bin.panDigits || !hasLuhnDigit(pan))
    throw new ApiError('invalidParameter', { field: 'pan' });
}

/** YYMM. 1004 on `expiry`. */
export function requireMonth(expiryYymm: string): void {
  if (!/^[0-9]{2}(0[1-9]|1[0-2])$/.test(expiryYymm)) throw new ApiError('invalidParameter', { field: 'expiry' });
}

/** YYMM, not in the past. 1004 on `expiry`. */
export function requireExpiry(expiryYymm: string, nowMs: number): void {
  requireMonth(expiryYymm);
  if (expiryYymm < yymmOf(new Date(nowMs))) throw new ApiError('invalidParameter', { field: 'expiry' });
}

export function usualExpiry(nowMs: number): string {
  const date = new Date(nowMs);
  date.setUTCDate(1);
  date.setUTCMonth(date.getUTCMonth() + VALID_MONTHS);
  return yymmOf(date);
}

function yymmOf(date: Date): string {
  return date.toISOString().slice(2, 7).replace('-', '');
}

/** A PAN as it is to be stored with a card, which no other card has; it is this card's until the transaction ends. Errors: 5005. */
export async function claimPan(tx: Queryable, keys: Keys, cardNo: string, pan: string, expiryYymm: string): Promise<StoredPan> {
  const stored = await tryPan(tx, keys, cardNo, pan, expiryYymm);
  if (stored === undefined) throw new ApiError('panTaken');
  return stored;
}

/** The same with a PAN that is made here: the BIN, digits at random, the check digit. Errors: 5006. */
export async function makePan(tx: Queryable, keys: Keys, cardNo: string, bin: CardBin, expiryYymm: string): Promise<StoredPan> {
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
    let body = bin.bin;
    while (body.length < bin.panDigits - 1) body += randomInt(10);
    const stored = await tryPan(tx, keys, cardNo, body + luhnDigit(body), expiryYymm, false);
    if (stored !== undefined) return stored;
  }
  throw new ApiError('binExhausted');
}

/**
 * The same; undefined where another card has the PAN. A fingerprint is unique under its own key version. After a rotation cards stand
 * under several until they are moved, so all live versions are looked up, and the oldest, which every process has, gives the lock by
 * which two that bring the same PAN take turns.
 */
export async function tryPan(
  tx: Queryable,
  keys: Keys,
  cardNo: string,
  digits: string,
  expiryYymm: string,
  wait = true,
): Promise<StoredPan | undefined> {
  const pan = Buffer.from(digits, 'latin1');
  try {
    const { versions, version } = keys.panFingerprint;
    const fingerprints = versions.map((one) => keys.panFingerprint.mac(one, pan));
    const oldest = fingerprints.at(-1) as Buffer;
    if (await isPanTaken(tx, fingerprints, [oldest.readInt32BE(0), oldest.readInt32BE(4)], wait)) return undefined;
    return {
      panWrapped: keys.pan.wrap(pan, panIdentity(cardNo)),
      panFingerprint: keys.panFingerprint.mac(version, pan),
      panFingerprintVersion: version,
      panLastFour: digits.slice(-4),
      expiryYymm,
      cvkVersion: keys.cvv.version,
    };
  } finally {
    pan.fill(0);
  }
}
