import { JWE_CLOCK_SKEW_MS, JWE_LIFETIME_MS, type PinEnvelope } from '@pinward/contract/pin-envelope';
import type { PinPolicy } from '@pinward/contract/pin-policies';
import { isAcceptablePin, PIN_DIGITS } from '@pinward/contract/pin-rule';
import { ApiError } from '../api-error.ts';
import type { MerchantActor } from '../audit/actor.ts';
import { requirePhysical } from '../cards/lock-card.ts';
import { panIdentity } from '../cards/store.ts';
import { randomBytesPooled } from '../crypto/random.ts';
import type { Database } from '../db/database.ts';
import { isDuplicate } from '../db/errors.ts';
import type { Caller } from '../merchants/caller.ts';
import { throwIfLimited } from '../rate-limit.ts';
import type { Services } from '../services.ts';
import { checkPolicies, type PolicyVerdict } from './check-policies.ts';
import { openPinEnvelope } from './pin-envelope.ts';
import { PIN_SALT_BYTES, pinReferenceValue } from './pin-reference-value.ts';
import { type CardForPin, findCardForPin, writePin } from './store.ts';

export interface SetPinRequest {
  cardNo: string;
  cardholderNo: string;
  /** The enciphered PIN, as it was sent. */
  pin: string;
  envelope: PinEnvelope;
  /** The Timestamp header, as it was sent. */
  timestamp: string;
}

/** Each failed attempt means that another set on the card got through. */
const ATTEMPTS_LIMIT = 1_000;

/**
 * Sets the PIN of a physical card. Returns, once PIN, audit record and event are stored durably,
 * the policies that warn. Errors, in the order of the checks: 4001, 4017, 4005, 1009, 4016; and
 * 4005 again if the card left `Activated` before the write. The clear PIN exists only inside this
 * call, as bytes, and is wiped before it ends.
 *
 * A PIN that was judged against the card's history is judged again if another set got through
 * before the write.
 */
export async function setPin(
  services: Services,
  caller: Caller,
  request: SetPinRequest,
  by: MerchantActor,
): Promise<PinPolicy[]> {
  const { db, clock, limits } = services;
  const { merchantId } = caller;
  const { cardNo } = request;
  let card = await findActivatedCard(db, merchantId, request);
  const now = clock();
  throwIfLimited(limits.pinSetsPerCard.take(cardNo, now));

  for (let attempt = 0; attempt < ATTEMPTS_LIMIT; attempt++) {
    const { warnings, ...reference } = await referencePin(services, caller, card, request, now);
    const written = await writePin(db, {
      merchantId,
      cardNo,
      ...reference,
      envelope: request.envelope,
      credentialId: caller.credentialId,
      atMs: now,
      ip: by.ip,
      requestId: by.requestId,
      tellMerchant: caller.callbackActions.has('Pin_set'),
      jtiExpiresAtMs: now + JWE_LIFETIME_MS + JWE_CLOCK_SKEW_MS,
      historyLength: caller.pinPolicies.has('history') ? caller.pinHistory : 0,
    }).catch((error: unknown) => {
      throw isDuplicate(error, 'used_jtis_pkey') ? new ApiError('pinRefused') : error;
    });
    if (written) return warnings;
    if (reference.judgedVersion === undefined) throw new ApiError('cardStatusUnfit');
    card = await findActivatedCard(db, merchantId, request);
  }
  throw new Error('a PIN set found another PIN on the card each time');
}

/** Errors: 4001, 4017, 4005. */
async function findActivatedCard(
  db: Database,
  merchantId: number,
  { cardNo, cardholderNo }: SetPinRequest,
): Promise<CardForPin> {
  const card = await findCardForPin(db, merchantId, cardNo);
  if (card === undefined || card.cardholderNo !== cardholderNo) throw new ApiError('cardMissing');
  requirePhysical(card.cardType);
  if (card.status !== 'Activated') throw new ApiError('cardStatusUnfit');
  return card;
}

interface ReferencedPin extends PolicyVerdict {
  prv: Buffer;
  salt: Buffer;
  keyVersion: number;
  jti: string | undefined;
}

const NO_POLICIES: PolicyVerdict = { warnings: [], judgedVersion: undefined };

/**
 * Opens the envelope, judges the PIN by rule and policies, and makes its reference value. Errors:
 * 4016.
 */
async function referencePin(
  services: Services,
  caller: Caller,
  card: CardForPin,
  request: SetPinRequest,
  now: number,
): Promise<ReferencedPin> {
  const { keys } = services;
  const { merchantId } = caller;
  const { cardNo, cardholderNo } = request;
  const salt = randomBytesPooled(PIN_SALT_BYTES);
  const keyVersion = keys.pinVerify.version;
  const { block, formFault, jti } = await openPinEnvelope(caller.apiSecret, keys.jwe, request, now);
  try {
    const acceptable = isAcceptablePin(block, caller.pinRuns);
    if (formFault !== 0 || !acceptable) throw new ApiError('pinRefused');
    if (card.panWrapped === null) throw new Error('an activated card without PAN');
    const pin = block.subarray(0, PIN_DIGITS);
    const pan = keys.pan.unwrap(card.panWrapped, panIdentity(cardNo));
    try {
      const candidate = { cardNo, cardholderNo, pin, pan };
      const verdict = caller.pinPolicies.size === 0 ? NO_POLICIES : await checkPolicies(services, caller, candidate);
      const prv = await pinReferenceValue(keys.pinVerify, keyVersion, { merchantId, cardNo, pan, salt, pin });
      return { prv, salt, keyVersion, jti, ...verdict };
    } finally {
      pan.fill(0);
    }
  } finally {
    block.fill(0);
  }
}
