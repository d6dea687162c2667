import { createHash } from 'node:crypto';

/**
 * SHA-256 of a random secret of at least 180 bits. The platform stores and caches such a secret
 * only in this form. Nobody can guess that many bits, so it needs no slow password hash.
 */
export function secretHashOf(secret: string): Buffer {
  return createHash('sha256').update(secret, 'utf8').digest();
}
