import { tdesCipher } from './tdes.ts';

/**
 * Card verification value (Visa CVV, Mastercard CVC; the CVV2 printed on a card takes service code 000).
 *
 * @param cvk 16 bytes, the two DES keys A ‖ B
 * @param pan 12 to 19 digits
 * @param expiry four digits in the order that the issuer's CVV key is used with (this platform: YYMM)
 * @param serviceCode three digits
 * @returns three ASCII digits
 */
export function cardVerificationValue(cvk: Uint8Array, pan: string, expiry: string, serviceCode: string): string {
  if (cvk.length !== 16) throw new RangeError('a CVV key has 16 bytes');
  if (!/^\d{12,19}$/.test(pan) || !/^\d{4}$/.test(expiry) || !/^\d{3}$/.test(serviceCode)) {
    throw new RangeError('PAN of 12 to 19 digits, expiry of 4 and service code of 3 are wanted');
  }
  // PAN ‖ expiry ‖ service code, zero-filled on the right to 32 digits, as two 8-byte blocks.
  const data = Buffer.from(`${pan}${expiry}${serviceCode}`.padEnd(32, '0'), 'hex');
  const keyA = cvk.subarray(0, 8);
  const state = tdesCipher(Buffer.concat([keyA, keyA])).update(data.subarray(0, 8)); // DES under A: EDE with equal keys
  for (let i = 0; i < 8; i++) state[i] = (state[i] ?? 0) ^ (data[8 + i] ?? 0);
  const hex = tdesCipher(cvk).update(state).toString('hex');
  data.fill(0);

  // The first three decimal digits of the result; where they do not suffice, its letters less 10 (a is 0).
  const digits = hex.replace(/[a-f]/g, '');
  const letters = hex.replace(/[0-9]/g, '').replace(/[a-f]/g, (letter) => String(Number.parseInt(letter, 16) - 10));
  return (digits + letters).slice(0, 3);
}
