import { xorInto } from './cmac.ts';
import { tdesCipher } from './tdes.ts';

/**
 * Card verification value (Visa CVV, Mastercard CVC). The CVV2 that is printed on a card uses
 * service code 000. Throws RangeError for an input of another form.
 *
 * @param cvk 16 bytes, the two DES keys A ‖ B
 * @param pan 12 to 19 digits
 * @param expiry four digits, in the order that the issuer uses (this platform: YYMM)
 * @param serviceCode three digits
 * @returns three ASCII digits
 */
export function cardVerificationValue(cvk: Uint8Array, pan: string, expiry: string, serviceCode: string): string {
  if (cvk.length !== 16) throw new RangeError('a CVV key has 16 bytes');
  if (!/^\d{12,19}$/.test(pan) || !/^\d{4}$/.test(expiry) || !/^\d{3}$/.test(serviceCode)) {
    throw new RangeError('a CVV takes a PAN of 12 to 19 digits, an expiry of 4 and a service code of 3');
  }
  // PAN ‖ expiry ‖ service code, filled with zeros on the right to 32 digits: two 8-byte blocks.
  const data = Buffer.from(`${pan}${expiry}${serviceCode}`.padEnd(32, '0'), 'hex');
  const keyA = cvk.subarray(0, 8);
  // EDE with two equal keys is single DES under A.
  const state = tdesCipher(Buffer.concat([keyA, keyA])).update(data.subarray(0, 8));
  xorInto(state, data.subarray(8));
  const hex = tdesCipher(cvk).update(state).toString('hex');
  data.fill(0);

  // The first three decimal digits of the result. If there are fewer, its letters follow, each
  // less 10 (a is 0).
  const digits = hex.replace(/[a-f]/g, '');
  const letters = hex.replace(/[0-9]/g, '').replace(/[a-f]/g, (letter) => String(Number.parseInt(letter, 16) - 10));
  return (digits + letters).slice(0, 3);
}
