import { type AuditAction, auditCardholder, detailsOf } from '../audit/append.ts';
import type { By } from '../cards/change-status.ts';
import { ApiError } from '../errors.ts';
import type { Services } from '../services.ts';
import { type Personal, wrapPersonal } from './personal.ts';
import { type CardholderStatus, lockCardholder, setVerification } from './store.ts';

/** Every change of a cardholder's status that a verifier makes. A rejected one begins anew with a new application alone. */
const VERDICTS = {
  In_progress: { from: ['Pending'], action: 'cardholder_verification_started' },
  Approved: { from: ['Pending', 'In_progress'], action: 'cardholder_approved' },
  Rejected: { from: ['Pending', 'In_progress'], action: 'cardholder_rejected' },
} as const satisfies Record<string, { from: readonly CardholderStatus[]; action: AuditAction }>;

export interface Verdict {
  cardholderNo: string;
  /** Which application it is about, by the time that the queue shows; undefined: the present one. */
  submittedAtMs: number | undefined;
  status: keyof typeof VERDICTS;
  /** Why, with `Rejected`. */
  reason: string | undefined;
  /** What the verifier learned of the person, with `Approved`. */
  email: string | undefined;
  personal: Personal;
}

/**
 * Stores how far a cardholder's verification is. The same word once more changes nothing. Errors: 2002; 2004 for an application
 * that another has followed; 2003 and 2005 where the verdict was given already; 1004 on `birth_date`.
 */
export async function decideVerification(
  { db, keys, clock }: Pick<Services, 'db' | 'keys' | 'clock'>,
  merchantIds: number[],
  { cardholderNo, submittedAtMs, status, reason, email, personal }: Verdict,
  by: By,
): Promise<void> {
  const now = clock();
  const personalWrapped = wrapPersonal(keys, cardholderNo, personal) ?? undefined;
  await db.transaction(async (tx) => {
    const cardholder = await lockCardholder(tx, merchantIds, cardholderNo);
    if (cardholder === undefined) throw new ApiError('cardholderMissing');
    if (submittedAtMs !== undefined && submittedAtMs !== cardholder.submittedAtMs) throw new ApiError('verificationPending');
    if (cardholder.status === status) return;
    const { from, action } = VERDICTS[status];
    if (!(from as readonly CardholderStatus[]).includes(cardholder.status)) throw new ApiError(refusalOf(cardholder.status));
    await setVerification(tx, cardholder, { status, failReason: status === 'Rejected' ? reason : undefined, email, personalWrapped });
    const why = reason === undefined ? {} : { reason };
    await auditCardholder(tx, cardholder.merchantId, cardholderNo, now, action, detailsOf(by, { before: cardholder.status, ...why }));
  });
}

function refusalOf(status: CardholderStatus) {
  if (status === 'Approved') return 'cardholderVerified';
  return status === 'Rejected' ? 'verificationFailed' : 'verificationPending';
}
