import { createHash } from 'node:crypto';
import { ApiError } from '../api-error.ts';
import type { MerchantActor } from '../audit/actor.ts';
import { auditCardholder } from '../audit/append.ts';
import type { Keys } from '../keys/keys.ts';
import type { Caller } from '../merchants/caller.ts';
import { orderNumber } from '../order-number.ts';
import type { Services } from '../services.ts';
import { wrapShareToken } from './share-token.ts';
import {
  findByUniqueNo,
  insertCardholder,
  type LockedCardholder,
  lockCardholder,
  resubmit,
  type Submission,
} from './store.ts';

export interface CardholderApplication {
  /**
   * Undefined creates a cardholder. To apply again after a rejection: the number that the
   * creation returned.
   */
  cardholderNo: string | undefined;
  cardholderUniqueNo: string;
  /** Gives the verifier access to the person's documents. */
  shareToken: string;
}

const ATTEMPTS_LIMIT = 10;

/**
 * Sends a cardholder to verification. The issuer's side decides on it
 * (decide-verification.ts). The same application again returns the same answer and changes
 * nothing. Errors of a creation: 2001. Errors of a new application: 2002, 2011, 2003, 2004,
 * and 2005 for the share token that was rejected.
 */
export async function applyCardholder(
  services: Services,
  caller: Caller,
  application: CardholderApplication,
  by: MerchantActor,
): Promise<{ cardholderNo: string }> {
  const { cardholderNo } = application;
  if (cardholderNo === undefined) return create(services, caller, application, by);
  await applyAgain(services, caller, { ...application, cardholderNo }, by);
  return { cardholderNo };
}

async function create(
  { db, keys, clock }: Services,
  { merchantId }: Caller,
  { cardholderUniqueNo, shareToken }: CardholderApplication,
  by: MerchantActor,
): Promise<{ cardholderNo: string }> {
  const now = clock();
  return db.transaction(async (tx) => {
    for (let attempt = 0; attempt < ATTEMPTS_LIMIT; attempt++) {
      const key = { merchantId, cardholderNo: orderNumber('U', now) };
      const submission = submissionOf(keys, key.cardholderNo, shareToken);
      const about = { cardholderUniqueNo, status: 'Pending', createdAtMs: now, submission } as const;
      if (await insertCardholder(tx, { ...key, ...about })) {
        await auditCardholder(tx, key, { atMs: now, action: 'cardholder_applied', by });
        return { cardholderNo: key.cardholderNo };
      }
      const existing = await findByUniqueNo(tx, merchantId, cardholderUniqueNo);
      if (existing === undefined) continue; // The new number was another cardholder's.
      if (!isSame(existing, submission)) throw new ApiError('cardholderExists');
      return { cardholderNo: existing.cardholderNo };
    }
    throw new Error('no number was free');
  });
}

async function applyAgain(
  { db, keys, clock }: Services,
  { merchantId }: Caller,
  { cardholderNo, cardholderUniqueNo, shareToken }: CardholderApplication & { cardholderNo: string },
  by: MerchantActor,
): Promise<void> {
  const now = clock();
  await db.transaction(async (tx) => {
    const cardholder = await lockCardholder(tx, [merchantId], cardholderNo);
    if (cardholder === undefined) throw new ApiError('cardholderMissing');
    if (cardholder.cardholderUniqueNo !== cardholderUniqueNo) throw new ApiError('cardholderUniqueNoMismatch');
    const submission = submissionOf(keys, cardholderNo, shareToken);
    const repeated = isSame(cardholder, submission);
    if (cardholder.status === 'Approved') throw new ApiError('cardholderVerified');
    if (cardholder.status === 'Rejected' && repeated) throw new ApiError('verificationFailed');
    if (repeated) return;
    if (cardholder.status !== 'Rejected') throw new ApiError('verificationPending');
    await resubmit(tx, cardholder, submission, now);
    await auditCardholder(tx, cardholder, { atMs: now, action: 'cardholder_applied', by, details: { again: true } });
  });
}

function submissionOf(keys: Keys, cardholderNo: string, shareToken: string): Submission {
  return {
    shareTokenHash: createHash('sha256').update(shareToken, 'utf8').digest(),
    shareTokenWrapped: wrapShareToken(keys, cardholderNo, shareToken),
  };
}

function isSame(cardholder: LockedCardholder, submission: Submission): boolean {
  return cardholder.shareTokenHash?.equals(submission.shareTokenHash) ?? false;
}
