import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { encodeFields } from '../crypto/encode.ts';
import { randomBytesPooled } from '../crypto/random.ts';
import type { MacKey } from '../keys/keys.ts';

/*
 * An Access-Token is signed, not stored: key version (1 byte) ‖ expiry, Unix ms (8 bytes) ‖ nonce (16 bytes) ‖
 * HMAC-SHA-256 of those, in base64url. The MAC key is the credential's own, derived from the platform's access-token key,
 * the Api-Key, the apiSecret and the epochs of credential and merchant. So a token serves only the Api-Key that
 * fetched it, and a change of secret or a disabling ends every token at once, with nothing to delete.
 */
const BODY_BYTES = 1 + 8 + 16;
const TOKEN_BYTES = BODY_BYTES + 32;
const TOKEN_LENGTH = Math.ceil((TOKEN_BYTES * 4) / 3);

const MOST_VERIFIED = 100;

/** What a credential's tokens depend on besides the platform's key. */
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

export function createTokenIssuer(signing: MacKey, subject: TokenSubject): TokenIssuer {
  // Derived now, while the secret is at hand; it is not kept. A rotation of the platform's key makes a new issuer.
  const keys = new Map<number, KeyObject>();
  const input = encodeFields([
    'pinward/access-token/v1',
    subject.credentialId,
    subject.apiKey,
    subject.apiSecret,
    subject.credentialEpoch,
    subject.merchantEpoch,
  ]);
  for (const version of signing.versions) {
    const bytes = signing.mac(version, input);
    keys.set(version, createSecretKey(bytes));
    bytes.fill(0);
  }
  input.fill(0);

  /** Tokens whose MAC was found right, with their expiry: a merchant sends one many times. Gone with the credential's cache entry. */
  const verified = new Map<string, number>();
  return {
    issue(expiresAtMs) {
      const { version } = signing;
      const body = Buffer.alloc(BODY_BYTES);
      body.writeUInt8(version, 0);
      body.writeBigInt64BE(BigInt(expiresAtMs), 1);
      body.set(randomBytesPooled(16), 9);
      return Buffer.concat([body, mac(keys.get(version) as KeyObject, body)]).toString('base64url');
    },
    verify(token, nowMs) {
      const expiresAtMs = verified.get(token);
      if (expiresAtMs !== undefined) return expiresAtMs > nowMs;
      if (token.length !== TOKEN_LENGTH) return false;
      const bytes = Buffer.from(token, 'base64url');
      // Base64url decodes leniently; only the one spelling that was issued counts.
      if (bytes.length !== TOKEN_BYTES || bytes.toString('base64url') !== token) return false;
      const body = bytes.subarray(0, BODY_BYTES);
      const key = keys.get(body.readUInt8(0));
      if (key === undefined || !timingSafeEqual(mac(key, body), bytes.subarray(BODY_BYTES))) return false;
      const expiry = Number(body.readBigInt64BE(1));
      if (verified.size >= MOST_VERIFIED) verified.clear();
      verified.set(token, expiry);
      return expiry > nowMs;
    },
  };
}

function mac(key: KeyObject, body: Uint8Array): Buffer {
  return createHmac('sha256', key).update(body).digest();
}
