import type { CardholderStatus } from '@pinward/contract/vocabulary';
import { ApiError } from '../api-error.ts';

/**
 * Only `Approved` cardholders get cards: 2002 for no cardholder, 2005 for a rejected one,
 * 2004 for one that still waits for a verdict.
 */
export function requireApproved(status: CardholderStatus | undefined): void {
  if (status === undefined) throw new ApiError('cardholderMissing');
  if (status === 'Rejected') throw new ApiError('verificationFailed');
  if (status !== 'Approved') throw new ApiError('verificationPending');
}
