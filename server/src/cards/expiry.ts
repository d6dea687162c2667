import { ApiError } from '../api-error.ts';

/*
 * Expiry dates of cards: YYMM. A card is valid to the end of that month.
 */

/**
 * How long a card is valid if the issuer leaves its expiry to the platform: to the end of
 * this month in five years.
 */
const VALID_MONTHS = 60;

/** 1004 on `expiry` unless it is YYMM. */
export function requireMonth(expiryYymm: string): void {
  if (!/^[0-9]{2}(0[1-9]|1[0-2])$/.test(expiryYymm)) throw new ApiError('invalidParameter', { field: 'expiry' });
}

/** 1004 on `expiry` unless it is YYMM and not in the past. */
export function requireExpiry(expiryYymm: string, nowMs: number): void {
  requireMonth(expiryYymm);
  if (expiryYymm < yymmOf(new Date(nowMs))) throw new ApiError('invalidParameter', { field: 'expiry' });
}

/** The expiry of a card for which the issuer gives none. */
export function defaultExpiry(nowMs: number): string {
  const date = new Date(nowMs);
  date.setUTCDate(1);
  date.setUTCMonth(date.getUTCMonth() + VALID_MONTHS);
  return yymmOf(date);
}

function yymmOf(date: Date): string {
  return date.toISOString().slice(2, 7).replace('-', '');
}
