import { randomInt } from 'node:crypto';

/** Letters and digits, without those that are easily confused (0 and O, 1, l and I, i and o). */
const ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789ABCDEFGHJKMNPQRSTUVWXYZ';

/** Random text of 54 different characters: 5.75 bits each. */
export function randomText(length: number): string {
  let text = '';
  for (let i = 0; i < length; i++) text += ALPHABET[randomInt(ALPHABET.length)];
  return text;
}
