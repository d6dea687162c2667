/**
 * How far the clocks of two machines may differ. A stored instant that is further ahead was
 * written by a clock that was wrong, and must not hold anything up.
 */
export const CLOCK_SKEW_MS = 60_000;

/**
 * What is left of a window that began at an instant which perhaps another process wrote: at most
 * the window, and 0 if it is over or its beginning is far ahead.
 */
export function windowLeftMs(sinceMs: number, windowMs: number, nowMs: number): number {
  const ageMs = nowMs - sinceMs;
  if (ageMs < -CLOCK_SKEW_MS) return 0;
  return Math.min(windowMs, Math.max(0, windowMs - ageMs));
}
