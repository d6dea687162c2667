import { ApiError } from '../errors.ts';
import type { CardholderStatus } from './store.ts';

/** Only `Approved` cardholders get cards: 2002 for none, 2005 for a rejected one, 2004 for one that is not decided on. */
export function requireApproved(status: CardholderStatus | undefined): void {
  if (status === undefined) throw new ApiError('cardholderMissing');
  if (status === 'Rejected') throw new ApiError('verificationFailed');
  if (status !== 'Approved') throw new ApiError('verificationPending');
}
