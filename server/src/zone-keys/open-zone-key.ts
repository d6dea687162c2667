import { createSecretKey } from 'node:crypto';
import { ApiError } from '../api-error.ts';
import type { KeyAlgorithm } from '../crypto/key-check-value.ts';
import type { PinKey } from '../crypto/pin-block.ts';
import type { Cache, Cached } from '../db/cache.ts';
import { findIssuerKey, issuerKeyIdentity } from './store.ts';

/**
 * Zone keys that were unwrapped, by issuer, time of creation and label: many PIN blocks arrive
 * under few keys.
 */
const ZONE_KEYS: Cached<PinKey> = {
  async load({ db, keys }, name) {
    const [issuerId, , label] = name.split(' ') as [string, string, string];
    const key = { issuerId: Number(issuerId), kind: 'zpk' as const, label };
    const stored = await findIssuerKey(db, key);
    if (stored === undefined || stored.keyWrapped === null) return undefined;
    const bytes = await keys.kek.unwrap(stored.keyWrapped, issuerKeyIdentity(key));
    const opened = { algorithm: stored.algorithm as KeyAlgorithm, key: createSecretKey(bytes) };
    bytes.fill(0);
    return opened;
  },
};

/**
 * A zone key, ready for use. `createdAtMs` is that of the stored key, as the caller has just read
 * it: so a key that was destroyed, or replaced by another of the same label, is not found in the
 * cache. Errors: 5002.
 */
export async function openZoneKey(
  cache: Cache,
  { issuerId, label, createdAtMs }: { issuerId: number; label: string; createdAtMs: number },
): Promise<PinKey> {
  const name = `${issuerId} ${createdAtMs} ${label}`; // labels have no blanks
  const key = await cache.load(ZONE_KEYS, name);
  if (key === undefined) throw new ApiError('zoneKeyUnknown');
  return key;
}
