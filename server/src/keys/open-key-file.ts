import { createPrivateKey, createSecretKey, type KeyObject } from 'node:crypto';
import { isPair, type KeyAlgorithm, keyCheckValue, type PairAlgorithm } from '../crypto/key-check-value.ts';
import { type HeldKey, processKey } from './held-key.ts';
import { hsmOf, type KekSource, openKek } from './kek.ts';
import {
  isSealIntact,
  KeyFileError,
  type KeyRecord,
  keyIdentity,
  missingPurposes,
  readKeyFile,
  type StoredKey,
  type StoredKeyFile,
} from './key-file.ts';
import type { Hsm } from './pkcs11.ts';

export interface OpenKey extends StoredKey {
  /** In this process. Undefined: in the HSM, or destroyed. */
  key: KeyObject | undefined;
  /** The same key, or the one in the HSM. Undefined: destroyed. */
  held: HeldKey | undefined;
}

/** A key file with its keys ready for use. */
export interface OpenKeyFile {
  stored: StoredKeyFile;
  /** By version. The file's own KEK, which wraps, and the retired ones. */
  keks: Map<number, HeldKey>;
  keys: OpenKey[];
  /** The HSM that holds some of them. */
  hsm: Hsm | undefined;
}

/** What the keys of a file are opened with. */
interface Opener {
  path: string;
  fileId: string;
  kek: HeldKey;
  hsm: Hsm | undefined;
}

/**
 * Opens a key file. Each KeyFileError names the file and how to mend it, and nothing of a
 * key.
 */
export async function openKeyFile(path: string, source: KekSource): Promise<OpenKeyFile> {
  const stored = await readKeyFile(path);
  const [missing] = missingPurposes(stored);
  if (missing !== undefined)
    throw new KeyFileError(`the key file ${path} has no key for ${missing}; add it with: pinward-server keys init`);
  const kek = await openSeal(path, stored, source);
  const opener = { path, fileId: stored.id, kek, hsm: hsmOf(source) };
  const keks = new Map([[stored.kek.version, kek]]);
  for (const record of stored.retired_keks ?? []) keks.set(record.version, await openRetiredKek(opener, record));
  const keys: OpenKey[] = [];
  for (const record of stored.keys) keys.push(await openKey(opener, record));
  return { stored, keks, keys, hsm: opener.hsm };
}

/** The KEK of a key file, after it has shown that the file is as it was written. */
export async function openSeal(path: string, stored: StoredKeyFile, source: KekSource): Promise<HeldKey> {
  const kek = await openKek(path, stored, source);
  if (stored.seal !== undefined && !(await isSealIntact(stored, kek)))
    throw new KeyFileError(
      `the key file ${path} was altered: its seal is not that of its content; bring back a copy that was not edited`,
    );
  return kek;
}

async function openRetiredKek(opener: Opener, record: KeyRecord): Promise<HeldKey> {
  const { version } = record;
  const opened = await openRecord(opener, record, {
    name: `KEK version ${version}`,
    identity: keyIdentity(opener.fileId, 'kek', version),
  });
  if (!Buffer.isBuffer(opened)) return opened;
  const key = createSecretKey(opened);
  opened.fill(0);
  return processKey(key);
}

async function openKey(opener: Opener, record: StoredKey): Promise<OpenKey> {
  if (record.destroyed_at !== undefined) return { ...record, key: undefined, held: undefined };
  const { purpose, version, algorithm } = record;
  const name = `${purpose} version ${version}`;
  const opened = await openRecord(opener, record, { name, identity: keyIdentity(opener.fileId, purpose, version) });
  if (!Buffer.isBuffer(opened)) return { ...record, key: undefined, held: opened };
  if (keyCheckValue(algorithm, opened) !== record.kcv)
    throw altered(opener.path, `the check value of ${name} is not its key's`);
  const key = keyObjectOf(algorithm, opened);
  opened.fill(0);
  return { ...record, key, held: processKey(key) };
}

/** The clear bytes of a record, or the key in the HSM that it names. */
async function openRecord(
  { path, kek, hsm }: Opener,
  record: KeyRecord,
  { name, identity }: { name: string; identity: string },
): Promise<Buffer | HeldKey> {
  if (record.hsm_label !== undefined) {
    if (hsm === undefined)
      throw new KeyFileError(`${name} of the key file ${path} is in an HSM, and none is configured`);
    return hsm.held(record.hsm_label);
  }
  try {
    return await kek.open(Buffer.from(record.wrapped as string, 'base64'), identity);
  } catch (error) {
    if (hsm?.isGone(error)) throw error;
    throw altered(path, `${name} does not open`);
  }
}

function altered(path: string, what: string): KeyFileError {
  return new KeyFileError(`the key file ${path} was altered: ${what}`);
}

function keyObjectOf(algorithm: KeyAlgorithm | PairAlgorithm, bytes: Buffer): KeyObject {
  return isPair(algorithm) ? createPrivateKey({ key: bytes, format: 'der', type: 'pkcs8' }) : createSecretKey(bytes);
}

/**
 * The clear bytes of a key, to wrap or to split it. Undefined if it is in the HSM, or
 * destroyed. The caller wipes them.
 */
export function clearBytes({ key }: OpenKey): Buffer | undefined {
  if (key === undefined) return undefined;
  return key.type === 'secret' ? key.export() : key.export({ format: 'der', type: 'pkcs8' });
}
