import { timingSafeEqual } from 'node:crypto';
import { auditCard, detailsOf } from '../audit/append.ts';
import type { Origin } from '../auth/authenticate.ts';
import type { Caller } from '../auth/callers.ts';
import { judgeDigits, openEcb } from '../crypto/ecb-envelope.ts';
import { ApiError } from '../errors.ts';
import type { Keys } from '../keys/keys.ts';
import type { Services } from '../services.ts';
import { changeStatus, lockOwnCard, requirePhysical } from './change-status.ts';
import { type LockedCard, panIdentity, updateActivationFailures } from './store.ts';

/** A CVV has 1,000 values: five wrong tries a day leave a guesser years. */
const MOST_FAILURES = 5;
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
 * Activates a physical card whose holder knows its CVV2 and last four digits. Errors: 4001, 4017, 4005, 4003 (which of
 * the two was wrong is not told), and 1009 after too many wrong tries. A wrong try is stored and counted with the card.
 */
export async function activateCard(
  { db, clock, keys }: Services,
  caller: Caller,
  request: ActivationRequest,
  origin: Origin,
): Promise<void> {
  const now = clock();
  const verified = await db.transaction(async (tx) => {
    const card = await lockOwnCard(tx, caller, request.cardNo, request.cardholderNo);
    requirePhysical(card.cardType);
    if (card.status !== 'ToActivate') throw new ApiError('cardStatusUnfit');
    const windowEnds = (card.activationFailedAtMs ?? 0) + FAILURE_WINDOW_MS;
    const failures = windowEnds > now ? card.activationFailures : 0;
    if (failures >= MOST_FAILURES) throw new ApiError('tooFrequent', { retryAfterSeconds: Math.ceil((windowEnds - now) / 1000) });
    if (!knowsCard(keys, caller, card, request)) {
      // The window begins with the first failure.
      await updateActivationFailures(tx, caller.merchantId, request.cardNo, failures + 1, failures === 0 ? now : card.activationFailedAtMs);
      await auditCard(tx, caller.merchantId, request.cardNo, now, 'card_activation_failed', detailsOf(origin, { failures: failures + 1 }));
      return false;
    }
    await updateActivationFailures(tx, caller.merchantId, request.cardNo, 0, null);
    await changeStatus(tx, card, 'activate', origin, now);
    return true;
  });
  if (!verified) throw new ApiError('cardVerificationFailed');
}

/** Compares CVV2 and last four digits without an early exit. */
function knowsCard(keys: Keys, caller: Caller, card: LockedCard, request: ActivationRequest): boolean {
  if (card.panWrapped === null || card.expiryYymm === null || card.panLastFour === null)
    throw new Error('a card to activate without PAN or expiry');
  const pan = keys.pan.unwrap(card.panWrapped, panIdentity(request.cardNo));
  const expected = Buffer.from(keys.cvv.cvv2(card.cvkVersion, pan.toString('latin1'), card.expiryYymm), 'latin1');
  pan.fill(0);
  const { block, formFault } = openEcb(caller.apiSecret, request.cvv);
  try {
    const cvvFits = timingSafeEqual(block.subarray(0, CVV_DIGITS), expected);
    const lastFourFits = timingSafeEqual(Buffer.from(request.lastFour, 'latin1'), Buffer.from(card.panLastFour, 'latin1'));
    return (formFault | judgeDigits(block, CVV_DIGITS)) === 0 && cvvFits && lastFourFits;
  } finally {
    block.fill(0);
    expected.fill(0);
  }
}
