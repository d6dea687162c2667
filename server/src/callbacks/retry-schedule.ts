const FIRST_DELAY_MS = 1_000;
const DELAY_LIMIT_MS = 3_600_000;
/** More than fit into 24 hours: twelve in the first hour, then at most two an hour. */
const ATTEMPTS_LIMIT = 60;
/**
 * An event that is not delivered within this time becomes a dead letter, so that those
 * behind it go on.
 */
export const GIVE_UP_AFTER_MS = 86_400_000;

/**
 * When to try an event again after its `attempts`-th attempt (from 1) has failed. The delay
 * is 1 s, then doubles up to an hour. Up to half of it is left off at random, so that not
 * all events return at once when a merchant's server comes back. Undefined if the next
 * attempt would be later than 24 hours after the event.
 */
export function nextAttemptMs(
  attempts: number,
  createdAtMs: number,
  nowMs: number,
  chance: number = Math.random(),
): number | undefined {
  const delay = Math.min(FIRST_DELAY_MS * 2 ** (attempts - 1), DELAY_LIMIT_MS);
  const at = Math.ceil(nowMs + (delay / 2) * (1 + chance));
  // An event from a process whose clock was ahead has no 24 hours to go by.
  if (attempts >= ATTEMPTS_LIMIT) return undefined;
  return at > createdAtMs + GIVE_UP_AFTER_MS ? undefined : at;
}
