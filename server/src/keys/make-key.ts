import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { isPair, KEY_BYTES, type KeyAlgorithm, keyCheckValue, type PairAlgorithm } from '../crypto/key-check-value.ts';
import type { HeldKey } from './held-key.ts';
import { hsmOf, type KekSource, newHsmLabel } from './kek.ts';
import { keyIdentity, PURPOSES, type Purpose, type StoredKey, type StoredKeyFile } from './key-file.ts';
import type { OpenKeyFile } from './open-key-file.ts';
import type { Hsm } from './pkcs11.ts';

/** What new keys of a file are made with. */
interface KeyMaker {
  file: StoredKeyFile;
  kek: HeldKey;
  hsm: Hsm | undefined;
}

export function keyMakerOf(file: OpenKeyFile, source: KekSource): KeyMaker {
  return { file: file.stored, kek: file.keks.get(file.stored.kek.version) as HeldKey, hsm: hsmOf(source) };
}

interface NewKey {
  now: Date;
  /** `now` if absent. */
  activeFrom?: Date;
  /** The clear key, which the caller wipes. Random if absent. */
  bytes?: Buffer | undefined;
}

/**
 * Makes the next version of a purpose's key, wrapped under the KEK. With an HSM the PIN
 * verify key is made in the HSM, unless `bytes` are given. The caller adds the record to
 * the file.
 */
export async function makeKey(
  { file, kek, hsm }: KeyMaker,
  purpose: Purpose,
  { now, activeFrom = now, bytes }: NewKey,
): Promise<StoredKey> {
  const algorithm = PURPOSES[purpose];
  const versions = file.keys.filter((key) => key.purpose === purpose).map((key) => key.version);
  const version = 1 + Math.max(0, ...versions);
  const record = {
    purpose,
    version,
    algorithm,
    created_at: now.toISOString(),
    active_from: activeFrom.toISOString(),
  };
  if (purpose === 'pin-verify' && hsm !== undefined && bytes === undefined) {
    const label = newHsmLabel(hsm, purpose, version, file.id);
    return { ...record, kcv: await hsm.makeKey(label), hsm_label: label };
  }
  const clear = bytes ?? randomKey(algorithm);
  try {
    const wrapped = await kek.seal(clear, keyIdentity(file.id, purpose, version));
    return { ...record, kcv: keyCheckValue(algorithm, clear), wrapped: wrapped.toString('base64') };
  } finally {
    if (bytes === undefined) clear.fill(0);
  }
}

/** Key pairs as PKCS#8 in DER. */
function randomKey(algorithm: KeyAlgorithm | PairAlgorithm): Buffer {
  if (!isPair(algorithm)) return randomBytes(KEY_BYTES[algorithm]);
  const { privateKey } =
    algorithm === 'P-256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519');
  return privateKey.export({ format: 'der', type: 'pkcs8' });
}
