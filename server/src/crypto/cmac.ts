import { type Cipher, createCipheriv } from 'node:crypto';
import { tdesCipher } from './tdes.ts';

/**
 * The low bits of the field's polynomial, by block length in bytes (SP 800-38B, 5.3):
 * x^128 + x^7 + x^2 + x + 1 and x^64 + x^4 + x^3 + x + 1.
 */
const CONSTANTS = { 16: 0x87, 8: 0x1b } as const;

/**
 * AES-CMAC (NIST SP 800-38B, RFC 4493). Returns 16 bytes over a message of any length.
 * The key has 16, 24 or 32 bytes.
 */
export function aesCmac(key: Uint8Array, message: Uint8Array): Buffer {
  return cmac(createCipheriv(`aes-${key.length * 8}-ecb`, key, null), 16, message);
}

/**
 * TDES-CMAC (NIST SP 800-38B). Returns 8 bytes over a message of any length.
 * The key has 16 or 24 bytes.
 */
export function tdesCmac(key: Uint8Array, message: Uint8Array): Buffer {
  return cmac(tdesCipher(key), 8, message);
}

function cmac(cipher: Cipher, blockBytes: 8 | 16, message: Uint8Array): Buffer {
  cipher.setAutoPadding(false);
  const k1 = double(cipher.update(Buffer.alloc(blockBytes)));
  const whole = message.length > 0 && message.length % blockBytes === 0;
  const lastStart = whole ? message.length - blockBytes : message.length - (message.length % blockBytes);
  const last = Buffer.alloc(blockBytes);
  last.set(message.subarray(lastStart));
  if (!whole) last[message.length - lastStart] = 0x80;
  xorInto(last, whole ? k1 : double(k1));

  let state = Buffer.alloc(blockBytes);
  for (let at = 0; at < lastStart; at += blockBytes) {
    xorInto(state, message.subarray(at, at + blockBytes));
    state = cipher.update(state);
  }
  xorInto(state, last);
  return cipher.update(state);
}

/** Multiplies by x in GF(2^64) or GF(2^128). */
function double(block: Buffer): Buffer {
  const size = block.length as 8 | 16;
  const doubled = Buffer.alloc(size);
  for (let i = 0; i < size; i++) doubled[i] = ((block[i] ?? 0) << 1) | ((block[i + 1] ?? 0) >> 7);
  if ((block[0] ?? 0) & 0x80) doubled[size - 1] = (doubled[size - 1] ?? 0) ^ CONSTANTS[size];
  return doubled;
}

/** `target ^= other`, over the length of `other`. */
export function xorInto(target: Uint8Array, other: Uint8Array): void {
  for (let i = 0; i < other.length; i++) target[i] = (target[i] ?? 0) ^ (other[i] ?? 0);
}
