import { type Cipher, createCipheriv, createDecipheriv, type Decipher, type KeyObject } from 'node:crypto';

/*
 * TDEA in EDE form (ISO/IEC 18033-3, 4.2). A key has 16 bytes K1 ‖ K2, with K3 = K1, or 24 bytes.
 * ECB without an IV, CBC with one. No padding. Parity bits are not checked and halves may be equal:
 * such keys are in use, and the examples of the card networks have them.
 */

export function tdesCipher(key: Uint8Array | KeyObject, iv: Uint8Array | null = null): Cipher {
  return createCipheriv(nameOf(key, iv), key, iv).setAutoPadding(false);
}

export function tdesDecipher(key: Uint8Array | KeyObject, iv: Uint8Array | null = null): Decipher {
  return createDecipheriv(nameOf(key, iv), key, iv).setAutoPadding(false);
}

function nameOf(key: Uint8Array | KeyObject, iv: Uint8Array | null): string {
  const bytes = key instanceof Uint8Array ? key.length : key.symmetricKeySize;
  if (bytes !== 16 && bytes !== 24) throw new RangeError('a TDES key has 16 or 24 bytes');
  return `des-ede${bytes === 24 ? '3' : ''}-${iv === null ? 'ecb' : 'cbc'}`;
}
