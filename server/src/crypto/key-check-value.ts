import { createHash, createHmac, createPrivateKey, createPublicKey } from 'node:crypto';
import { aesCmac } from './cmac.ts';
import { tdesCipher } from './tdes.ts';

/** Algorithms of secret keys, with the length in which the platform takes them. */
export const KEY_BYTES = { 'AES-128': 16, 'AES-192': 24, 'AES-256': 32, 'TDES-2': 16, 'TDES-3': 24, 'HMAC-SHA-256': 32 } as const;

export type KeyAlgorithm = keyof typeof KEY_BYTES;
/** Of key pairs; the private key travels as PKCS#8 in DER. */
export type PairAlgorithm = 'P-256' | 'Ed25519';

const MOST_ZEROS = Buffer.alloc(16);

/**
 * Key check value in upper-case hex: enough to tell keys apart, too little to help find one.
 * AES: the first bytes of CMAC over 16 zero bytes (X9.143, annex A); TDES: of the enciphered zero block (ANSI X9.24-1);
 * HMAC: of the MAC over 16 zero bytes, since no standard names one; key pairs: of SHA-256 over the public key's SPKI.
 */
export function keyCheckValue(algorithm: KeyAlgorithm | PairAlgorithm, key: Uint8Array, bytes = 3): string {
  if (algorithm === 'HMAC-SHA-256') return shown(createHmac('sha256', key).update(MOST_ZEROS).digest(), bytes);
  if (isPair(algorithm)) {
    const secret = createPrivateKey({ key: Buffer.from(key), format: 'der', type: 'pkcs8' });
    return shown(
      createHash('sha256')
        .update(createPublicKey(secret).export({ format: 'der', type: 'spki' }))
        .digest(),
      bytes,
    );
  }
  return algorithm.startsWith('TDES') ? tdesCheckValue(key, bytes) : aesCheckValue(key, bytes);
}

export function isPair(algorithm: KeyAlgorithm | PairAlgorithm): algorithm is PairAlgorithm {
  return algorithm === 'P-256' || algorithm === 'Ed25519';
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
