import { ApiError } from '../api-error.ts';

/*
 * The sandbox's stand-in for the verifier of cardholders. The beginning of a share token
 * says what it will decide.
 */

export type SimulatedVerdict = 'approve' | 'reject' | 'pending';

/** What the simulated verifier decides on a share token; undefined if it does not know it. */
export function simulatedVerdict(shareToken: string): SimulatedVerdict | undefined {
  return /^(approve|reject|pending)-/.exec(shareToken)?.[1] as SimulatedVerdict | undefined;
}

/** 2006 unless the simulated verifier knows the share token. */
export function requireKnownShareToken(shareToken: string): void {
  if (simulatedVerdict(shareToken) === undefined) throw new ApiError('kycUnreadable');
}
