import { createSecretKey } from 'node:crypto';
import { CompactEncrypt, importJWK, type JWK } from 'jose';
import { sealEcb } from '../../src/crypto/ecb-envelope.ts';
import { boundKey } from '../../src/pins/pin-envelope.ts';
import { FIRST_CARD, SANDBOX_SECRET } from './sandbox.ts';

/**
 * Seals a PIN into the `bound` envelope, as a merchant's server does. The default is the first
 * card.
 */
export function sealBound(
  pin: string,
  timestamp: string,
  { cardNo = FIRST_CARD.cardNo, cardholderNo = FIRST_CARD.cardholderNo, secret = SANDBOX_SECRET } = {},
): string {
  const key = createSecretKey(Buffer.from(secret, 'utf8'));
  return sealEcb(boundKey(key, { cardNo, cardholderNo, timestamp }), pin);
}

export interface JweOptions {
  header?: Record<string, unknown>;
  /** The plaintext to seal instead of the claims. */
  payload?: string;
}

/** Seals a PIN into the `jwe` envelope, as a cardholder's browser does. */
export async function sealJwe(
  jwk: JWK,
  claims: Record<string, unknown>,
  { header, payload }: JweOptions = {},
): Promise<string> {
  return new CompactEncrypt(new TextEncoder().encode(payload ?? JSON.stringify(claims)))
    .setProtectedHeader({ alg: 'ECDH-ES+A256KW', enc: 'A256GCM', kid: jwk.kid as string, ...header })
    .encrypt(await importJWK(jwk, (header?.alg as string | undefined) ?? 'ECDH-ES+A256KW'));
}
