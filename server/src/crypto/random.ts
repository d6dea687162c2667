import { randomFillSync } from 'node:crypto';

const POOL_BYTES = 4096;
const pool = Buffer.alloc(POOL_BYTES);
let used = POOL_BYTES;

/**
 * Returns `size` random bytes (1 to 64) from the system's generator. Draws them in pools of 4 KiB,
 * since drawing 16 bytes alone costs as much as all other cryptography of a PIN set.
 * Wipes from the pool the bytes that it returns.
 */
export function randomBytesPooled(size: number): Buffer {
  if (!Number.isInteger(size) || size < 1 || size > 64) throw new RangeError('size must be 1 to 64 bytes');
  if (used + size > POOL_BYTES) {
    randomFillSync(pool);
    used = 0;
  }
  const slice = pool.subarray(used, used + size);
  const bytes = Buffer.from(slice);
  slice.fill(0);
  used += size;
  return bytes;
}
