import { encodeFields } from '../crypto/encode.ts';
import type { Keys } from '../keys/keys.ts';

/** What a PIN reference value is over. */
export interface PinSubject {
  merchantId: number;
  cardNo: string;
  /** ASCII digits. */
  pan: Uint8Array;
  /** 16 random bytes, new for every set: equal PINs look unlike. */
  salt: Uint8Array;
  /** ASCII digits. */
  pin: Uint8Array;
}

/**
 * PIN reference value: HMAC-SHA-256, all 32 bytes, under the PIN verify key of that version. It can check a PIN and
 * holds none; whoever may *use* the key finds a PIN in a million tries, whoever has the database alone finds nothing.
 * After ISO 9564-5:2025 (verification by HMAC). The encoding is length-prefixed, and wiped.
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
