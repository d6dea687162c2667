import { createHmac, type KeyObject } from 'node:crypto';
import { openGcm, sealGcm } from '../crypto/aes-gcm.ts';
import { cardVerificationValue } from '../crypto/cvv.ts';
import type { OpenKey, OpenKeyFile, Purpose } from './key-file.ts';

/**
 * The platform's keys, by what they are for. Nothing here gives a key; each gives its one use.
 * The two that an HSM is to hold, the KEK and the PIN verify key, answer with promises, since an HSM does.
 */
export interface Keys {
  /** Names the key file; a database remembers which one made its rows. */
  readonly keyFileId: string;
  /** Wraps the merchants' secrets under the KEK. */
  readonly kek: {
    wrap(plain: Uint8Array, identity: string): Promise<Buffer>;
    unwrap(wrapped: Uint8Array, identity: string): Promise<Buffer>;
  };
  /** Makes PIN reference values. */
  readonly pinVerify: { readonly version: number; mac(version: number, message: Uint8Array): Promise<Buffer> };
  readonly pan: WrappingKey;
  readonly panFingerprint: MacKey;
  readonly accessToken: MacKey;
  readonly cvv: { cvv2(pan: string, expiryYymm: string): string };
}

/** Wraps values at rest: key version (2 bytes) ‖ IV ‖ ciphertext ‖ tag, bound to the identity of their row. */
interface WrappingKey {
  wrap(plain: Uint8Array, identity: string): Buffer;
  unwrap(wrapped: Uint8Array, identity: string): Buffer;
}

/** HMAC-SHA-256, new values under `version`, old ones under the version that they name. */
export interface MacKey {
  readonly version: number;
  mac(version: number, message: Uint8Array): Buffer;
}

const VERSION_BYTES = 2;
const CVV2_SERVICE_CODE = '000';

/** The keys of a sealed file, all used in this process. */
export function keysOf(file: OpenKeyFile): Keys {
  const kek = wrappingKey([{ version: file.kek.version, key: file.kek.key }]);
  const pinVerify = macKey(keysFor(file, 'pin-verify'));
  const cvk = active(keysFor(file, 'cvv'));
  return {
    keyFileId: file.id,
    kek: {
      wrap: async (plain, identity) => kek.wrap(plain, identity),
      unwrap: async (wrapped, identity) => kek.unwrap(wrapped, identity),
    },
    pinVerify: { version: pinVerify.version, mac: async (version, message) => pinVerify.mac(version, message) },
    pan: wrappingKey(keysFor(file, 'pan-wrap')),
    panFingerprint: macKey(keysFor(file, 'pan-fingerprint')),
    accessToken: macKey(keysFor(file, 'access-token')),
    cvv: { cvv2: (pan, expiryYymm) => cardVerificationValue(cvk.key.export(), pan, expiryYymm, CVV2_SERVICE_CODE) },
  };
}

type VersionedKey = Pick<OpenKey, 'version' | 'key'>;

function keysFor(file: OpenKeyFile, purpose: Purpose): VersionedKey[] {
  return file.keys.filter((key) => key.purpose === purpose).sort((a, b) => b.version - a.version);
}

function active(keys: VersionedKey[]): VersionedKey {
  const [newest] = keys;
  if (newest === undefined) throw new Error('a purpose without a key');
  return newest;
}

function wrappingKey(keys: VersionedKey[]): WrappingKey {
  const newest = active(keys);
  const byVersion = indexed(keys);
  return {
    wrap(plain, identity) {
      const version = Buffer.alloc(VERSION_BYTES);
      version.writeUInt16BE(newest.version);
      return Buffer.concat([version, sealGcm(newest.key, plain, identity)]);
    },
    unwrap(wrapped, identity) {
      const version = Buffer.from(wrapped.buffer, wrapped.byteOffset, wrapped.byteLength).readUInt16BE();
      return openGcm(keyOf(byVersion, version), wrapped.subarray(VERSION_BYTES), identity);
    },
  };
}

function macKey(keys: VersionedKey[]): MacKey {
  const byVersion = indexed(keys);
  return {
    version: active(keys).version,
    mac: (version, message) => createHmac('sha256', keyOf(byVersion, version)).update(message).digest(),
  };
}

function indexed(keys: VersionedKey[]): Map<number, KeyObject> {
  return new Map(keys.map(({ version, key }) => [version, key]));
}

function keyOf(keys: Map<number, KeyObject>, version: number): KeyObject {
  const key = keys.get(version);
  if (key === undefined) throw new Error(`no key of version ${version}`);
  return key;
}
