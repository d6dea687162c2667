import { randomInt } from 'node:crypto';

const DIGITS = 10;

/**
 * A new number of a card (`C`) or cardholder (`U`), in the API's form: the letter, the day in UTC, digits. The digits are random, so that
 * no merchant can count others' cards by its own; whoever stores one that exists already takes another.
 */
export function orderNumber(letter: 'C' | 'U', atMs: number): string {
  const day = new Date(atMs).toISOString().slice(0, 10).replaceAll('-', '');
  return `${letter}${day}${String(randomInt(10 ** DIGITS)).padStart(DIGITS, '0')}`;
}
