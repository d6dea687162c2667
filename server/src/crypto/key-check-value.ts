import { createHash, createHmac, createPrivateKey, createPublicKey } from 'node:crypto';
import { aesCmac } from './cmac.ts';
import { tdesCipher } from './tdes.ts';

/** Algorithms of secret keys, and the length of their keys in bytes. */
export const KEY_BYTES = {
  'AES-128': 16,
  'AES-192': 24,
  'AES-256': 32,
  'TDES-2': 16,
  'TDES-3': 24,
  'HMAC-SHA-256': 32,
} as const;

export type KeyAlgorithm = keyof typeof KEY_BYTES;
/** Algorithms of key pairs. The bytes of such a key are the private key as PKCS#8 in DER. */
export type PairAlgorithm = 'P-256' | 'Ed25519';

const ZEROS = Buffer.alloc(16);

/**
 * Key check value in upper-case hex. It tells keys apart and is too short to help find a key.
 * It is the first `bytes` bytes of:
 * - AES: CMAC over 16 zero bytes (X9.143, annex A)
 * - TDES: the enciphered zero block (ANSI X9.24-1)
 * - HMAC: the MAC over 16 zero bytes, since no standard defines one
 * - key pairs: SHA-256 over the public key as SPKI
 */
export function keyCheckValue(algorithm: KeyAlgorithm | PairAlgorithm, key: Uint8Array, bytes = 3): string {
  if (algorithm === 'HMAC-SHA-256') return toHex(createHmac('sha256', key).update(ZEROS).digest(), bytes);
  if (isPair(algorithm)) {
    const privateKey = createPrivateKey({ key: Buffer.from(key), format: 'der', type: 'pkcs8' });
    const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
    return toHex(createHash('sha256').update(publicKey).digest(), bytes);
  }
  return algorithm.startsWith('TDES') ? tdesCheckValue(key, bytes) : aesCheckValue(key, bytes);
}

export function isPair(algorithm: KeyAlgorithm | PairAlgorithm): algorithm is PairAlgorithm {
  return algorithm === 'P-256' || algorithm === 'Ed25519';
}

/** The check value of an AES key of any length. */
export function aesCheckValue(key: Uint8Array, bytes = 3): string {
  return toHex(aesCmac(key, ZEROS), bytes);
}

/**
 * The check value of a TDES key. Takes a single DES key of 8 bytes too: TDES with two equal halves
 * is the same cipher.
 */
export function tdesCheckValue(key: Uint8Array, bytes = 3): string {
  const cipher = tdesCipher(key.length === 8 ? Buffer.concat([key, key]) : key);
  return toHex(cipher.update(ZEROS.subarray(0, 8)), bytes);
}

function toHex(value: Buffer, bytes: number): string {
  return value.subarray(0, bytes).toString('hex').toUpperCase();
}
