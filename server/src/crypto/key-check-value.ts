import { createHmac } from 'node:crypto';
import { aesCmac } from './cmac.ts';
import { tdesCipher } from './tdes.ts';

/** Key algorithms, with the length in which the platform takes them. */
export const KEY_BYTES = { 'AES-128': 16, 'AES-192': 24, 'AES-256': 32, 'TDES-2': 16, 'TDES-3': 24, 'HMAC-SHA-256': 32 } as const;

export type KeyAlgorithm = keyof typeof KEY_BYTES;

const MOST_ZEROS = Buffer.alloc(16);

/**
 * Key check value in upper-case hex: enough to tell keys apart, too little to help find one.
 * AES: the first bytes of CMAC over 16 zero bytes (X9.143, annex A); TDES: of the enciphered zero block (ANSI X9.24-1);
 * HMAC: of the MAC over 16 zero bytes, since no standard names one.
 */
export function keyCheckValue(algorithm: KeyAlgorithm, key: Uint8Array, bytes = 3): string {
  if (algorithm === 'HMAC-SHA-256') return shown(createHmac('sha256', key).update(MOST_ZEROS).digest(), bytes);
  return algorithm.startsWith('TDES') ? tdesCheckValue(key, bytes) : aesCheckValue(key, bytes);
}

/** Of an AES key of any length. */
export function aesCheckValue(key: Uint8Array, bytes = 3): string {
  return shown(aesCmac(key, MOST_ZEROS), bytes);
}

/** Of a TDES key; a single DES key of 8 bytes counts as one with equal halves, which is the same cipher. */
export function tdesCheckValue(key: Uint8Array, bytes = 3): string {
  const cipher = tdesCipher(key.length === 8 ? Buffer.concat([key, key]) : key);
  return shown(cipher.update(MOST_ZEROS.subarray(0, 8)), bytes);
}

function shown(value: Buffer, bytes: number): string {
  return value.subarray(0, bytes).toString('hex').toUpperCase();
}
