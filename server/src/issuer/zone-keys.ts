import { createSecretKey } from 'node:crypto';
import { auditIssuer, detailsOf } from '../audit/append.ts';
import { KeyBlockError, unwrapKeyBlock } from '../crypto/key-block.ts';
import { KEY_BYTES, type KeyAlgorithm, keyCheckValue } from '../crypto/key-check-value.ts';
import type { PinKey } from '../crypto/pin-block.ts';
import { type Database, isDuplicate } from '../db/database.ts';
import { ApiError } from '../errors.ts';
import type { Keys } from '../keys/keys.ts';
import type { Services } from '../services.ts';
import type { IssuerOrigin } from './authenticate.ts';
import { destroyIssuerKey, findIssuerKey, type Issuer, insertIssuerKey, issuerKeyIdentity } from './store.ts';

/** Zone keys that were opened: PIN blocks come in many under few of them. */
export interface ZoneKeys {
  /** `createdAtMs` is the stored key's, as the caller has just read it: what is kept of another one does not count. */
  open(issuerId: number, label: string, createdAtMs: number): Promise<PinKey>;
}

const MOST_OPEN = 1_000;

export function createZoneKeys(db: Database, keys: Keys): ZoneKeys {
  const open = new Map<string, PinKey>();
  return {
    async open(issuerId, label, createdAtMs) {
      const name = `${issuerId} ${createdAtMs} ${label}`;
      const known = open.get(name);
      if (known !== undefined) return known;
      const stored = await findIssuerKey(db, issuerId, 'zpk', label);
      if (stored === undefined || stored.keyWrapped === null) throw new ApiError('zoneKeyUnknown');
      const bytes = await keys.kek.unwrap(stored.keyWrapped, issuerKeyIdentity(issuerId, 'zpk', label));
      const key = { algorithm: stored.algorithm as KeyAlgorithm, key: createSecretKey(bytes) };
      bytes.fill(0);
      if (open.size >= MOST_OPEN) open.clear();
      open.set(name, key);
      return key;
    },
  };
}

/** Key usage of PIN encryption (X9.143, table of key usages). */
const PIN_ENCRYPTION = 'P0';
/** Modes of use under which a key may decipher: decipher only, both, no restriction. */
const MAY_DECIPHER = ['D', 'B', 'N'];

/**
 * Takes a zone PIN key in a key block under one of the issuer's key-block protection keys. Errors: 5002 for a protection key
 * that is not there, 5003 for whatever is wrong with the block, 5004 for a label that is or was in use.
 */
export async function importZoneKey(
  { db, keys, clock, log }: Services,
  { issuerId }: Issuer,
  request: { label: string; kbpk: string; keyBlock: string },
  origin: IssuerOrigin,
): Promise<{ algorithm: string; kcv: string }> {
  const { label } = request;
  const stored = await findIssuerKey(db, issuerId, 'kbpk', request.kbpk);
  if (stored === undefined || stored.keyWrapped === null) throw new ApiError('zoneKeyUnknown');
  const kbpk = await keys.kek.unwrap(stored.keyWrapped, issuerKeyIdentity(issuerId, 'kbpk', request.kbpk));
  let key: Buffer;
  let algorithm: KeyAlgorithm;
  try {
    ({ key, algorithm } = openZoneKey(kbpk, stored.algorithm, request.keyBlock));
  } catch (error) {
    if (!(error instanceof KeyBlockError)) throw error;
    log.warn({ issuer: origin.issuerNo, requestId: origin.requestId, fault: error.fault }, 'a key block was refused');
    throw new ApiError('keyBlockRefused');
  } finally {
    kbpk.fill(0);
  }
  try {
    const kcv = keyCheckValue(algorithm, key);
    const keyWrapped = await keys.kek.wrap(key, issuerKeyIdentity(issuerId, 'zpk', label));
    const now = clock();
    await db.transaction(async (tx) => {
      await insertIssuerKey(tx, issuerId, { kind: 'zpk', label, algorithm, kcv, keyWrapped, createdAtMs: now });
      await auditIssuer(tx, issuerId, now, 'zone_key_imported', detailsOf(origin, { label, algorithm, kcv, kbpk: request.kbpk }));
    });
    return { algorithm, kcv };
  } catch (error) {
    throw isDuplicate(error) ? new ApiError('labelTaken') : error;
  } finally {
    key.fill(0);
  }
}

/** A zone key's purpose, algorithm and length are judged by the block's authenticated header. */
function openZoneKey(kbpk: Buffer, kbpkAlgorithm: string, keyBlock: string): { key: Buffer; algorithm: KeyAlgorithm } {
  // 16 and 24 bytes are both a TDES and an AES key: each opens its own version alone.
  if (!keyBlock.startsWith(kbpkAlgorithm.startsWith('TDES') ? 'B' : 'D')) throw new KeyBlockError('version not supported');
  const { header, key } = unwrapKeyBlock(kbpk, keyBlock);
  const kind = { T: 'TDES-', A: 'AES-' }[header.algorithm];
  const algorithm = (Object.keys(KEY_BYTES) as KeyAlgorithm[]).find(
    (name) => kind !== undefined && name.startsWith(kind) && KEY_BYTES[name] === key.length,
  );
  const fits = header.usage === PIN_ENCRYPTION && MAY_DECIPHER.includes(header.modeOfUse);
  if (fits && algorithm !== undefined) return { key, algorithm };
  key.fill(0);
  throw new KeyBlockError(fits ? 'key length' : 'header');
}

/** Ends a zone key for good; its label stays taken. Errors: 5002. */
export async function destroyZoneKey({ db, clock }: Services, { issuerId }: Issuer, label: string, origin: IssuerOrigin): Promise<void> {
  const now = clock();
  await db.transaction(async (tx) => {
    if (!(await destroyIssuerKey(tx, issuerId, 'zpk', label, now))) throw new ApiError('zoneKeyUnknown');
    await auditIssuer(tx, issuerId, now, 'zone_key_destroyed', detailsOf(origin, { label }));
  });
}
