import { createPrivateKey, createSecretKey, generateKeyPairSync, type KeyObject, randomBytes, randomUUID, scryptSync } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isPair, KEY_BYTES, type KeyAlgorithm, keyCheckValue, type PairAlgorithm } from '../crypto/key-check-value.ts';
import type { Secret } from '../secret.ts';
import { type HeldKey, processKey } from './held-key.ts';
import type { Hsm } from './pkcs11.ts';

/** What each key is for; one purpose a key. */
export const PURPOSES = {
  'pin-verify': 'HMAC-SHA-256',
  'pan-wrap': 'AES-256',
  'pan-fingerprint': 'HMAC-SHA-256',
  'access-token': 'HMAC-SHA-256',
  cvv: 'TDES-2',
  'audit-head': 'Ed25519',
  jwe: 'P-256',
} as const satisfies Record<string, KeyAlgorithm | PairAlgorithm>;

export type Purpose = keyof typeof PURPOSES;

/** The order in which a CVV key takes the expiry; a property of the key, since issuers differ. */
export type ExpiryOrder = 'YYMM' | 'MMYY';

/** Where the key-encryption key (KEK) is: 32 bytes as they are, a passphrase to be stretched, or an HSM. */
export type KekSource =
  | { kind: 'key'; key: Secret<Buffer> }
  | { kind: 'passphrase'; passphrase: Secret<string> }
  | { kind: 'hsm'; hsm: Hsm };

interface KeyRecord {
  version: number;
  kcv: string;
  created_at: string;
  /** Base64 of AES-256-GCM under the KEK, bound to file, purpose and version. Absent: in the HSM, or destroyed. */
  wrapped?: string;
  hsm_label?: string;
}

export interface StoredKey extends KeyRecord {
  purpose: Purpose;
  algorithm: KeyAlgorithm | PairAlgorithm;
  /** Until then the key is pending: every process gets to know it before any uses it. */
  active_from: string;
  destroyed_at?: string;
  expiry_order?: ExpiryOrder;
}

export interface StoredKeyFile {
  format: 'pinward-keys-1';
  id: string;
  kek: { version: number; kcv: string; scrypt?: { salt: string; cost: number }; hsm_label?: string };
  /** Earlier KEKs, which what they wrapped still needs, wrapped under the present one or in the HSM. */
  retired_keks?: KeyRecord[];
  keys: StoredKey[];
}

export interface OpenKey extends StoredKey {
  /** In this process. Undefined: in the HSM, or destroyed. */
  key: KeyObject | undefined;
  /** For what an HSM may hold. */
  held: HeldKey | undefined;
}

/** A key file with its keys ready for use. */
export interface OpenKeyFile {
  stored: StoredKeyFile;
  /** By version; the file's own is the one that wraps. */
  keks: Map<number, HeldKey>;
  keys: OpenKey[];
}

export type KeyState = 'pending' | 'active' | 'verify-only' | 'destroyed';

const SCRYPT_COST = 2 ** 17;
const SCRYPT_BLOCK_SIZE = 8;

/** A fault of the key file or the KEK that the operator can mend; the text says how. */
export class KeyFileError extends Error {
  override readonly name = 'KeyFileError';
}

/** The active key of a purpose: the newest whose time has come. */
export function activeKey<K extends StoredKey>(keys: readonly K[], purpose: Purpose, nowMs: number): K {
  let active: K | undefined;
  for (const key of keys) {
    if (key.purpose !== purpose || key.destroyed_at !== undefined || Date.parse(key.active_from) > nowMs) continue;
    if (active === undefined || key.version > active.version) active = key;
  }
  if (active === undefined) throw new KeyFileError(`the key file has no active key for ${purpose}`);
  return active;
}

export function stateOf(key: StoredKey, keys: readonly StoredKey[], nowMs: number): KeyState {
  if (key.destroyed_at !== undefined) return 'destroyed';
  if (Date.parse(key.active_from) > nowMs) return 'pending';
  return activeKey(keys, key.purpose, nowMs) === key ? 'active' : 'verify-only';
}

/**
 * Makes a key file with one fresh key a purpose, mode 0600, and fails if one is there: keys are never overwritten. With an HSM
 * the KEK and the PIN verify key are made in it and cannot leave. `known` gives keys that must not be random (the sandbox's
 * published CVV key).
 */
export async function createKeyFile(
  path: string,
  source: KekSource,
  now: Date,
  known: Partial<Record<Purpose, Buffer>> = {},
): Promise<void> {
  const id = randomUUID();
  const { kek, held } = await newKek(source, 1, id);
  const file: StoredKeyFile = { format: 'pinward-keys-1', id, kek, keys: [] };
  for (const purpose of Object.keys(PURPOSES) as Purpose[])
    file.keys.push(await newKey({ file, kek: held, hsm: hsmOf(source) }, purpose, now, now, known[purpose]));
  await writeNewFile(path, textOf(file));
}

/** For `completeKeyFile`, which sees to it that nobody else changes the file meanwhile. */
export async function addMissingKeys(path: string, source: KekSource, now: Date): Promise<Purpose[]> {
  const file = await readKeyFile(path);
  const missing = missingPurposes(file);
  if (missing.length === 0) return [];
  const kek = await currentKek(path, file, source);
  for (const purpose of missing) file.keys.push(await newKey({ file, kek, hsm: hsmOf(source) }, purpose, now, now));
  await replaceKeyFile(path, file);
  return missing;
}

/** Opens a key file; every fault names the file and the mend, none says anything of a key. */
export async function openKeyFile(path: string, source: KekSource): Promise<OpenKeyFile> {
  const stored = await readKeyFile(path);
  const [missing] = missingPurposes(stored);
  if (missing !== undefined)
    throw new KeyFileError(`the key file ${path} has no key for ${missing}; add it with: pinward-server keys init`);
  const kek = await currentKek(path, stored, source);
  const hsm = hsmOf(source);
  const altered = (what: string): KeyFileError => new KeyFileError(`the key file ${path} was altered: ${what}`);
  const openRecord = async (name: string, record: KeyRecord, identity: string): Promise<Buffer | undefined> => {
    if (record.hsm_label !== undefined) {
      if (hsm === undefined) throw new KeyFileError(`${name} of the key file ${path} is in an HSM, and none is configured`);
      return undefined;
    }
    try {
      return await kek.open(Buffer.from(record.wrapped as string, 'base64'), identity);
    } catch (error) {
      if (hsm?.isGone(error)) throw error;
      throw altered(`${name} does not open`);
    }
  };

  const keks = new Map([[stored.kek.version, kek]]);
  for (const record of stored.retired_keks ?? []) {
    const bytes = await openRecord(`KEK version ${record.version}`, record, kekIdentity(stored.id, record.version));
    keks.set(record.version, bytes === undefined ? (hsm as Hsm).held(record.hsm_label as string) : processKey(createSecretKey(bytes)));
    bytes?.fill(0);
  }
  const keys: OpenKey[] = [];
  for (const record of stored.keys) {
    const name = `${record.purpose} version ${record.version}`;
    if (record.destroyed_at !== undefined) {
      keys.push({ ...record, key: undefined, held: undefined });
      continue;
    }
    const bytes = await openRecord(name, record, keyIdentity(stored.id, record.purpose, record.version));
    if (bytes === undefined) {
      keys.push({ ...record, key: undefined, held: (hsm as Hsm).held(record.hsm_label as string) });
      continue;
    }
    const shown = keyCheckValue(record.algorithm, bytes);
    if (shown !== record.kcv) throw altered(`the check value of ${name} is not its key's`);
    const key = keyObjectOf(record.algorithm, bytes);
    bytes.fill(0);
    keys.push({ ...record, key, held: processKey(key) });
  }
  return { stored, keks, keys };
}

/** Reads the file without opening a key. */
export async function readKeyFile(path: string): Promise<StoredKeyFile> {
  let stored: StoredKeyFile;
  try {
    stored = JSON.parse(await readFile(path, 'utf8')) as StoredKeyFile;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new KeyFileError(`there is no key file at ${path}; make one with: pinward-server keys init`);
    throw new KeyFileError(
      `the key file ${path} cannot be read: ${error instanceof SyntaxError ? 'it is no JSON' : (error as Error).message}`,
    );
  }
  // Files that were made before keys could be rotated don't say since when.
  if (Array.isArray(stored?.keys)) for (const key of stored.keys) key.active_from ??= key.created_at;
  const whole =
    stored?.format === 'pinward-keys-1' &&
    typeof stored.id === 'string' &&
    typeof stored.kek?.kcv === 'string' &&
    Array.isArray(stored.keys) &&
    stored.keys.every(isStoredKey) &&
    (stored.kek.scrypt === undefined || isScrypt(stored.kek.scrypt));
  if (!whole) throw new KeyFileError(`${path} is not a key file of this version of the platform`);
  return stored;
}

function isStoredKey(key: StoredKey): boolean {
  const placed = [key?.wrapped, key?.hsm_label, key?.destroyed_at].filter((place) => place !== undefined).length;
  return key.purpose in PURPOSES && Number.isInteger(key.version) && placed === 1 && !Number.isNaN(Date.parse(key.active_from));
}

/** The purposes that the file has no key for: those that came with a newer version of the platform. */
export function missingPurposes(file: StoredKeyFile): Purpose[] {
  return (Object.keys(PURPOSES) as Purpose[]).filter((purpose) => !file.keys.some((key) => key.purpose === purpose));
}

interface Maker {
  file: StoredKeyFile;
  kek: HeldKey;
  hsm: Hsm | undefined;
}

/** What new keys of an open file are made with. */
export function makerOf(file: OpenKeyFile, source: KekSource): Maker {
  return { file: file.stored, kek: file.keks.get(file.stored.kek.version) as HeldKey, hsm: hsmOf(source) };
}

/** A key of the purpose's next version; random unless `bytes` are given. The PIN verify key is made in the HSM where there is one. */
export async function newKey({ file, kek, hsm }: Maker, purpose: Purpose, now: Date, activeFrom: Date, bytes?: Buffer): Promise<StoredKey> {
  const algorithm = PURPOSES[purpose];
  const version = 1 + Math.max(0, ...file.keys.filter((key) => key.purpose === purpose).map((key) => key.version));
  const record = { purpose, version, algorithm, created_at: now.toISOString(), active_from: activeFrom.toISOString() };
  if (purpose === 'pin-verify' && hsm !== undefined && bytes === undefined) {
    const label = labelOf(hsm, purpose, version, file.id);
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

/**
 * Never the same twice: whoever is ended between making a key in the token and writing the file leaves one there that nothing names, and
 * it must not stand in the way of the next.
 */
function labelOf(hsm: Hsm, purpose: Purpose | 'kek', version: number, fileId: string): string {
  return `${hsm.labelPrefix}-${purpose}-${version}-${fileId.slice(0, 8)}-${randomBytes(4).toString('hex')}`;
}

function randomKey(algorithm: KeyAlgorithm | PairAlgorithm): Buffer {
  if (!isPair(algorithm)) return randomBytes(KEY_BYTES[algorithm]);
  const { privateKey } = algorithm === 'P-256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519');
  return privateKey.export({ format: 'der', type: 'pkcs8' });
}

function keyObjectOf(algorithm: KeyAlgorithm | PairAlgorithm, bytes: Buffer): KeyObject {
  return isPair(algorithm) ? createPrivateKey({ key: bytes, format: 'der', type: 'pkcs8' }) : createSecretKey(bytes);
}

/** The clear bytes of a key that is in the file; for re-wrapping and for components. The caller wipes them. */
export function clearBytes({ key }: OpenKey): Buffer | undefined {
  if (key === undefined) return undefined;
  return key.type === 'secret' ? key.export() : key.export({ format: 'der', type: 'pkcs8' });
}

/** A KEK of a source: what the file says of it, and its use. */
export async function newKek(source: KekSource, version: number, fileId: string): Promise<{ kek: StoredKeyFile['kek']; held: HeldKey }> {
  if (source.kind === 'hsm') {
    const label = labelOf(source.hsm, 'kek', version, fileId);
    return { kek: { version, kcv: await source.hsm.makeKey(label), hsm_label: label }, held: source.hsm.held(label) };
  }
  const scrypt = source.kind === 'passphrase' ? { salt: randomBytes(16).toString('base64'), cost: SCRYPT_COST } : undefined;
  const bytes = kekBytes(source, scrypt);
  return {
    kek: { version, kcv: keyCheckValue('AES-256', bytes), ...(scrypt && { scrypt }) },
    held: processKey(createSecretKey(bytes)),
  };
}

async function currentKek(path: string, { kek }: StoredKeyFile, source: KekSource): Promise<HeldKey> {
  const sealedWith = kek.hsm_label !== undefined ? 'hsm' : kek.scrypt !== undefined ? 'passphrase' : 'key';
  if (sealedWith !== source.kind) {
    const named = { hsm: 'an HSM', passphrase: 'a passphrase', key: 'a key-encryption key' };
    throw new KeyFileError(`the key file ${path} was sealed with ${named[sealedWith]}, and ${named[source.kind]} was given`);
  }
  const unfit = new KeyFileError(`the key-encryption key does not fit the key file ${path} (check value ${kek.kcv})`);
  if (source.kind === 'hsm') {
    if ((await source.hsm.checkValue(kek.hsm_label as string)) !== kek.kcv) throw unfit;
    return source.hsm.held(kek.hsm_label as string);
  }
  const bytes = kekBytes(source, kek.scrypt);
  if (keyCheckValue('AES-256', bytes) !== kek.kcv) throw unfit;
  return processKey(createSecretKey(bytes));
}

/** The clear bytes of a KEK that is not in an HSM: for `keys rotate kek`, which wraps the old one under the new. */
export function kekBytes(source: Exclude<KekSource, { kind: 'hsm' }>, scrypt: StoredKeyFile['kek']['scrypt']): Buffer {
  if (source.kind === 'key') return source.key.expose();
  if (scrypt === undefined) throw new KeyFileError('a passphrase needs the salt of a key file');
  const { cost } = scrypt;
  return scryptSync(source.passphrase.expose(), Buffer.from(scrypt.salt, 'base64'), 32, {
    N: cost,
    r: SCRYPT_BLOCK_SIZE,
    p: 1,
    maxmem: 2 * 128 * cost * SCRYPT_BLOCK_SIZE,
  });
}

function hsmOf(source: KekSource): Hsm | undefined {
  return source.kind === 'hsm' ? source.hsm : undefined;
}

export function keyIdentity(fileId: string, purpose: Purpose, version: number): string {
  return `key:${fileId}:${purpose}:${version}`;
}

export function kekIdentity(fileId: string, version: number): string {
  return `key:${fileId}:kek:${version}`;
}

/** A power of two: not so low that guessing is cheap, nor so high that opening takes the machine down. */
function isScrypt({ salt, cost }: { salt: unknown; cost: unknown }): boolean {
  return typeof salt === 'string' && [15, 16, 17, 18, 19, 20].some((log) => cost === 2 ** log);
}

function textOf(file: StoredKeyFile): string {
  return `${JSON.stringify(file, null, 2)}\n`;
}

/**
 * Writes a file of mode 0600 that must not exist yet. It appears whole or not at all, and of two writers at once
 * one wins: the content is written and synced under another name, then linked.
 */
export async function writeNewFile(path: string, content: string): Promise<void> {
  await throughDraft(path, content, link);
}

/** Puts a changed key file in the place of the old one, whole or not at all. */
export async function replaceKeyFile(path: string, file: StoredKeyFile): Promise<void> {
  await throughDraft(path, textOf(file), rename);
}

async function throughDraft(path: string, content: string, place: (draft: string, path: string) => Promise<void>): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const draft = `${path}.${randomUUID()}`;
  const handle = await open(draft, 'wx', 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
    await handle.close();
    await place(draft, path);
    const folder = await open(dirname(path)); // the name too is to outlast a power cut
    await folder.sync().finally(() => folder.close());
  } finally {
    await rm(draft, { force: true });
  }
}
