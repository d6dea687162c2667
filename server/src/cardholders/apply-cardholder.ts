import { createHash } from 'node:crypto';
import { auditCardholder, detailsOf } from '../audit/append.ts';
import type { Origin } from '../auth/authenticate.ts';
import type { Caller } from '../auth/callers.ts';
import type { Queryable } from '../db/database.ts';
import { ApiError } from '../errors.ts';
import { orderNumber } from '../order-number.ts';
import { verdictOfToken } from '../sandbox/verdict-of-token.ts';
import type { Services } from '../services.ts';
import {
  findByUniqueNo,
  insertCardholder,
  type LockedCardholder,
  lockCardholder,
  resubmit,
  type Submission,
  shareTokenIdentity,
} from './store.ts';

export interface CardholderApplication {
  /** Undefined to create; to apply anew after a rejection, the number that creation gave. */
  cardholderNo: string | undefined;
  cardholderUniqueNo: string;
  /** By which the verifier gets at the person's documents. */
  shareToken: string;
}

const MOST_ATTEMPTS = 10;

/**
 * Sends a cardholder to verification, which the issuer's side decides (decide-verification.ts). The same application once more
 * gives the same answer and changes nothing. Errors of a creation: 2001; of a new application: 2002, 2011, 2003, 2004, and
 * 2005 for the share token that was rejected; in the sandbox 2006.
 */
export async function applyCardholder(
  { db, keys, clock, config }: Services,
  caller: Caller,
  application: CardholderApplication,
  origin: Origin,
): Promise<{ cardholderNo: string }> {
  const { cardholderNo, shareToken } = application;
  if (config.mode === 'sandbox' && verdictOfToken(shareToken) === undefined) throw new ApiError('kycUnreadable');
  const now = clock();
  const submissionOf = (no: string): Submission => ({
    shareTokenHash: createHash('sha256').update(shareToken, 'utf8').digest(),
    shareTokenWrapped: keys.pan.wrap(Buffer.from(shareToken, 'utf8'), shareTokenIdentity(no)),
  });
  if (cardholderNo === undefined) return db.transaction((tx) => create(tx, caller, application, submissionOf, origin, now));

  await db.transaction(async (tx) => {
    const cardholder = await lockCardholder(tx, [caller.merchantId], cardholderNo);
    if (cardholder === undefined) throw new ApiError('cardholderMissing');
    if (cardholder.cardholderUniqueNo !== application.cardholderUniqueNo) throw new ApiError('cardholderUniqueNoMismatch');
    const submission = submissionOf(cardholderNo);
    const repeated = isSame(cardholder, submission);
    if (cardholder.status === 'Approved') throw new ApiError('cardholderVerified');
    if (cardholder.status === 'Rejected' && repeated) throw new ApiError('verificationFailed');
    if (repeated) return;
    if (cardholder.status !== 'Rejected') throw new ApiError('verificationPending');
    await resubmit(tx, cardholder, submission, now);
    await auditCardholder(tx, caller.merchantId, cardholderNo, now, 'cardholder_applied', detailsOf(origin, { again: true }));
  });
  return { cardholderNo };
}

async function create(
  tx: Queryable,
  { merchantId }: Caller,
  { cardholderUniqueNo }: CardholderApplication,
  submissionOf: (cardholderNo: string) => Submission,
  origin: Origin,
  now: number,
): Promise<{ cardholderNo: string }> {
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
    const cardholderNo = orderNumber('U', now);
    const submission = submissionOf(cardholderNo);
    const cardholder = { merchantId, cardholderNo, cardholderUniqueNo, status: 'Pending' as const, createdAtMs: now, submission };
    if (await insertCardholder(tx, cardholder)) {
      await auditCardholder(tx, merchantId, cardholderNo, now, 'cardholder_applied', detailsOf(origin));
      return { cardholderNo };
    }
    const existing = await findByUniqueNo(tx, merchantId, cardholderUniqueNo);
    if (existing === undefined) continue; // the number was somebody's
    if (!isSame(existing, submission)) throw new ApiError('cardholderExists');
    return { cardholderNo: existing.cardholderNo };
  }
  throw new Error('no number was free');
}

function isSame(cardholder: LockedCardholder, submission: Submission): boolean {
  return cardholder.shareTokenHash?.equals(submission.shareTokenHash) ?? false;
}
