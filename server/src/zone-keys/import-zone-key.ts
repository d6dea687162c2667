import { ApiError } from '../api-error.ts';
import type { IssuerActor, IssuerScope } from '../audit/actor.ts';
import { auditIssuer } from '../audit/append.ts';
import { KeyBlockError, unwrapKeyBlock } from '../crypto/key-block.ts';
import { KEY_BYTES, type KeyAlgorithm, keyCheckValue } from '../crypto/key-check-value.ts';
import { isPublishedKey } from '../crypto/published-keys.ts';
import { isDuplicate } from '../db/errors.ts';
import type { Services } from '../services.ts';
import { findIssuerKey, insertIssuerKey, issuerKeyIdentity } from './store.ts';

/** The key usage of PIN encryption (X9.143, table of key usages). */
const PIN_ENCRYPTION = 'P0';
/**
 * Modes of use that let a key decipher: decipher only, both, no restriction (X9.143, table of modes
 * of use).
 */
const MAY_DECIPHER = ['D', 'B', 'N'];

interface ZoneKey {
  key: Buffer;
  algorithm: KeyAlgorithm;
}

/**
 * Takes a zone PIN key in a key block under one of the issuer's key-block protection keys. Errors:
 * 5002 for an unknown protection key, 5003 for whatever is wrong with the block or for a published
 * key in production, 5004 for a label that is or was in use.
 */
export async function importZoneKey(
  services: Services,
  { issuerId }: IssuerScope,
  request: { label: string; kbpk: string; keyBlock: string },
  by: IssuerActor,
): Promise<{ algorithm: string; kcv: string }> {
  const { db, keys, clock } = services;
  const { label } = request;
  const { key, algorithm } = await openKeyBlock(services, issuerId, request, by);
  try {
    const kcv = keyCheckValue(algorithm, key);
    const keyWrapped = await keys.kek.wrap(key, issuerKeyIdentity({ issuerId, kind: 'zpk', label }));
    const now = clock();
    await db.transaction(async (tx) => {
      await insertIssuerKey(tx, issuerId, { kind: 'zpk', label, algorithm, kcv, keyWrapped, createdAtMs: now });
      const details = { label, algorithm, kcv, kbpk: request.kbpk };
      await auditIssuer(tx, issuerId, { atMs: now, action: 'zone_key_imported', by, details });
    });
    return { algorithm, kcv };
  } catch (error) {
    throw isDuplicate(error) ? new ApiError('labelTaken') : error;
  } finally {
    key.fill(0);
  }
}

async function openKeyBlock(
  { config, db, keys, log }: Services,
  issuerId: number,
  request: { kbpk: string; keyBlock: string },
  by: IssuerActor,
): Promise<ZoneKey> {
  const name = { issuerId, kind: 'kbpk', label: request.kbpk } as const;
  const stored = await findIssuerKey(db, name);
  if (stored === undefined || stored.keyWrapped === null) throw new ApiError('zoneKeyUnknown');
  const kbpk = await keys.kek.unwrap(stored.keyWrapped, issuerKeyIdentity(name));
  try {
    const zoneKey = readZoneKey(kbpk, stored.algorithm, request.keyBlock);
    if (config.mode === 'production' && isPublishedKey(zoneKey.key)) {
      zoneKey.key.fill(0);
      throw new KeyBlockError('published key');
    }
    return zoneKey;
  } catch (error) {
    if (!(error instanceof KeyBlockError)) throw error;
    log.warn({ issuer: by.issuerNo, requestId: by.requestId, fault: error.fault }, 'a key block was refused');
    throw new ApiError('keyBlockRefused');
  } finally {
    kbpk.fill(0);
  }
}

/**
 * Purpose, algorithm and length of the key are judged by the block's header, which the MAC
 * authenticates.
 */
function readZoneKey(kbpk: Buffer, kbpkAlgorithm: string, keyBlock: string): ZoneKey {
  // 16 and 24 bytes may be a TDES or an AES key: each opens only blocks of its own version.
  const version = kbpkAlgorithm.startsWith('TDES') ? 'B' : 'D';
  if (!keyBlock.startsWith(version)) throw new KeyBlockError('version not supported');
  const { header, key } = unwrapKeyBlock(kbpk, keyBlock);
  const cipher = { T: 'TDES-', A: 'AES-' }[header.algorithm];
  const algorithm = (Object.keys(KEY_BYTES) as KeyAlgorithm[]).find(
    (name) => cipher !== undefined && name.startsWith(cipher) && KEY_BYTES[name] === key.length,
  );
  const isPinKey = header.usage === PIN_ENCRYPTION && MAY_DECIPHER.includes(header.modeOfUse);
  if (isPinKey && algorithm !== undefined) return { key, algorithm };
  key.fill(0);
  throw new KeyBlockError(isPinKey ? 'key length' : 'header');
}
