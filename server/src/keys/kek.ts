import { createSecretKey, randomBytes, scryptSync } from 'node:crypto';
import { keyCheckValue } from '../crypto/key-check-value.ts';
import type { Secret } from '../secret.ts';
import { type HeldKey, processKey } from './held-key.ts';
import { KeyFileError, type Purpose, type Scrypt, type StoredKek, type StoredKeyFile } from './key-file.ts';
import type { Hsm } from './pkcs11.ts';

/** Where the key-encryption key (KEK) comes from. */
export type KekSource = SoftwareKek | { kind: 'hsm'; hsm: Hsm };

/** A KEK outside an HSM: 32 bytes, or a passphrase that is stretched to them. */
export type SoftwareKek = { kind: 'key'; key: Secret<Buffer> } | { kind: 'passphrase'; passphrase: Secret<string> };

const SCRYPT_COST = 2 ** 17;
const SCRYPT_BLOCK_SIZE = 8;

export function hsmOf(source: KekSource): Hsm | undefined {
  return source.kind === 'hsm' ? source.hsm : undefined;
}

/** A new KEK for a key file: its record and its use. One in an HSM cannot leave the HSM. */
export async function makeKek(
  source: KekSource,
  version: number,
  fileId: string,
): Promise<{ stored: StoredKek; held: HeldKey }> {
  if (source.kind === 'hsm') {
    const label = newHsmLabel(source.hsm, 'kek', version, fileId);
    const kcv = await source.hsm.makeKey(label);
    return { stored: { version, kcv, hsm_label: label }, held: source.hsm.held(label) };
  }
  const scrypt =
    source.kind === 'passphrase' ? { salt: randomBytes(16).toString('base64'), cost: SCRYPT_COST } : undefined;
  const bytes = kekBytes(source, scrypt);
  return {
    stored: { version, kcv: keyCheckValue('AES-256', bytes), ...(scrypt && { scrypt }) },
    held: processKey(createSecretKey(bytes)),
  };
}

/** The KEK of a key file. Throws a KeyFileError if the file was sealed with another one. */
export async function openKek(path: string, { kek }: StoredKeyFile, source: KekSource): Promise<HeldKey> {
  const sealedWith = kek.hsm_label !== undefined ? 'hsm' : kek.scrypt !== undefined ? 'passphrase' : 'key';
  if (sealedWith !== source.kind) {
    const names = { hsm: 'an HSM', passphrase: 'a passphrase', key: 'a key-encryption key' };
    throw new KeyFileError(
      `the key file ${path} was sealed with ${names[sealedWith]}, and ${names[source.kind]} was given`,
    );
  }
  const unfit = new KeyFileError(`the key-encryption key does not fit the key file ${path} (check value ${kek.kcv})`);
  if (source.kind === 'hsm') {
    const label = kek.hsm_label as string;
    if ((await source.hsm.checkValue(label)) !== kek.kcv) throw unfit;
    return source.hsm.held(label);
  }
  const bytes = kekBytes(source, kek.scrypt);
  if (keyCheckValue('AES-256', bytes) !== kek.kcv) throw unfit;
  return processKey(createSecretKey(bytes));
}

/** The clear bytes of a KEK outside an HSM. Copy them, never wipe them: the source keeps them. */
export function kekBytes(source: SoftwareKek, scrypt: Scrypt | undefined): Buffer {
  if (source.kind === 'key') return source.key.expose();
  if (scrypt === undefined) throw new KeyFileError('a passphrase needs the salt of a key file');
  const { salt, cost } = scrypt;
  return scryptSync(source.passphrase.expose(), Buffer.from(salt, 'base64'), 32, {
    N: cost,
    r: SCRYPT_BLOCK_SIZE,
    p: 1,
    maxmem: 2 * 128 * cost * SCRYPT_BLOCK_SIZE,
  });
}

/**
 * A label that was never used before. A process that ends between making a key in the token
 * and writing the key file leaves a key there that no file names. That key must not block
 * the next one.
 */
export function newHsmLabel(hsm: Hsm, purpose: Purpose | 'kek', version: number, fileId: string): string {
  return `${hsm.labelPrefix}-${purpose}-${version}-${fileId.slice(0, 8)}-${randomBytes(4).toString('hex')}`;
}
