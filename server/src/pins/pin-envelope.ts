import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import {
  BOUND_KEY_BYTES,
  type BoundTo,
  boundInfo,
  isStrongEnough,
  JTI_PATTERN,
  JWE_CLOCK_SKEW_MS,
  JWE_LIFETIME_MS,
  PIN_ENVELOPES,
  type PinEnvelope,
} from '@pinward/contract/pin-envelope';
import { PIN_BLOCK_BYTES, PIN_DIGITS } from '@pinward/contract/pin-rule';
import { ApiError } from '../api-error.ts';
import { openEcb } from '../crypto/ecb-envelope.ts';
import { openJwe } from '../crypto/jwe-envelope.ts';
import type { JweKey } from '../keys/keys.ts';

/**
 * The envelope of a call's `pin`: the header's, else the credential's default; never found by
 * trying. Errors: 1004 on `Pin-Envelope` for an unknown name, 1004 on `pin` for one weaker than the
 * credential demands.
 */
export function chooseEnvelope(
  header: string | undefined,
  credential: { pinEnvelope: PinEnvelope; pinEnvelopeMinimum: PinEnvelope },
): PinEnvelope {
  const name = header === undefined || header === '' ? credential.pinEnvelope : header;
  const envelope = PIN_ENVELOPES.find((one) => one === name);
  if (envelope === undefined) throw new ApiError('invalidParameter', { field: 'Pin-Envelope' });
  if (!isStrongEnough(envelope, credential.pinEnvelopeMinimum))
    throw new ApiError('invalidParameter', { field: 'pin' });
  return envelope;
}

export interface SealedPin extends BoundTo {
  envelope: PinEnvelope;
  pin: string;
}

export interface OpenedPin {
  /** 16 bytes: the digits and their PKCS#5 padding. The caller judges and wipes it. */
  block: Buffer;
  /** 1 if the envelope is malformed, another card's, or too old. */
  formFault: 0 | 1;
  /** Of a `jwe`: to be used up in the transaction of the set. */
  jti: string | undefined;
}

/**
 * Opens the envelope. Never throws for what is inside and always returns a block, so that every
 * fault takes the same path to one judgement.
 */
export async function openPinEnvelope(
  apiSecret: KeyObject,
  jweKeys: readonly JweKey[],
  sealed: SealedPin,
  nowMs: number,
): Promise<OpenedPin> {
  if (sealed.envelope === 'jwe') return openJwePin(jweKeys, sealed, nowMs);
  const { block, formFault } = openEcb(sealed.envelope === 'ecb' ? apiSecret : boundKey(apiSecret, sealed), sealed.pin);
  return { block, formFault, jti: undefined };
}

async function openJwePin(jweKeys: readonly JweKey[], sealed: SealedPin, nowMs: number): Promise<OpenedPin> {
  const claims = await openJwe(jweKeys, sealed.pin);
  const block = Buffer.alloc(PIN_BLOCK_BYTES);
  if (claims === undefined) return { block, formFault: 1, jti: undefined };
  const { pin, cardNo, iat, jti } = claims;
  // As a padded block, so that it is judged where the other envelopes are.
  block.set(pin.subarray(0, PIN_DIGITS));
  block.fill(PIN_BLOCK_BYTES - PIN_DIGITS, PIN_DIGITS);
  const ageMs = typeof iat === 'number' ? nowMs - iat * 1000 : Number.NaN;
  const fresh = ageMs >= -JWE_CLOCK_SKEW_MS && ageMs <= JWE_LIFETIME_MS;
  const oneUse = typeof jti === 'string' && JTI_PATTERN.test(jti);
  const good = pin.length === PIN_DIGITS && cardNo === sealed.cardNo && fresh && oneUse;
  pin.fill(0);
  return { block, formFault: good ? 0 : 1, jti: good ? jti : undefined };
}

/** The AES-256 key of a `bound` envelope. */
export function boundKey(apiSecret: KeyObject, boundTo: BoundTo): KeyObject {
  const bytes = Buffer.from(hkdfSync('sha256', apiSecret, '', boundInfo(boundTo), BOUND_KEY_BYTES));
  const key = createSecretKey(bytes);
  bytes.fill(0);
  return key;
}
