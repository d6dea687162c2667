import { encodeFields } from '../crypto/encode.ts';
import type { Keys } from '../keys/keys.ts';

/**
 * Bytes of the salt: new random ones for every set, so that equal PINs have different reference
 * values.
 */
export const PIN_SALT_BYTES = 16;

/** What a PIN reference value covers. */
interface PinSubject {
  merchantId: number;
  cardNo: string;
  /** ASCII digits. */
  pan: Uint8Array;
  salt: Uint8Array;
  /** ASCII digits. */
  pin: Uint8Array;
}

/**
 * The PIN reference value: HMAC-SHA-256, all 32 bytes, under the PIN verify key of that version,
 * over length-prefixed fields. After ISO 9564-5:2025 (verification by HMAC). It can check a PIN and
 * does not hold one. Whoever may use the key finds a PIN in a million tries; whoever has only the
 * database finds nothing.
 */
export async function pinReferenceValue(
  pinVerify: Keys['pinVerify'],
  keyVersion: number,
  { merchantId, cardNo, pan, salt, pin }: PinSubject,
): Promise<Buffer> {
  const message = encodeFields(['pinward/prv/v1', merchantId, cardNo, pan, salt, pin.length, pin]);
  try {
    return await pinVerify.mac(keyVersion, message);
  } finally {
    message.fill(0);
  }
}
