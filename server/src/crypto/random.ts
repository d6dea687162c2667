import { randomFillSync } from 'node:crypto';

const POOL_BYTES = 4096;
const pool = Buffer.alloc(POOL_BYTES);
let used = POOL_BYTES;

/**
 * `size` random bytes (at most 64) from the system's generator, drawn in pages of 4 KiB: a draw of 16 bytes
 * alone costs as much as the whole rest of a PIN's cryptography. Bytes are wiped from the pool as they go out.
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
