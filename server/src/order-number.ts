import { randomInt } from 'node:crypto';

const DIGITS = 10;

/**
 * Makes a number for a card (`C`) or a cardholder (`U`) in the API's form: the letter, the
 * day in UTC, ten digits. The digits are random, so that a merchant cannot tell from its own
 * numbers how many others have. The caller tries again if the number is taken.
 */
export function orderNumber(letter: 'C' | 'U', atMs: number): string {
  const day = new Date(atMs).toISOString().slice(0, 10).replaceAll('-', '');
  return `${letter}${day}${String(randomInt(10 ** DIGITS)).padStart(DIGITS, '0')}`;
}
