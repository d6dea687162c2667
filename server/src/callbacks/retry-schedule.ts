const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 3_600_000;
/** After this long an event that nobody takes is parked, so that those behind it go on. */
export const GIVE_UP_AFTER_MS = 86_400_000;

/**
 * When an event whose `attempts`-th attempt (from 1) has failed is tried again: 1 s later, then doubled up to an hour, of which the half is left
 * to chance, so that a merchant's server that comes back is not met by all at once. Undefined: not again, as that would be more than 24 hours
 * after it was put in.
 */
export function nextAttemptMs(attempts: number, putInAtMs: number, nowMs: number, chance: number = Math.random()): number | undefined {
  const delay = Math.min(FIRST_DELAY_MS * 2 ** (attempts - 1), LONGEST_DELAY_MS);
  const at = Math.ceil(nowMs + (delay / 2) * (1 + chance));
  return at > putInAtMs + GIVE_UP_AFTER_MS ? undefined : at;
}
