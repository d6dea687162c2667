/**
 * How a PIN travels from merchant to platform, from the weakest to the strongest (docs/adr/0008).
 */
export const PIN_ENVELOPES = ['ecb', 'bound', 'jwe'] as const;
export type PinEnvelope = (typeof PIN_ENVELOPES)[number];

/** Whether `envelope` is at least as strong as `minimum`. */
export function isStrongEnough(envelope: PinEnvelope, minimum: PinEnvelope): boolean {
  return PIN_ENVELOPES.indexOf(envelope) >= PIN_ENVELOPES.indexOf(minimum);
}

/** `bound`: length of the AES key: HKDF-SHA-256 (RFC 5869) of the apiSecret, without salt. */
export const BOUND_KEY_BYTES = 32;

/** What a `bound` PIN is bound to. */
export interface BoundTo {
  cardNo: string;
  cardholderNo: string;
  /** The `Timestamp` header, as it is sent. */
  timestamp: string;
}

/**
 * The info of HKDF for `bound`:
 * "pinward/pin/v1" ‖ 00 ‖ card_no ‖ 00 ‖ cardholder_no ‖ 00 ‖ Timestamp.
 * No field contains a 00, so two different subjects never give the same info.
 */
export function boundInfo({ cardNo, cardholderNo, timestamp }: BoundTo): string {
  return `pinward/pin/v1\0${cardNo}\0${cardholderNo}\0${timestamp}`;
}

/** `jwe`: a compact JWE (RFC 7516), ECDH-ES+A256KW on P-256 with A256GCM, without `zip`. */
export const JWE_ALGORITHM = 'ECDH-ES+A256KW';
export const JWE_ENCRYPTION = 'A256GCM';

/** `jwe`: the greatest age of a PIN. The platform remembers its `jti` for this time. */
export const JWE_LIFETIME_MS = 600_000;

/**
 * `jwe`: how far `iat` may lie in the future, because a cardholder's browser may have a wrong
 * clock.
 */
export const JWE_CLOCK_SKEW_MS = 60_000;

/** `jwe`: the form of a `jti`. */
export const JTI_PATTERN = /^[A-Za-z0-9_-]{8,128}$/;
