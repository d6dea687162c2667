import type { KeyObject } from 'node:crypto';
import { compactDecrypt, decodeProtectedHeader } from 'jose';

/*
 * The `jwe` envelope: a compact JWE (RFC 7516) by ECDH-ES+A256KW on P-256 with A256GCM, without `zip`, to a key that the platform
 * publishes. Inside is JSON: {"pin": "six digits", "card_no": "...", "iat": Unix seconds, "jti": "one use"}.
 */

export interface JweClaims {
  /** The digits, as bytes; the caller wipes them. */
  pin: Buffer;
  cardNo: unknown;
  iat: unknown;
  jti: unknown;
}

const ALGORITHM = 'ECDH-ES+A256KW';
const ENCRYPTION = 'A256GCM';
const LONGEST_TEXT = 4_096;
/** Stands where the digits stood, so that what is left can be parsed and no string of the PIN is ever made. */
const BLANK = 0x2a;

/** Opens the envelope with the key that it names. Undefined for whatever is none, or is sealed to another key. */
export async function openJwe(keys: readonly { kid: string; privateKey: KeyObject }[], text: string): Promise<JweClaims | undefined> {
  if (text.length > LONGEST_TEXT) return undefined;
  let plaintext: Uint8Array | undefined;
  try {
    const { kid, alg, enc, zip, crit } = decodeProtectedHeader(text);
    const key = keys.find((one) => one.kid === kid);
    if (key === undefined || alg !== ALGORITHM || enc !== ENCRYPTION || zip !== undefined || crit !== undefined) return undefined;
    ({ plaintext } = await compactDecrypt(text, key.privateKey, {
      keyManagementAlgorithms: [ALGORITHM],
      contentEncryptionAlgorithms: [ENCRYPTION],
    }));
    return readClaims(Buffer.from(plaintext.buffer, plaintext.byteOffset, plaintext.byteLength));
  } catch {
    return undefined;
  } finally {
    plaintext?.fill(0);
  }
}

/** Takes the PIN out of the bytes and parses the rest. Throws for what is no JSON object with one `pin` in plain spelling. */
function readClaims(json: Buffer): JweClaims | undefined {
  // Latin-1 would make a string of the PIN: the member's name is looked for in bytes, and its value cut out, before any is made.
  const at = memberValueAt(json);
  if (at === undefined) return undefined;
  const end = json.indexOf(0x22, at);
  if (end < 0) return undefined;
  const pin = Buffer.from(json.subarray(at, end));
  json.fill(BLANK, at, end);
  let claims: Record<string, unknown> | null;
  try {
    claims = JSON.parse(json.toString('utf8')) as Record<string, unknown> | null;
  } catch (error) {
    pin.fill(0);
    throw error;
  }
  // What was cut out is the object's own member, and not text inside another.
  if (typeof claims !== 'object' || claims === null || claims.pin !== '*'.repeat(end - at)) {
    pin.fill(0);
    return undefined;
  }
  return { pin, cardNo: claims.card_no, iat: claims.iat, jti: claims.jti };
}

/** Where the one `pin` member's value begins, behind its quotation mark; undefined if there is none, or more than one. */
function memberValueAt(json: Buffer): number | undefined {
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
