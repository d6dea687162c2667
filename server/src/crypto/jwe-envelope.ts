import type { KeyObject } from 'node:crypto';
import { JWE_ALGORITHM, JWE_ENCRYPTION } from '@pinward/contract/pin-envelope';
import { compactDecrypt, decodeProtectedHeader } from 'jose';

/*
 * The `jwe` envelope: a compact JWE (RFC 7516), ECDH-ES+A256KW on P-256 with A256GCM, without
 * `zip`, sealed to a key that the platform publishes. Its content is JSON:
 * {"pin": "six digits", "card_no": "...", "iat": Unix seconds, "jti": "used once"}.
 */

export interface JweClaims {
  /** The digits, as bytes. The caller wipes them. */
  pin: Buffer;
  cardNo: unknown;
  iat: unknown;
  jti: unknown;
}

const TEXT_LIMIT = 4_096;
/** Overwrites the digits before the rest is parsed, so that no string of the PIN is ever made. */
const MASK = '*';

/**
 * Opens the envelope with the key that it names. Returns undefined for every other text, and for
 * one that is sealed to another key.
 */
export async function openJwe(
  keys: readonly { kid: string; privateKey: KeyObject }[],
  text: string,
): Promise<JweClaims | undefined> {
  if (text.length > TEXT_LIMIT || !text.split('.').every(isCanonicalBase64url)) return undefined;
  let plaintext: Uint8Array | undefined;
  try {
    const { kid, alg, enc, zip, crit } = decodeProtectedHeader(text);
    if (alg !== JWE_ALGORITHM || enc !== JWE_ENCRYPTION || zip !== undefined || crit !== undefined) return undefined;
    const key = keys.find((candidate) => candidate.kid === kid);
    if (key === undefined) return undefined;
    ({ plaintext } = await compactDecrypt(text, key.privateKey, {
      keyManagementAlgorithms: [JWE_ALGORITHM],
      contentEncryptionAlgorithms: [JWE_ENCRYPTION],
    }));
    return readClaims(Buffer.from(plaintext.buffer, plaintext.byteOffset, plaintext.byteLength));
  } catch {
    return undefined;
  } finally {
    plaintext?.fill(0);
  }
}

/**
 * Whether bytes are spelled as RFC 7515 (appendix C) spells them. Decoders also take padding, the
 * letters of ordinary base64, other characters, and stray bits in the last letter. Then one
 * envelope would have many texts.
 */
function isCanonicalBase64url(part: string): boolean {
  return Buffer.from(part, 'base64url').toString('base64url') === part;
}

/**
 * Cuts the PIN out of the bytes and parses the rest. Returns undefined or throws unless they are a
 * JSON object with exactly one `pin`, spelled without escapes.
 */
function readClaims(json: Buffer): JweClaims | undefined {
  // Decoding the whole text would make a string of the PIN. So the member is found and cut out
  // while the text is still bytes.
  const at = pinValueAt(json);
  if (at === undefined) return undefined;
  const end = json.indexOf(0x22, at);
  if (end < 0) return undefined;
  const pin = Buffer.from(json.subarray(at, end));
  json.fill(MASK, at, end);
  let claims: Record<string, unknown> | null;
  try {
    claims = JSON.parse(json.toString('utf8')) as Record<string, unknown> | null;
  } catch (error) {
    pin.fill(0);
    throw error;
  }
  // Only the object's own member counts, not a text inside another member.
  if (typeof claims !== 'object' || claims === null || claims.pin !== MASK.repeat(end - at)) {
    pin.fill(0);
    return undefined;
  }
  return { pin, cardNo: claims.card_no, iat: claims.iat, jti: claims.jti };
}

/**
 * Where the value of the `pin` member begins, after its quotation mark. Returns undefined if there
 * is no such member, or more than one.
 */
function pinValueAt(json: Buffer): number | undefined {
  const name = Buffer.from('"pin"');
  const first = json.indexOf(name);
  if (first < 0 || json.indexOf(name, first + 1) >= 0) return undefined;
  let at = first + name.length;
  const skipBlanks = (): void => {
    while (json[at] === 0x20 || json[at] === 0x09 || json[at] === 0x0a || json[at] === 0x0d) at++;
  };
  skipBlanks();
  if (json[at++] !== 0x3a) return undefined;
  skipBlanks();
  return json[at++] === 0x22 ? at : undefined;
}
