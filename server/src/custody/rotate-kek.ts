import type { HeldKey } from '../keys/held-key.ts';
import { kekBytes, makeKek, type SoftwareKek } from '../keys/kek.ts';
import { type KeyRecord, keyIdentity } from '../keys/key-file.ts';
import { clearBytes, type OpenKeyFile } from '../keys/open-key-file.ts';
import { OperatorError } from '../operator-error.ts';
import { changeKeyFile, type KeyPlace } from './change-key-file.ts';

/**
 * Replaces the KEK by the one that `place.source` names; in an HSM a new one is made. The
 * file is sealed with `old`, or with a KEK in the same HSM if `old` is undefined. Every key
 * in the file is wrapped under the new KEK. The old KEK stays in the file, because values
 * in the database are still wrapped under it until `rewrap`.
 */
export async function rotateKek(
  place: KeyPlace,
  old: SoftwareKek | undefined,
): Promise<{ version: number; kcv: string }> {
  const { source, now } = place;
  if (old === undefined && source.kind !== 'hsm')
    throw new OperatorError(
      'set the new key-encryption key as usual, and the one in use as PINWARD_OLD_KEK, _FILE or _PASSPHRASE',
    );
  return changeKeyFile({ ...place, source: old ?? source }, async ({ file, record }) => {
    const { stored } = file;
    const next = await makeKek(source, stored.kek.version + 1, stored.id);
    const { version, kcv } = next.stored;
    if (kcv === stored.kek.kcv) throw new OperatorError('that is the key-encryption key in use');
    const retired = await rewrapRetiredKeks(file, next.held);
    retired.push(await retireKek(file, old, next.held, new Date(now())));
    await rewrapKeys(file, next.held);
    stored.kek = next.stored;
    file.keks.set(version, next.held);
    stored.retired_keks = retired;
    await record('key_rotated', { purpose: 'kek', version, kcv });
    return next.stored;
  });
}

/** The KEKs that were retired before, under the next KEK. Those in the HSM stay as they are. */
async function rewrapRetiredKeks({ stored, keks }: OpenKeyFile, next: HeldKey): Promise<KeyRecord[]> {
  const kek = keks.get(stored.kek.version) as HeldKey;
  const retired: KeyRecord[] = [];
  for (const record of stored.retired_keks ?? []) {
    if (record.wrapped === undefined) retired.push(record);
    else {
      const identity = keyIdentity(stored.id, 'kek', record.version);
      const bytes = await kek.open(Buffer.from(record.wrapped, 'base64'), identity);
      retired.push({ ...record, wrapped: await sealAndWipe(next, bytes, identity) });
    }
  }
  return retired;
}

/** The record of the KEK in use as a retired one. */
async function retireKek(
  { stored }: OpenKeyFile,
  old: SoftwareKek | undefined,
  next: HeldKey,
  now: Date,
): Promise<KeyRecord> {
  const { version, kcv, scrypt, hsm_label } = stored.kek;
  const record = { version, kcv, created_at: now.toISOString() };
  if (hsm_label !== undefined) return { ...record, hsm_label };
  const bytes = Buffer.from(kekBytes(old as SoftwareKek, scrypt)); // a copy: the source's own bytes must stay
  return { ...record, wrapped: await sealAndWipe(next, bytes, keyIdentity(stored.id, 'kek', version)) };
}

async function rewrapKeys({ stored, keys }: OpenKeyFile, next: HeldKey): Promise<void> {
  for (const key of keys) {
    const bytes = clearBytes(key);
    const entry = stored.keys.find((one) => one.purpose === key.purpose && one.version === key.version);
    if (bytes !== undefined && entry !== undefined)
      entry.wrapped = await sealAndWipe(next, bytes, keyIdentity(stored.id, key.purpose, key.version));
  }
}

/** Base64 of the sealed bytes. */
async function sealAndWipe(kek: HeldKey, bytes: Buffer, identity: string): Promise<string> {
  try {
    return (await kek.seal(bytes, identity)).toString('base64');
  } finally {
    bytes.fill(0);
  }
}
