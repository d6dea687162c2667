import { createHash, createHmac, createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { openGcm, sealGcm } from '../crypto/aes-gcm.ts';
import { cardVerificationValue } from '../crypto/cvv.ts';
import type { HeldKey } from './held-key.ts';
import { activeKey, type ExpiryOrder, PURPOSES, type Purpose, stateOf } from './key-file.ts';
import type { OpenKey, OpenKeyFile } from './open-key-file.ts';

/**
 * The platform's keys, by purpose. Each member offers one use of a key, and never the key
 * itself. The KEK and the PIN verify key, which an HSM may hold, return promises.
 * New values are made under the version that is active now. Old values are read under the
 * version that they name.
 */
export interface Keys {
  /** The id of the key file. A database remembers the key file that made its rows. */
  readonly keyFileId: string;
  /** Counts changes of the key file. Values derived from a key must then be derived again. */
  readonly revision: number;
  /** Why the changed key file could not be taken over. Undefined while it could. */
  readonly fileFault: string | undefined;
  /** Wraps the merchants' secrets and the issuers' keys under the KEK. */
  readonly kek: {
    readonly version: number;
    wrap(plain: Uint8Array, identity: string): Promise<Buffer>;
    unwrap(wrapped: Uint8Array, identity: string): Promise<Buffer>;
  };
  /** Makes PIN reference values. */
  readonly pinVerify: { readonly version: number; mac(version: number, message: Uint8Array): Promise<Buffer> };
  readonly pan: WrappingKey;
  readonly panFingerprint: MacKey;
  readonly accessToken: MacKey;
  readonly cvv: { readonly version: number; cvv2(version: number, pan: string, expiryYymm: string): string };
  readonly auditHead: { readonly version: number; readonly key: KeyObject; publicKey(version: number): KeyObject };
  /** For JWE envelopes: the active key, pending ones, and the one that was active before. */
  readonly jwe: readonly JweKey[];
}

/**
 * Wraps values at rest: key version (2 bytes) ‖ IV ‖ ciphertext ‖ tag, bound to the
 * identity of their row.
 */
interface WrappingKey {
  readonly version: number;
  wrap(plain: Uint8Array, identity: string): Buffer;
  unwrap(wrapped: Uint8Array, identity: string): Buffer;
}

/**
 * HMAC-SHA-256. New values are made under `version`; old ones are checked under the version
 * that they name.
 */
export interface MacKey {
  readonly version: number;
  /** Every version that is not destroyed, newest first. */
  readonly versions: number[];
  mac(version: number, message: Uint8Array): Buffer;
}

export interface JweKey {
  /** The JWK thumbprint (RFC 7638), SHA-256, base64url. */
  kid: string;
  privateKey: KeyObject;
  publicJwk: JsonWebKey;
}

/** Keys that follow their file. */
export type ReplaceableKeys = Keys & {
  /** Takes over a changed key file. It must be the same file by its id. */
  replace(file: OpenKeyFile): void;
  /** Keeps the keys as they are, and why. */
  reportFault(fault: string): void;
};

const VERSION_BYTES = 2;
const CVV2_SERVICE_CODE = '000';

/** The key version that a wrapped value names. */
export function wrappedVersion(wrapped: Uint8Array): number {
  return ((wrapped[0] as number) << 8) | (wrapped[1] as number);
}

/** The uses of the keys of a key file. */
export function keysOf(file: OpenKeyFile, clock: () => number): ReplaceableKeys {
  let index = indexOf(file, clock());
  let revision = 0;
  let fileFault: string | undefined;
  const current: CurrentIndex = () => {
    if (clock() >= index.changesAtMs) index = indexOf(index.file, clock());
    return index;
  };
  return {
    keyFileId: file.stored.id,
    get revision() {
      return revision;
    },
    get fileFault() {
      return fileFault;
    },
    kek: kekOf(current),
    pinVerify: {
      get version() {
        return current().active['pin-verify'].version;
      },
      mac: async (version, message) => (keyOf(current(), 'pin-verify', version).held as HeldKey).mac(message),
    },
    pan: wrappingKeyOf(current, 'pan-wrap'),
    panFingerprint: macKeyOf(current, 'pan-fingerprint'),
    accessToken: macKeyOf(current, 'access-token'),
    cvv: cvvKeyOf(current),
    auditHead: signingKeyOf(current, 'audit-head'),
    get jwe() {
      return current().jwe;
    },
    replace(next) {
      if (next.stored.id !== index.file.stored.id) throw new Error('that is another key file');
      index = indexOf(next, clock());
      revision++;
      fileFault = undefined;
    },
    reportFault(fault) {
      fileFault = fault;
    },
  };
}

/** The keys of a file by purpose and version, as they stand until `changesAtMs`. */
interface KeyIndex {
  file: OpenKeyFile;
  /** Newest first. */
  byVersion: Record<Purpose, Map<number, OpenKey>>;
  active: Record<Purpose, OpenKey>;
  jwe: JweKey[];
  /** When the next pending key becomes active. */
  changesAtMs: number;
}

/** The index as it is now. It changes with the file, and when a pending key becomes active. */
type CurrentIndex = () => KeyIndex;

function indexOf(file: OpenKeyFile, nowMs: number): KeyIndex {
  const purposes = Object.keys(PURPOSES) as Purpose[];
  const newestFirst = file.keys.toSorted((a, b) => b.version - a.version);
  const forEachPurpose = <T>(make: (purpose: Purpose) => T) =>
    Object.fromEntries(purposes.map((purpose) => [purpose, make(purpose)])) as Record<Purpose, T>;
  return {
    file,
    byVersion: forEachPurpose(
      (purpose) => new Map(newestFirst.filter((key) => key.purpose === purpose).map((key) => [key.version, key])),
    ),
    active: forEachPurpose((purpose) => activeKey(file.keys, purpose, nowMs)),
    jwe: jweKeysOf(newestFirst, nowMs),
    changesAtMs: Math.min(...file.keys.map((key) => Date.parse(key.active_from)).filter((ms) => ms > nowMs)),
  };
}

function keyOf(index: KeyIndex, purpose: Purpose, version: number): OpenKey {
  const key = index.byVersion[purpose].get(version);
  if (key === undefined) throw new Error(`no ${purpose} key of version ${version}`);
  if (key.destroyed_at !== undefined) throw new Error(`the ${purpose} key of version ${version} was destroyed`);
  return key;
}

/** A key of a purpose that an HSM never holds. */
function keyInProcess(index: KeyIndex, purpose: Purpose, version: number): KeyObject {
  return keyOf(index, purpose, version).key as KeyObject;
}

function kekOf(current: CurrentIndex): Keys['kek'] {
  return {
    get version() {
      return current().file.stored.kek.version;
    },
    async wrap(plain, identity) {
      const { stored, keks } = current().file;
      const { version } = stored.kek;
      return withVersion(version, await (keks.get(version) as HeldKey).seal(plain, identity));
    },
    async unwrap(wrapped, identity) {
      const version = wrappedVersion(wrapped);
      const kek = current().file.keks.get(version);
      if (kek === undefined) throw new Error(`no KEK of version ${version}`);
      return kek.open(wrapped.subarray(VERSION_BYTES), identity);
    },
  };
}

function wrappingKeyOf(current: CurrentIndex, purpose: Purpose): WrappingKey {
  return {
    get version() {
      return current().active[purpose].version;
    },
    wrap(plain, identity) {
      const { version, key } = current().active[purpose];
      return withVersion(version, sealGcm(key as KeyObject, plain, identity));
    },
    unwrap(wrapped, identity) {
      const key = keyInProcess(current(), purpose, wrappedVersion(wrapped));
      return openGcm(key, wrapped.subarray(VERSION_BYTES), identity);
    },
  };
}

function withVersion(version: number, sealed: Buffer): Buffer {
  const head = Buffer.alloc(VERSION_BYTES);
  head.writeUInt16BE(version);
  return Buffer.concat([head, sealed]);
}

function macKeyOf(current: CurrentIndex, purpose: Purpose): MacKey {
  return {
    get version() {
      return current().active[purpose].version;
    },
    get versions() {
      const keys = [...current().byVersion[purpose].values()];
      return keys.filter((key) => key.destroyed_at === undefined).map(({ version }) => version);
    },
    mac: (version, message) =>
      createHmac('sha256', keyInProcess(current(), purpose, version))
        .update(message)
        .digest(),
  };
}

function cvvKeyOf(current: CurrentIndex): Keys['cvv'] {
  return {
    get version() {
      return current().active.cvv.version;
    },
    cvv2(version, pan, expiryYymm) {
      const { key, expiry_order } = keyOf(current(), 'cvv', version);
      const cvk = (key as KeyObject).export();
      try {
        return cardVerificationValue(cvk, pan, expiryIn(expiry_order, expiryYymm), CVV2_SERVICE_CODE);
      } finally {
        cvk.fill(0);
      }
    },
  };
}

function expiryIn(order: ExpiryOrder | undefined, yymm: string): string {
  return order === 'MMYY' ? yymm.slice(2) + yymm.slice(0, 2) : yymm;
}

function signingKeyOf(current: CurrentIndex, purpose: Purpose): Keys['auditHead'] {
  return {
    get version() {
      return current().active[purpose].version;
    },
    get key() {
      return current().active[purpose].key as KeyObject;
    },
    publicKey: (version) => createPublicKey(keyInProcess(current(), purpose, version)),
  };
}

/**
 * The active key first, which every process has. Then pending keys, so that caches fetch
 * them before they are used. Then the key that was active before: a merchant that fetched
 * the keys just before a rotation seals to it.
 */
function jweKeysOf(newestFirst: OpenKey[], nowMs: number): JweKey[] {
  const live = newestFirst
    .filter((key) => key.purpose === 'jwe' && key.destroyed_at === undefined)
    .map((key) => ({ key, state: stateOf(key, newestFirst, nowMs) }));
  const pending = live.filter(({ state }) => state === 'pending');
  const [active, previous] = live.filter(({ state }) => state !== 'pending');
  return [active, ...pending, previous].filter((one) => one !== undefined).map(({ key }) => jweKeyOf(key));
}

function jweKeyOf({ key }: OpenKey): JweKey {
  const privateKey = key as KeyObject;
  const { kty, crv, x, y } = createPublicKey(privateKey).export({ format: 'jwk' });
  // RFC 7638, 3.2: the required members in the order of their names, without white space.
  const kid = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
  return { kid, privateKey, publicJwk: { kty, crv, x, y } as JsonWebKey };
}
