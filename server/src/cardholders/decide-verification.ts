import type { ErrorName } from '@pinward/contract/errors';
import type { CardholderStatus } from '@pinward/contract/vocabulary';
import { ApiError } from '../api-error.ts';
import type { Actor } from '../audit/actor.ts';
import { type AuditAction, auditCardholder } from '../audit/append.ts';
import type { Services } from '../services.ts';
import { type Personal, wrapPersonal } from './personal.ts';
import { lockCardholder, setVerification } from './store.ts';

/**
 * Every status change that a verifier makes. Only a new application leaves `Rejected`
 * (apply-cardholder.ts).
 */
const VERDICTS = {
  In_progress: { from: ['Pending'], action: 'cardholder_verification_started' },
  Approved: { from: ['Pending', 'In_progress'], action: 'cardholder_approved' },
  Rejected: { from: ['Pending', 'In_progress'], action: 'cardholder_rejected' },
} as const satisfies Record<string, { from: readonly CardholderStatus[]; action: AuditAction }>;

export interface Verdict {
  cardholderNo: string;
  /**
   * Names the application by its time, as the queue shows it. Undefined: the present
   * application.
   */
  submittedAtMs: number | undefined;
  status: keyof typeof VERDICTS;
  /** Why, with `Rejected`. */
  reason: string | undefined;
  /** What the verifier learned about the person, with `Approved`. */
  email: string | undefined;
  personal: Personal;
}

/**
 * Stores how far a cardholder's verification is. The same status again changes nothing.
 * Errors: 2002; 2004 for an application that was followed by another; 2003 and 2005 after
 * another verdict; 1004 on `birth_date`.
 */
export async function decideVerification(
  { db, keys, clock }: Pick<Services, 'db' | 'keys' | 'clock'>,
  merchantIds: number[],
  { cardholderNo, submittedAtMs, status, reason, email, personal }: Verdict,
  by: Actor,
): Promise<void> {
  const now = clock();
  const personalWrapped = wrapPersonal(keys, cardholderNo, personal);
  await db.transaction(async (tx) => {
    const cardholder = await lockCardholder(tx, merchantIds, cardholderNo);
    if (cardholder === undefined) throw new ApiError('cardholderMissing');
    if (submittedAtMs !== undefined && submittedAtMs !== cardholder.submittedAtMs)
      throw new ApiError('verificationPending');
    const before = cardholder.status;
    if (before === status) return;
    const { from, action } = VERDICTS[status];
    if (!(from as readonly CardholderStatus[]).includes(before)) throw new ApiError(refusalOf(before));
    const failReason = status === 'Rejected' ? reason : undefined;
    await setVerification(tx, cardholder, { status, failReason, email, personalWrapped });
    await auditCardholder(tx, cardholder, { atMs: now, action, by, details: { before, reason } });
  });
}

function refusalOf(status: CardholderStatus): ErrorName {
  if (status === 'Approved') return 'cardholderVerified';
  return status === 'Rejected' ? 'verificationFailed' : 'verificationPending';
}
