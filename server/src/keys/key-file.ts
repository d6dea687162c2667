import { createSecretKey, type KeyObject, randomBytes, randomUUID, scryptSync } from 'node:crypto';
import { link, mkdir, open, readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { openGcm, sealGcm } from '../crypto/aes-gcm.ts';
import { KEY_BYTES, type KeyAlgorithm, keyCheckValue } from '../crypto/key-check-value.ts';
import type { Secret } from '../secret.ts';

/** What each key is for; one purpose a key. The KEK is not in the file: it opens it. */
const PURPOSES = {
  'pin-verify': 'HMAC-SHA-256',
  'pan-wrap': 'AES-256',
  'pan-fingerprint': 'HMAC-SHA-256',
  'access-token': 'HMAC-SHA-256',
  cvv: 'TDES-2',
} as const satisfies Record<string, KeyAlgorithm>;

export type Purpose = keyof typeof PURPOSES;

/** Where the key-encryption key comes from: 32 bytes as they are, or a passphrase to be stretched. */
export type KekSource = { kind: 'key'; key: Secret<Buffer> } | { kind: 'passphrase'; passphrase: Secret<string> };

interface StoredKey {
  purpose: Purpose;
  version: number;
  algorithm: KeyAlgorithm;
  kcv: string;
  state: 'active' | 'verify-only';
  created_at: string;
  /** Base64 of AES-256-GCM under the KEK, bound to file, purpose and version. */
  wrapped: string;
}

interface StoredKeyFile {
  format: 'pinward-keys-1';
  id: string;
  kek: { version: number; kcv: string; scrypt?: { salt: string; cost: number } };
  keys: StoredKey[];
}

export interface OpenKey extends Omit<StoredKey, 'wrapped'> {
  key: KeyObject;
}

export interface OpenKeyFile {
  id: string;
  kek: { version: number; kcv: string; key: KeyObject };
  keys: OpenKey[];
}

const SCRYPT_COST = 2 ** 17;
const SCRYPT_BLOCK_SIZE = 8;

/** A fault of the key file or the KEK that the operator can mend; the text says how. */
export class KeyFileError extends Error {
  override readonly name = 'KeyFileError';
}

/**
 * Makes a key file with one fresh key a purpose, mode 0600, and fails if one is there: keys are never overwritten.
 * `known` gives keys that must not be random (the sandbox's published CVV key).
 */
export async function createKeyFile(
  path: string,
  source: KekSource,
  now: Date,
  known: Partial<Record<Purpose, Buffer>> = {},
): Promise<void> {
  const scrypt = source.kind === 'passphrase' ? { salt: randomBytes(16).toString('base64'), cost: SCRYPT_COST } : undefined;
  const kek = kekOf(source, scrypt);
  const id = randomUUID();
  const keys = (Object.keys(PURPOSES) as Purpose[]).map((purpose): StoredKey => {
    const algorithm = PURPOSES[purpose];
    const bytes = known[purpose] ?? randomBytes(KEY_BYTES[algorithm]);
    const wrapped = sealGcm(createSecretKey(kek), bytes, identityOf(id, purpose, 1)).toString('base64');
    return {
      purpose,
      version: 1,
      algorithm,
      kcv: keyCheckValue(algorithm, bytes),
      state: 'active',
      created_at: now.toISOString(),
      wrapped,
    };
  });
  const file: StoredKeyFile = {
    format: 'pinward-keys-1',
    id,
    kek: { version: 1, kcv: keyCheckValue('AES-256', kek), ...(scrypt && { scrypt }) },
    keys,
  };
  await writeNewFile(path, `${JSON.stringify(file, null, 2)}\n`);
}

/** Opens a key file; every fault names the file and the mend, none says anything of a key. */
export async function openKeyFile(path: string, source: KekSource): Promise<OpenKeyFile> {
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
  const whole =
    stored?.format === 'pinward-keys-1' &&
    typeof stored.id === 'string' &&
    typeof stored.kek?.kcv === 'string' &&
    Array.isArray(stored.keys) &&
    (stored.kek.scrypt === undefined || isScrypt(stored.kek.scrypt));
  if (!whole) throw new KeyFileError(`${path} is not a key file of this version of the platform`);
  const needsPassphrase = stored.kek.scrypt !== undefined;
  if (needsPassphrase !== (source.kind === 'passphrase')) {
    throw new KeyFileError(
      `the key file ${path} was sealed with a ${needsPassphrase ? 'passphrase' : 'key-encryption key'}, and the other was given`,
    );
  }
  const kek = kekOf(source, stored.kek.scrypt);
  if (keyCheckValue('AES-256', kek) !== stored.kek.kcv)
    throw new KeyFileError(`the key-encryption key does not fit the key file ${path} (check value ${stored.kek.kcv})`);
  const kekKey = createSecretKey(kek);
  const keys = stored.keys.map(({ wrapped, ...key }): OpenKey => {
    let bytes: Buffer;
    try {
      bytes = openGcm(kekKey, Buffer.from(wrapped, 'base64'), identityOf(stored.id, key.purpose, key.version));
    } catch {
      throw new KeyFileError(`the key file ${path} was altered: ${key.purpose} version ${key.version} does not open`);
    }
    const shown = keyCheckValue(key.algorithm, bytes);
    const object = createSecretKey(bytes);
    bytes.fill(0);
    if (shown !== key.kcv)
      throw new KeyFileError(`the key file ${path} was altered: the check value of ${key.purpose} version ${key.version} is not its key's`);
    return { ...key, key: object };
  });
  for (const purpose of Object.keys(PURPOSES)) {
    if (!keys.some((key) => key.purpose === purpose)) throw new KeyFileError(`the key file ${path} has no key for ${purpose}`);
  }
  return { id: stored.id, kek: { version: stored.kek.version, kcv: stored.kek.kcv, key: kekKey }, keys };
}

/**
 * Writes a file of mode 0600 that must not exist yet. It appears whole or not at all, and of two writers at once
 * one wins: the content is written and synced under another name, then linked.
 */
export async function writeNewFile(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const draft = `${path}.${randomUUID()}`;
  const handle = await open(draft, 'wx', 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
    await handle.close();
    await link(draft, path);
  } finally {
    await rm(draft, { force: true });
  }
}

/** A power of two: not so low that guessing is cheap, nor so high that opening takes the machine down. */
function isScrypt({ salt, cost }: { salt: unknown; cost: unknown }): boolean {
  return typeof salt === 'string' && [15, 16, 17, 18, 19, 20].some((log) => cost === 2 ** log);
}

function kekOf(source: KekSource, scrypt: StoredKeyFile['kek']['scrypt']): Buffer {
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

function identityOf(fileId: string, purpose: Purpose, version: number): string {
  return `key:${fileId}:${purpose}:${version}`;
}
