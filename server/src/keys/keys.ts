import { createHash, createHmac, createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { openGcm, sealGcm } from '../crypto/aes-gcm.ts';
import { cardVerificationValue } from '../crypto/cvv.ts';
import type { HeldKey } from './held-key.ts';
import { activeKey, type ExpiryOrder, type OpenKey, type OpenKeyFile, PURPOSES, type Purpose, stateOf } from './key-file.ts';

/**
 * The platform's keys, by what they are for. Nothing here gives a key; each gives its one use.
 * The two that an HSM is to hold, the KEK and the PIN verify key, answer with promises, since an HSM does.
 * New values are made under the version that is active at the time, old ones are read under the version that they name.
 */
export interface Keys {
  /** Names the key file; a database remembers which one made its rows. */
  readonly keyFileId: string;
  /** Counts how often the key file was read anew: whoever derived something from a key derives it again. */
  readonly revision: number;
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
  /** Keys that JWE envelopes may be sealed to: the active one, one that is pending, and the one before. */
  readonly jwe: readonly JweKey[];
}

/** Wraps values at rest: key version (2 bytes) ‖ IV ‖ ciphertext ‖ tag, bound to the identity of their row. */
interface WrappingKey {
  readonly version: number;
  wrap(plain: Uint8Array, identity: string): Buffer;
  unwrap(wrapped: Uint8Array, identity: string): Buffer;
}

/** HMAC-SHA-256, new values under `version`, old ones under the version that they name. */
export interface MacKey {
  readonly version: number;
  /** Every version that still counts, newest first. */
  readonly versions: number[];
  mac(version: number, message: Uint8Array): Buffer;
}

export interface JweKey {
  /** The JWK thumbprint (RFC 7638), SHA-256, base64url. */
  kid: string;
  privateKey: KeyObject;
  publicJwk: JsonWebKey;
}

const VERSION_BYTES = 2;
const CVV2_SERVICE_CODE = '000';

/** The key version that a wrapped value names. */
export function wrappedVersion(wrapped: Uint8Array): number {
  return ((wrapped[0] as number) << 8) | (wrapped[1] as number);
}

/** The uses of a key file's keys. `replace` goes on with the file as it was read anew. */
export function keysOf(file: OpenKeyFile, clock: () => number): Keys & { replace(file: OpenKeyFile): void } {
  let current = indexed(file, clock());
  let revision = 0;

  /** The file's keys by purpose and version, and what is active; found anew when a pending key's time has come. */
  function now(): Indexed {
    if (clock() >= current.changesAtMs) current = indexed(current.file, clock());
    return current;
  }
  const activeOf = (purpose: Purpose): OpenKey => now().active[purpose];
  function keyOf(purpose: Purpose, version: number): OpenKey {
    const key = current.byVersion[purpose].get(version);
    if (key === undefined) throw new Error(`no ${purpose} key of version ${version}`);
    if (key.destroyed_at !== undefined) throw new Error(`the ${purpose} key of version ${version} was destroyed`);
    return key;
  }
  const inProcess = (purpose: Purpose, version: number): KeyObject => keyOf(purpose, version).key as KeyObject;

  const macKey = (purpose: Purpose): MacKey => ({
    get version() {
      return activeOf(purpose).version;
    },
    get versions() {
      return [...current.byVersion[purpose].values()].filter((key) => key.destroyed_at === undefined).map(({ version }) => version);
    },
    mac: (version, message) => createHmac('sha256', inProcess(purpose, version)).update(message).digest(),
  });

  return {
    keyFileId: file.stored.id,
    get revision() {
      return revision;
    },
    kek: {
      get version() {
        return current.file.stored.kek.version;
      },
      async wrap(plain, identity) {
        const { version } = current.file.stored.kek;
        return withVersion(version, await (current.file.keks.get(version) as HeldKey).seal(plain, identity));
      },
      async unwrap(wrapped, identity) {
        const kek = current.file.keks.get(wrappedVersion(wrapped));
        if (kek === undefined) throw new Error(`no KEK of version ${wrappedVersion(wrapped)}`);
        return kek.open(wrapped.subarray(VERSION_BYTES), identity);
      },
    },
    pinVerify: {
      get version() {
        return activeOf('pin-verify').version;
      },
      mac: async (version, message) => (keyOf('pin-verify', version).held as HeldKey).mac(message),
    },
    pan: {
      get version() {
        return activeOf('pan-wrap').version;
      },
      wrap(plain, identity) {
        const { version, key } = activeOf('pan-wrap');
        return withVersion(version, sealGcm(key as KeyObject, plain, identity));
      },
      unwrap: (wrapped, identity) => openGcm(inProcess('pan-wrap', wrappedVersion(wrapped)), wrapped.subarray(VERSION_BYTES), identity),
    },
    panFingerprint: macKey('pan-fingerprint'),
    accessToken: macKey('access-token'),
    cvv: {
      get version() {
        return activeOf('cvv').version;
      },
      cvv2(version, pan, expiryYymm) {
        const { key, expiry_order } = keyOf('cvv', version);
        const cvk = (key as KeyObject).export();
        try {
          return cardVerificationValue(cvk, pan, inOrder(expiryYymm, expiry_order), CVV2_SERVICE_CODE);
        } finally {
          cvk.fill(0);
        }
      },
    },
    auditHead: {
      get version() {
        return activeOf('audit-head').version;
      },
      get key() {
        return activeOf('audit-head').key as KeyObject;
      },
      publicKey: (version) => createPublicKey(inProcess('audit-head', version)),
    },
    get jwe() {
      return now().jwe;
    },
    replace(next) {
      if (next.stored.id !== current.file.stored.id) throw new Error('that is another key file');
      current = indexed(next, clock());
      revision++;
    },
  };
}

interface Indexed {
  file: OpenKeyFile;
  /** Newest first. */
  byVersion: Record<Purpose, Map<number, OpenKey>>;
  active: Record<Purpose, OpenKey>;
  jwe: JweKey[];
  /** When the next pending key becomes active. */
  changesAtMs: number;
}

function indexed(file: OpenKeyFile, nowMs: number): Indexed {
  const purposes = Object.keys(PURPOSES) as Purpose[];
  const newestFirst = file.keys.toSorted((a, b) => b.version - a.version);
  const ofEach = <T>(make: (purpose: Purpose) => T) => Object.fromEntries(purposes.map((one) => [one, make(one)])) as Record<Purpose, T>;
  return {
    file,
    byVersion: ofEach((purpose) => new Map(newestFirst.filter((key) => key.purpose === purpose).map((key) => [key.version, key]))),
    active: ofEach((purpose) => activeKey(file.keys, purpose, nowMs)),
    jwe: jweKeysOf(newestFirst, nowMs),
    changesAtMs: Math.min(...file.keys.map((key) => Date.parse(key.active_from)).filter((ms) => ms > nowMs)),
  };
}

function withVersion(version: number, sealed: Buffer): Buffer {
  const head = Buffer.alloc(VERSION_BYTES);
  head.writeUInt16BE(version);
  return Buffer.concat([head, sealed]);
}

function inOrder(yymm: string, order: ExpiryOrder | undefined): string {
  return order === 'MMYY' ? yymm.slice(2) + yymm.slice(0, 2) : yymm;
}

function jweKeysOf(newestFirst: OpenKey[], nowMs: number): JweKey[] {
  const live = newestFirst
    .filter((key) => key.purpose === 'jwe' && key.destroyed_at === undefined)
    .map((key) => ({ key, state: stateOf(key, newestFirst, nowMs) }));
  const pending = live.filter(({ state }) => state === 'pending');
  // Whoever fetched the keys just before a rotation seals to the one that was active then.
  const inUse = live.filter(({ state }) => state !== 'pending').slice(0, 2);
  // The active one first, which every process has; one that is pending is shown ahead, for caches.
  return [...inUse.slice(0, 1), ...pending, ...inUse.slice(1)].map(({ key }) => {
    const privateKey = key.key as KeyObject;
    const { kty, crv, x, y } = createPublicKey(privateKey).export({ format: 'jwk' });
    // RFC 7638, 3.2: the required members in the order of their names, without white space.
    const kid = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
    return { kid, privateKey, publicJwk: { kty, crv, x, y } as JsonWebKey };
  });
}
