import { createSecretKey } from 'node:crypto';
import { sealEcb } from '../../src/crypto/ecb-envelope.ts';

export const SANDBOX_SECRET = 'sandbox-api-secret-0123456789abc';
export const OTHER_SECRET = 'other-api-secret-0123456789abcde';

/** Enciphers as a merchant's server does. */
export function seal(digits: string, secret = SANDBOX_SECRET): string {
  return sealEcb(createSecretKey(Buffer.from(secret, 'utf8')), digits);
}

/** A body that sets a PIN on the sandbox's first card. */
export function pinBody(pin: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { card_no: 'C202605220001', cardholder_no: 'U202605220001', pin: seal(pin), ...more };
}
