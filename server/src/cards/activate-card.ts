import { timingSafeEqual } from 'node:crypto';
import { judgeDigits } from '@pinward/contract/pin-rule';
import { ApiError } from '../api-error.ts';
import type { MerchantActor } from '../audit/actor.ts';
import { auditCard } from '../audit/append.ts';
import { windowLeftMs } from '../clock-window.ts';
import { openEcb } from '../crypto/ecb-envelope.ts';
import type { Keys } from '../keys/keys.ts';
import type { Caller } from '../merchants/caller.ts';
import type { Services } from '../services.ts';
import { applyTransition } from './apply-transition.ts';
import { lockMerchantCard, requirePhysical } from './lock-card.ts';
import { type LockedCard, panIdentity, updateActivationFailures } from './store.ts';

/** A CVV has 1,000 values: at five wrong tries a day, trying all of them takes 200 days. */
const FAILURES_LIMIT = 5;
const FAILURE_WINDOW_MS = 86_400_000;
const CVV_DIGITS = 3;

export interface ActivationRequest {
  cardNo: string;
  cardholderNo: string;
  /** Three digits in the `ecb` envelope. */
  cvv: string;
  lastFour: string;
}

/**
 * Activates a physical card for a cardholder who knows its CVV2 and last four digits. A
 * wrong try is stored, counted with the card and audited. Errors: 4001, 4017, 4005, 1009
 * after too many wrong tries, and 4003, which does not tell which of the two was wrong.
 */
export async function activateCard(
  { db, clock, keys }: Services,
  caller: Caller,
  request: ActivationRequest,
  by: MerchantActor,
): Promise<void> {
  const now = clock();
  const verified = await db.transaction(async (tx) => {
    const card = await lockMerchantCard(tx, caller, request);
    requirePhysical(card.cardType);
    if (card.status !== 'ToActivate') throw new ApiError('cardStatusUnfit');
    const waitMs = windowLeftMs(card.activationFailedAtMs ?? 0, FAILURE_WINDOW_MS, now);
    const earlier = waitMs > 0 ? card.activationFailures : 0;
    if (earlier >= FAILURES_LIMIT) throw new ApiError('tooFrequent', { retryAfterSeconds: Math.ceil(waitMs / 1000) });
    if (!knowsCard(keys, caller, card, request)) {
      const failures = earlier + 1;
      // The window begins with the first failure.
      const firstAtMs = earlier === 0 ? now : card.activationFailedAtMs;
      await updateActivationFailures(tx, card, { failures, firstAtMs });
      await auditCard(tx, card, { atMs: now, action: 'card_activation_failed', by, details: { failures } });
      return false;
    }
    await updateActivationFailures(tx, card, { failures: 0, firstAtMs: null });
    await applyTransition(tx, card, { transition: 'activate', by, atMs: now });
    return true;
  });
  // Thrown outside the transaction, so the failure stays stored.
  if (!verified) throw new ApiError('cardVerificationFailed');
}

/** Compares CVV2 and last four digits without an early exit. */
function knowsCard(keys: Keys, caller: Caller, card: LockedCard, request: ActivationRequest): boolean {
  const { cardNo, panWrapped, expiryYymm, panLastFour } = card;
  if (panWrapped === null || expiryYymm === null || panLastFour === null)
    throw new Error('a card to activate without PAN or expiry');
  const pan = keys.pan.unwrap(panWrapped, panIdentity(cardNo));
  const cvv = Buffer.from(keys.cvv.cvv2(card.cvkVersion, pan.toString('latin1'), expiryYymm), 'latin1');
  pan.fill(0);
  const { block, formFault } = openEcb(caller.apiSecret, request.cvv);
  try {
    const cvvFits = timingSafeEqual(block.subarray(0, CVV_DIGITS), cvv);
    const lastFourFits = timingSafeEqual(Buffer.from(request.lastFour, 'latin1'), Buffer.from(panLastFour, 'latin1'));
    return (formFault | judgeDigits(block, CVV_DIGITS)) === 0 && cvvFits && lastFourFits;
  } finally {
    block.fill(0);
    cvv.fill(0);
  }
}
