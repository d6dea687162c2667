import { createCipheriv, createHmac } from 'node:crypto';
import { aesCmac } from './aes-cmac.ts';

export type KeyAlgorithm = 'AES-256' | 'HMAC-SHA-256' | 'TDES-2';

/**
 * Key check value in upper-case hex: enough to tell keys apart, too little to help find one.
 * AES: the first bytes of CMAC over 16 zero bytes (X9.143, annex A); TDES: of the enciphered zero block (ANSI X9.24-1);
 * HMAC: of the MAC over 16 zero bytes, since no standard names one.
 */
export function keyCheckValue(algorithm: KeyAlgorithm, key: Uint8Array, bytes = 3): string {
  return checkBytes(algorithm, key).subarray(0, bytes).toString('hex').toUpperCase();
}

function checkBytes(algorithm: KeyAlgorithm, key: Uint8Array): Buffer {
  const zeros = Buffer.alloc(16);
  switch (algorithm) {
    case 'AES-256':
      return aesCmac(key, zeros);
    case 'HMAC-SHA-256':
      return createHmac('sha256', key).update(zeros).digest();
    case 'TDES-2':
      return createCipheriv('des-ede', key, null).setAutoPadding(false).update(zeros.subarray(0, 8));
  }
}
