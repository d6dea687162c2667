import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { openEcb } from '../crypto/ecb-envelope.ts';
import { openJwe } from '../crypto/jwe-envelope.ts';
import { ApiError } from '../errors.ts';
import type { JweKey } from '../keys/keys.ts';

/** How a PIN travels from the merchant, from the weakest to the strongest (docs/adr/0008). */
export const PIN_ENVELOPES = ['ecb', 'bound', 'jwe'] as const;
export type PinEnvelope = (typeof PIN_ENVELOPES)[number];

/** A JWE may be this old, and its `jti` is remembered as long. */
export const JWE_LIFETIME_MS = 600_000;
/** It may come from a cardholder's browser, whose clock is nobody's duty. */
export const JWE_CLOCK_SKEW_MS = 60_000;

const BLOCK_BYTES = 16;
const PIN_BYTES = 6;

/**
 * Which envelope a call's `pin` is in: what the header says, else the credential's setting; never found out by trying. 1004 on
 * the header for a name that is none, 1004 on `pin` for one that is weaker than the credential demands.
 */
export function chooseEnvelope(
  header: string | undefined,
  credential: { pinEnvelope: PinEnvelope; pinEnvelopeMinimum: PinEnvelope },
): PinEnvelope {
  const asked = header === undefined || header === '' ? credential.pinEnvelope : header;
  const strength = (PIN_ENVELOPES as readonly string[]).indexOf(asked);
  if (strength < 0) throw new ApiError('invalidParameter', { field: 'Pin-Envelope' });
  if (strength < PIN_ENVELOPES.indexOf(credential.pinEnvelopeMinimum)) throw new ApiError('invalidParameter', { field: 'pin' });
  return asked as PinEnvelope;
}

export interface SealedPin {
  envelope: PinEnvelope;
  pin: string;
  cardNo: string;
  cardholderNo: string;
  /** The Timestamp header, as it came. */
  timestamp: string;
}

export interface OpenedPin {
  /** 16 bytes: the digits and their PKCS#5 padding. The caller judges and wipes it. */
  block: Buffer;
  /** 1 if the envelope has another form, is another card's, or is stale. */
  formFault: 0 | 1;
  /** Of a JWE: to be consumed in the transaction of the set. */
  jti: string | undefined;
}

/** Opens the envelope. Never throws for what is inside, and always gives a block: every fault is judged at one place. */
export async function openPinEnvelope(
  apiSecret: KeyObject,
  jweKeys: readonly JweKey[],
  sealed: SealedPin,
  nowMs: number,
): Promise<OpenedPin> {
  if (sealed.envelope !== 'jwe') {
    const { block, formFault } = openEcb(sealed.envelope === 'ecb' ? apiSecret : boundKey(apiSecret, sealed), sealed.pin);
    return { block, formFault, jti: undefined };
  }
  const claims = await openJwe(jweKeys, sealed.pin);
  const block = Buffer.alloc(BLOCK_BYTES);
  if (claims === undefined) return { block, formFault: 1, jti: undefined };
  const { pin, cardNo, iat, jti } = claims;
  // As a padded block, so that it is judged where the others are.
  block.set(pin.subarray(0, PIN_BYTES));
  block.fill(BLOCK_BYTES - PIN_BYTES, PIN_BYTES);
  const ageMs = typeof iat === 'number' ? nowMs - iat * 1000 : Number.NaN;
  const fresh = ageMs >= -JWE_CLOCK_SKEW_MS && ageMs <= JWE_LIFETIME_MS;
  const oneUse = typeof jti === 'string' && /^[A-Za-z0-9_-]{8,128}$/.test(jti);
  const good = pin.length === PIN_BYTES && cardNo === sealed.cardNo && fresh && oneUse;
  pin.fill(0);
  return { block, formFault: good ? 0 : 1, jti: good ? jti : undefined };
}

const BOUND_KEY_BYTES = 32;

/**
 * The key of a `bound` envelope: HKDF-SHA-256 (RFC 5869) of the apiSecret's bytes without salt, over
 * "pinward/pin/v1" ‖ 00 ‖ card_no ‖ 00 ‖ cardholder_no ‖ 00 ‖ Timestamp. None of them holds a 00.
 */
export function boundKey(apiSecret: KeyObject, { cardNo, cardholderNo, timestamp }: Omit<SealedPin, 'envelope' | 'pin'>): KeyObject {
  const info = `pinward/pin/v1\0${cardNo}\0${cardholderNo}\0${timestamp}`;
  const bytes = Buffer.from(hkdfSync('sha256', apiSecret, '', info, BOUND_KEY_BYTES));
  const key = createSecretKey(bytes);
  bytes.fill(0);
  return key;
}
