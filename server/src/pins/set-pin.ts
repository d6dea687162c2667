import type { Origin } from '../auth/authenticate.ts';
import type { Caller } from '../auth/callers.ts';
import { requirePhysical } from '../cards/change-status.ts';
import { panIdentity } from '../cards/store.ts';
import { randomBytesPooled } from '../crypto/random.ts';
import { isDuplicate } from '../db/database.ts';
import { ApiError } from '../errors.ts';
import type { Services } from '../services.ts';
import { judgePolicies } from './judge-policies.ts';
import { JWE_CLOCK_SKEW_MS, JWE_LIFETIME_MS, openPinEnvelope, type PinEnvelope } from './pin-envelope.ts';
import type { PinPolicy } from './pin-policies.ts';
import { isAcceptablePin, PIN_DIGITS } from './pin-policy.ts';
import { pinReferenceValue } from './pin-reference-value.ts';

export interface SetPinRequest {
  cardNo: string;
  cardholderNo: string;
  /** The enciphered PIN, as it came. */
  pin: string;
  envelope: PinEnvelope;
  /** The Timestamp header, as it came. */
  timestamp: string;
}

const SALT_BYTES = 16;

/**
 * Sets the PIN of a physical card. Returns when PIN, audit record and event are stored durably, with the policies that warn.
 * Errors, in the order in which they are judged: 4001, 4017, 4005, 1009, 4016; and 4005 again if the card left
 * `Activated` before the write. The clear PIN exists in this function alone, as bytes, and is wiped before it ends.
 */
export async function setPin(services: Services, caller: Caller, request: SetPinRequest, origin: Origin): Promise<PinPolicy[]> {
  const { pins, keys, clock, limits } = services;
  const { merchantId } = caller;
  const { cardNo, cardholderNo } = request;
  const card = await pins.findCard(merchantId, cardNo);
  if (card === undefined || card.cardholderNo !== cardholderNo) throw new ApiError('cardMissing');
  requirePhysical(card.cardType);
  if (card.status !== 'Activated') throw new ApiError('cardStatusUnfit');
  const now = clock();
  const wait = limits.pinSetsPerCard.take(cardNo, now);
  if (wait > 0) throw new ApiError('tooFrequent', { retryAfterSeconds: wait });

  const salt = randomBytesPooled(SALT_BYTES);
  const keyVersion = keys.pinVerify.version;
  let prv: Buffer;
  let warnings: PinPolicy[];
  const { block, formFault, jti } = await openPinEnvelope(caller.apiSecret, keys.jwe, request, now);
  try {
    const acceptable = isAcceptablePin(block, caller.pinRuns);
    if (formFault !== 0 || !acceptable) throw new ApiError('pinRefused');
    if (card.panWrapped === null) throw new Error('an activated card without PAN');
    const pin = block.subarray(0, PIN_DIGITS);
    const pan = keys.pan.unwrap(card.panWrapped, panIdentity(cardNo));
    try {
      warnings = caller.pinPolicies.size === 0 ? [] : await judgePolicies(services, caller, { cardNo, cardholderNo, pin, pan });
      prv = await pinReferenceValue(keys.pinVerify, keyVersion, { merchantId, cardNo, pan, salt, pin });
    } finally {
      pan.fill(0);
    }
  } finally {
    block.fill(0);
  }

  const written = await pins
    .write({
      merchantId,
      cardNo,
      prv,
      salt,
      keyVersion,
      envelope: request.envelope,
      credentialId: caller.credentialId,
      atMs: now,
      ip: origin.ip,
      requestId: origin.requestId,
      tellMerchant: caller.callbackActions.has('Pin_set'),
      jti,
      jtiExpiresAtMs: now + JWE_LIFETIME_MS + JWE_CLOCK_SKEW_MS,
      keep: caller.pinPolicies.has('history') ? caller.pinHistory : 0,
    })
    .catch((error: unknown) => {
      throw isDuplicate(error, 'used_jtis_pkey') ? new ApiError('pinRefused') : error;
    });
  if (!written) throw new ApiError('cardStatusUnfit');
  return warnings;
}
