import { createCipheriv } from 'node:crypto';

const BLOCK_BYTES = 16;

/** AES-CMAC (NIST SP 800-38B, RFC 4493): 16 bytes over a message of any length, under a key of 16, 24 or 32 bytes. */
export function aesCmac(key: Uint8Array, message: Uint8Array): Buffer {
  const cipher = createCipheriv(`aes-${key.length * 8}-ecb`, key, null).setAutoPadding(false);
  const k1 = double(cipher.update(Buffer.alloc(BLOCK_BYTES)));
  const whole = message.length > 0 && message.length % BLOCK_BYTES === 0;
  const lastStart = whole ? message.length - BLOCK_BYTES : message.length - (message.length % BLOCK_BYTES);
  const last = Buffer.alloc(BLOCK_BYTES);
  last.set(message.subarray(lastStart));
  if (!whole) last[message.length - lastStart] = 0x80;
  xorInto(last, whole ? k1 : double(k1));

  let state = Buffer.alloc(BLOCK_BYTES);
  for (let at = 0; at < lastStart; at += BLOCK_BYTES) {
    xorInto(state, message.subarray(at, at + BLOCK_BYTES));
    state = cipher.update(state);
  }
  xorInto(state, last);
  return cipher.update(state);
}

/** Multiplication by x in GF(2^128) with the polynomial of RFC 4493 (constant 0x87). */
function double(block: Buffer): Buffer {
  const doubled = Buffer.alloc(BLOCK_BYTES);
  for (let i = 0; i < BLOCK_BYTES; i++) doubled[i] = ((block[i] ?? 0) << 1) | ((block[i + 1] ?? 0) >> 7);
  if ((block[0] ?? 0) & 0x80) doubled[BLOCK_BYTES - 1] = (doubled[BLOCK_BYTES - 1] ?? 0) ^ 0x87;
  return doubled;
}

function xorInto(target: Buffer, other: Uint8Array): void {
  for (let i = 0; i < other.length; i++) target[i] = (target[i] ?? 0) ^ (other[i] ?? 0);
}
