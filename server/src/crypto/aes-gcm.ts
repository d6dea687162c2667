import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto';
import { randomBytesPooled } from './random.ts';

const IV_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Seals with AES-256-GCM and a fresh random 96-bit IV (NIST SP 800-38D, 8.2.2).
 * Returns IV ‖ ciphertext ‖ tag. `identity` is authenticated but not stored: a value that was
 * moved to another row does not open.
 */
export function sealGcm(key: KeyObject, plaintext: Uint8Array, identity: string): Buffer {
  const iv = randomBytesPooled(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  cipher.setAAD(Buffer.from(identity, 'utf8'));
  const ciphertext = cipher.update(plaintext);
  cipher.final();
  return Buffer.concat([iv, ciphertext, cipher.getAuthTag()]);
}

/**
 * Opens a value that `sealGcm` sealed under the same key and identity. Throws the same error for
 * everything else.
 */
export function openGcm(key: KeyObject, sealed: Uint8Array, identity: string): Buffer {
  if (sealed.length < IV_BYTES + TAG_BYTES) throw new Error('sealed value does not open');
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(identity, 'utf8'));
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  const plaintext = decipher.update(sealed.subarray(IV_BYTES, sealed.length - TAG_BYTES));
  try {
    decipher.final();
  } catch {
    plaintext.fill(0);
    throw new Error('sealed value does not open');
  }
  return plaintext;
}
