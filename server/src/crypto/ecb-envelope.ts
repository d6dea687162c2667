import { createCipheriv, createDecipheriv, type Decipher, type KeyObject } from 'node:crypto';

/*
 * The API's own envelope for a PIN or a CVV: Base64(AES-ECB-PKCS5(apiSecret bytes, ASCII digits)),
 * one block, 24 characters. The API chose ECB, not this platform (docs/adr/0004). The platform
 * uses it for transport inside TLS and never for storage.
 */

const BLOCK_BYTES = 16;
const TEXT_LENGTH = 24;
/** Replaces a text of another length, so that it takes the same path as a good one. */
const STAND_IN = Buffer.alloc(BLOCK_BYTES).toString('base64');

/**
 * One decipher for each key: ECB keeps no state between blocks, and making a decipher costs three
 * times as much as deciphering a block.
 */
const deciphers = new WeakMap<KeyObject, Decipher>();

function decipherOf(key: KeyObject): Decipher {
  let decipher = deciphers.get(key);
  if (decipher === undefined) {
    decipher = createDecipheriv(cipherOf(key), key, null).setAutoPadding(false);
    deciphers.set(key, decipher);
  }
  return decipher;
}

function cipherOf(key: KeyObject): string {
  return `aes-${(key.symmetricKeySize ?? 0) * 8}-ecb`;
}

/**
 * Opens the envelope to its clear block of 16 bytes, padding included. The caller judges the block
 * and then wipes it. Never throws: a malformed text also gives a block, and a `formFault` of 1.
 */
export function openEcb(key: KeyObject, text: string): { block: Buffer; formFault: 0 | 1 } {
  const candidate = text.length === TEXT_LENGTH ? text : STAND_IN;
  const bytes = Buffer.alloc(BLOCK_BYTES);
  const written = bytes.write(candidate, 'base64');
  // Node decodes leniently. Only the spelling that an encoder produces is accepted.
  const canonical = written === BLOCK_BYTES && bytes.toString('base64') === text;
  return { block: decipherOf(key).update(bytes), formFault: canonical ? 0 : 1 };
}

/**
 * Seals digits or a longer text. A merchant's server does this with a PIN, and the platform with
 * the answer of private info.
 */
export function sealEcb(key: KeyObject, clear: string | Uint8Array): string {
  const cipher = createCipheriv(cipherOf(key), key, null);
  const bytes = typeof clear === 'string' ? Buffer.from(clear, 'latin1') : clear;
  return Buffer.concat([cipher.update(bytes), cipher.final()]).toString('base64');
}
