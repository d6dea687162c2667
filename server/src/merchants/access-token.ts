import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { CLOCK_SKEW_MS } from '../clock-window.ts';
import { encodeFields } from '../crypto/encode.ts';
import { randomBytesPooled } from '../crypto/random.ts';
import type { MacKey } from '../keys/keys.ts';

/*
 * An Access-Token is signed, not stored (docs/adr/0005). Before base64url it is
 *
 *   key version (1 byte) ‖ expiry, Unix ms (8 bytes, big-endian) ‖ nonce (16 bytes)
 *     ‖ HMAC-SHA-256 of these (32 bytes)
 *
 * The MAC key belongs to the credential. It is derived from the platform's access-token key, the
 * Api-Key, the apiSecret, and the epochs of credential and merchant. So a token works only with
 * the Api-Key that fetched it. A new secret or a new epoch ends every token at once, and nothing
 * has to be deleted. Disabling a credential or a merchant starts a new epoch.
 */
const BODY_BYTES = 1 + 8 + 16;
const TOKEN_BYTES = BODY_BYTES + 32;
const TOKEN_LENGTH = Math.ceil((TOKEN_BYTES * 4) / 3);

/** The largest ACCESS_TOKEN_LIFETIME_SECONDS. */
const LIFETIME_LIMIT_MS = 2_592_000_000;
/** Verified tokens that are cached for one credential. */
const VERIFIED_LIMIT = 100;

/** What a credential's tokens depend on, besides the platform's key. */
export interface TokenSubject {
  credentialId: number;
  apiKey: string;
  apiSecret: Uint8Array;
  credentialEpoch: number;
  merchantEpoch: number;
}

export interface TokenIssuer {
  issue(expiresAtMs: number): string;
  /** Whether the token is one of this credential's and has not expired. */
  verify(token: string, nowMs: number): boolean;
}

/**
 * Issues and verifies one credential's tokens. It holds keys derived from the platform's key, so
 * create a new one after a rotation.
 */
export function createTokenIssuer(signing: MacKey, subject: TokenSubject): TokenIssuer {
  const macKeys = deriveMacKeys(signing, subject);
  /**
   * Verified tokens with their expiry, since a merchant sends one token many times. They go when
   * the credential's cache entry goes.
   */
  const verified = new Map<string, number>();
  return {
    issue(expiresAtMs) {
      const { version } = signing;
      const body = Buffer.alloc(BODY_BYTES);
      body.writeUInt8(version, 0);
      body.writeBigInt64BE(BigInt(expiresAtMs), 1);
      body.set(randomBytesPooled(16), 9);
      return Buffer.concat([body, mac(macKeys.get(version) as KeyObject, body)]).toString('base64url');
    },
    verify(token, nowMs) {
      const known = verified.get(token);
      if (known !== undefined) return isInTime(known, nowMs);
      const expiresAtMs = readExpiry(macKeys, token);
      if (expiresAtMs === undefined) return false;
      if (verified.size >= VERIFIED_LIMIT) verified.clear();
      verified.set(token, expiresAtMs);
      return isInTime(expiresAtMs, nowMs);
    },
  };
}

/** A token that lives longer than any may is from a process whose clock was ahead. */
function isInTime(expiresAtMs: number, nowMs: number): boolean {
  return expiresAtMs > nowMs && expiresAtMs <= nowMs + LIFETIME_LIMIT_MS + CLOCK_SKEW_MS;
}

/** The MAC keys by version. All are derived at once, because the apiSecret is not kept. */
function deriveMacKeys(signing: MacKey, subject: TokenSubject): Map<number, KeyObject> {
  const input = encodeFields([
    'pinward/access-token/v1',
    subject.credentialId,
    subject.apiKey,
    subject.apiSecret,
    subject.credentialEpoch,
    subject.merchantEpoch,
  ]);
  const macKeys = new Map<number, KeyObject>();
  for (const version of signing.versions) {
    const bytes = signing.mac(version, input);
    macKeys.set(version, createSecretKey(bytes));
    bytes.fill(0);
  }
  input.fill(0);
  return macKeys;
}

/** The expiry of a genuine token, Unix milliseconds; undefined for any other text. */
function readExpiry(macKeys: Map<number, KeyObject>, token: string): number | undefined {
  if (token.length !== TOKEN_LENGTH) return undefined;
  const bytes = Buffer.from(token, 'base64url');
  // Node decodes base64url leniently; only the spelling that was issued counts.
  if (bytes.length !== TOKEN_BYTES || bytes.toString('base64url') !== token) return undefined;
  const body = bytes.subarray(0, BODY_BYTES);
  const key = macKeys.get(body.readUInt8(0));
  if (key === undefined || !timingSafeEqual(mac(key, body), bytes.subarray(BODY_BYTES))) return undefined;
  return Number(body.readBigInt64BE(1));
}

function mac(key: KeyObject, body: Uint8Array): Buffer {
  return createHmac('sha256', key).update(body).digest();
}
