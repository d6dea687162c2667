import { createCipheriv, createDecipheriv, type Decipher, type KeyObject } from 'node:crypto';

/*
 * The API's own envelope for a PIN or a CVV: Base64(AES-ECB-PKCS5(apiSecret bytes, ASCII digits)), one block, 24 characters.
 * ECB is the API's choice, not ours (docs/adr/0004): it is a form of transport inside TLS and never one of storage.
 */

const BLOCK_BYTES = 16;
const TEXT_LENGTH = 24;
/** Stands in for a text that is no canonical Base64 of one block, so that it takes the same way as one that is. */
const STAND_IN = Buffer.alloc(BLOCK_BYTES).toString('base64');

/** ECB keeps no state between blocks, so one decipher serves a key for ever; making one costs three times the block. */
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
 * Opens the envelope to its clear block of 16 bytes, padding included, which the caller judges and then wipes.
 * Never throws: a text of another form gives a block all the same, and a `formFault` of 1.
 */
export function openEcb(key: KeyObject, text: string): { block: Buffer; formFault: 0 | 1 } {
  const candidate = text.length === TEXT_LENGTH ? text : STAND_IN;
  const bytes = Buffer.alloc(BLOCK_BYTES);
  const written = bytes.write(candidate, 'base64');
  // Node decodes leniently; only the one spelling that an encoder gives counts.
  const canonical = written === BLOCK_BYTES && bytes.toString('base64') === text;
  return { block: decipherOf(key).update(bytes), formFault: canonical ? 0 : 1 };
}

/** Seals digits, or a longer text: what a merchant's server does with a PIN, and this platform with the answer of private info. */
export function sealEcb(key: KeyObject, clear: string | Uint8Array): string {
  const cipher = createCipheriv(cipherOf(key), key, null);
  const bytes = typeof clear === 'string' ? Buffer.from(clear, 'latin1') : clear;
  return Buffer.concat([cipher.update(bytes), cipher.final()]).toString('base64');
}

/**
 * Judges whether a clear block holds exactly `count` ASCII digits and the PKCS#5 padding that belongs to them.
 * Reads every byte whatever it finds, and gives 0 for a good block: an answer or a time that told a wrong padding
 * from a wrong digit would let a stranger with ciphertexts find what is inside (a padding oracle).
 */
export function judgeDigits(block: ArrayLike<number>, count: number): number {
  const padding = BLOCK_BYTES - count;
  let fault = 0;
  for (let i = 0; i < count; i++) {
    const byte = block[i] as number;
    fault |= ((byte - 0x30) | (0x39 - byte)) >>> 31; // the sign bit of either shows a byte outside 0..9
  }
  for (let i = count; i < BLOCK_BYTES; i++) fault |= (block[i] as number) ^ padding;
  return fault;
}
