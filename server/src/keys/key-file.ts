import { createHmac, timingSafeEqual } from 'node:crypto';
import { encodeFields } from '../crypto/encode.ts';
import type { KeyAlgorithm, PairAlgorithm } from '../crypto/key-check-value.ts';
import { readText } from '../files.ts';
import { OperatorError } from '../operator-error.ts';
import type { HeldKey } from './held-key.ts';

/** What each key is for. A key serves one purpose only. */
export const PURPOSES = {
  'pin-verify': 'HMAC-SHA-256',
  'pan-wrap': 'AES-256',
  'pan-fingerprint': 'HMAC-SHA-256',
  'access-token': 'HMAC-SHA-256',
  cvv: 'TDES-2',
  'audit-head': 'Ed25519',
  jwe: 'P-256',
} as const satisfies Record<string, KeyAlgorithm | PairAlgorithm>;

/** A key file of a thousand versions takes a tenth of it. */
const FILE_LIMIT_BYTES = 4 * 1024 * 1024;

export type Purpose = keyof typeof PURPOSES;

/** The order in which a CVV key takes the expiry. Issuers differ in it. */
export type ExpiryOrder = 'YYMM' | 'MMYY';

export interface KeyRecord {
  version: number;
  kcv: string;
  created_at: string;
  /**
   * Base64 of AES-256-GCM under the KEK, bound to file, purpose and version. Absent: in the
   * HSM, or destroyed.
   */
  wrapped?: string;
  hsm_label?: string;
}

export interface StoredKey extends KeyRecord {
  purpose: Purpose;
  algorithm: KeyAlgorithm | PairAlgorithm;
  /** Pending until then, so that every process knows the key before any process uses it. */
  active_from: string;
  destroyed_at?: string;
  expiry_order?: ExpiryOrder;
}

/** How a passphrase is stretched to a KEK (RFC 7914). */
export interface Scrypt {
  /** Base64. */
  salt: string;
  /** N, a power of two. */
  cost: number;
}

/** The key-encryption key (KEK) that wraps the keys. `scrypt` if it is from a passphrase. */
export interface StoredKek {
  version: number;
  kcv: string;
  scrypt?: Scrypt;
  hsm_label?: string;
}

/** The JSON of a key file. */
export interface StoredKeyFile {
  /**
   * Files of the first format have no seal. They get it, and the second format, when they are next
   * written.
   */
  format: 'pinward-keys-1' | 'pinward-keys-2';
  /** Base64 of a MAC over everything else in the file (`sealOf`). */
  seal?: string;
  id: string;
  kek: StoredKek;
  /**
   * Earlier KEKs, for values still wrapped under them. Each is wrapped under the present
   * KEK, or in the HSM.
   */
  retired_keks?: KeyRecord[];
  keys: StoredKey[];
}

export type KeyState = 'pending' | 'active' | 'verify-only' | 'destroyed';

/** A fault of the key file or of the KEK. The message tells the operator how to mend it. */
export class KeyFileError extends OperatorError {
  override readonly name = 'KeyFileError';
}

/** The active key of a purpose: the newest version that is no longer pending. */
export function activeKey<K extends StoredKey>(keys: readonly K[], purpose: Purpose, nowMs: number): K {
  let active: K | undefined;
  for (const key of keys) {
    if (key.purpose !== purpose || key.destroyed_at !== undefined || Date.parse(key.active_from) > nowMs) continue;
    if (active === undefined || key.version > active.version) active = key;
  }
  if (active === undefined) throw new KeyFileError(`the key file has no active key for ${purpose}`);
  return active;
}

/** The state of a key. `keys` are all keys of its file, and `key` is one of these objects. */
export function stateOf(key: StoredKey, keys: readonly StoredKey[], nowMs: number): KeyState {
  if (key.destroyed_at !== undefined) return 'destroyed';
  if (Date.parse(key.active_from) > nowMs) return 'pending';
  return activeKey(keys, key.purpose, nowMs) === key ? 'active' : 'verify-only';
}

/** The purposes without a key in the file: those that a newer version of the platform added. */
export function missingPurposes(file: StoredKeyFile): Purpose[] {
  return (Object.keys(PURPOSES) as Purpose[]).filter((purpose) => !file.keys.some((key) => key.purpose === purpose));
}

/** What a wrapped key is bound to: under another purpose, version or file it does not open. */
export function keyIdentity(fileId: string, purpose: Purpose | 'kek', version: number): string {
  return `key:${fileId}:${purpose}:${version}`;
}

/** Reads the file and checks its form. Opens no key, and does not check the seal. */
export async function readKeyFile(path: string): Promise<StoredKeyFile> {
  const stored = parse(path);
  // Files from before key rotation have no `active_from`.
  if (isEarlier(stored) && Array.isArray(stored.keys))
    for (const key of stored.keys) if (typeof key === 'object' && key !== null) key.active_from ??= key.created_at;
  if (!isWhole(stored)) throw new KeyFileError(`${path} is not a key file of this version of the platform`);
  const names = stored.keys.map(({ purpose, version }) => `${purpose} version ${version}`);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new KeyFileError(`the key file ${path} has ${twice} twice: restore its last copy`);
  return stored;
}

function parse(path: string): StoredKeyFile {
  try {
    return JSON.parse(readText(path, FILE_LIMIT_BYTES)) as StoredKeyFile;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new KeyFileError(`there is no key file at ${path}; make one with: pinward-server keys init`);
    const reason = error instanceof SyntaxError ? 'it is no JSON' : (error as Error).message;
    throw new KeyFileError(`the key file ${path} cannot be read: ${reason}`);
  }
}

/** Whether it is of the first format, which has no seal. */
function isEarlier(stored: StoredKeyFile | null): boolean {
  return stored?.format === 'pinward-keys-1' && stored.seal === undefined;
}

/** Whether every member that the platform uses is there and of its type. */
function isWhole(stored: StoredKeyFile): boolean {
  return (
    (isEarlier(stored) || (stored?.format === 'pinward-keys-2' && isText(stored.seal))) &&
    isText(stored.id) &&
    isRecord(stored.kek) &&
    (stored.kek.hsm_label === undefined || isText(stored.kek.hsm_label)) &&
    (stored.kek.scrypt === undefined || isScrypt(stored.kek.scrypt)) &&
    (stored.retired_keks === undefined || isListOf(stored.retired_keks, isPlaced)) &&
    isListOf(stored.keys, isStoredKey)
  );
}

function isListOf<T>(list: T[], isOne: (one: T) => boolean): boolean {
  return Array.isArray(list) && list.every(isOne);
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}

function isTime(value: unknown): boolean {
  return typeof value === 'string' && !Number.isNaN(Date.parse(value));
}

function isRecord(key: Pick<KeyRecord, 'version' | 'kcv'> | null): boolean {
  // A wrapped value names its key's version in two bytes.
  return (
    Number.isInteger(key?.version) && Number(key?.version) >= 1 && Number(key?.version) < 65_536 && isText(key?.kcv)
  );
}

/** A key is wrapped, in the HSM or destroyed: exactly one of the three. */
function isPlaced(key: KeyRecord & { destroyed_at?: string }): boolean {
  if (!isRecord(key) || !isTime(key.created_at)) return false;
  const places = [key.wrapped, key.hsm_label, key.destroyed_at].filter((place) => place !== undefined);
  return places.length === 1 && typeof places[0] === 'string';
}

function isStoredKey(key: StoredKey): boolean {
  return (
    isPlaced(key) &&
    Object.hasOwn(PURPOSES, key.purpose) &&
    Object.values(PURPOSES).includes(key.algorithm as (typeof PURPOSES)[Purpose]) &&
    isTime(key.active_from) &&
    (key.destroyed_at === undefined || isTime(key.destroyed_at)) &&
    (key.expiry_order === undefined || ['YYMM', 'MMYY'].includes(key.expiry_order))
  );
}

/**
 * The cost is bounded. Below 2^15 guessing is cheap; above 2^20 opening the file takes too
 * much of the machine.
 */
function isScrypt(scrypt: Scrypt | null): boolean {
  const { salt, cost } = scrypt ?? {};
  return typeof salt === 'string' && [15, 16, 17, 18, 19, 20].some((log) => cost === 2 ** log);
}

/** Whether the seal is the file's. A file of the first format has none. */
export async function isSealIntact(file: StoredKeyFile, kek: HeldKey): Promise<boolean> {
  if (file.seal === undefined) return false;
  const given = Buffer.from(file.seal, 'base64');
  const seal = await sealOf(file, kek);
  return given.length === seal.length && timingSafeEqual(given, seal);
}

/** Seals the file with the KEK that it names, and returns it as text. */
export async function sealedText(file: StoredKeyFile, kek: HeldKey): Promise<string> {
  file.format = 'pinward-keys-2';
  file.seal = (await sealOf(file, kek)).toString('base64');
  return `${JSON.stringify(file, null, 2)}\n`;
}

/**
 * HMAC-SHA-256 over everything in the file but the seal, with the members of each object in
 * the order of their names. Its key is derived from the KEK by HMAC (NIST SP 800-108), also
 * in an HSM, and for this use and this file only.
 */
async function sealOf({ seal: _, ...content }: StoredKeyFile, kek: HeldKey): Promise<Buffer> {
  const key = await kek.mac(encodeFields(['pinward/key-file-seal/v1', content.id]));
  try {
    return createHmac('sha256', key).update(canonicalJson(content)).digest();
  } finally {
    key.fill(0);
  }
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  );
}
