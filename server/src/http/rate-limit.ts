/**
 * Counts by key with the generic cell rate algorithm (ITU-T I.371): `perMinute` at once, then evenly spaced.
 * One number a key and no timers; the state is this process's own, so N processes allow N times as much.
 */
export interface RateLimit {
  /** Counts one and gives 0, or counts nothing and gives the whole seconds to wait. */
  take(key: string, nowMs: number): number;
  /** The whole seconds to wait before `take` would count, 0 for none. */
  waitSeconds(key: string, nowMs: number): number;
}

/** Keys kept at the most; past that the oldest are forgotten, so that inventing keys costs no memory. */
const MOST_KEYS = 200_000;

export function createRateLimit(perMinute: number): RateLimit {
  /** How full a key's bucket was, and when. A call is worth MINUTE_MS, and `perMinute` drain each ms: whole numbers, which don't drift. */
  const buckets = new Map<string, { level: number; atMs: number }>();

  function levelOf(key: string, nowMs: number): number {
    const bucket = buckets.get(key);
    if (bucket === undefined) return 0;
    // A clock that was put back must not lengthen the wait.
    bucket.atMs = Math.min(bucket.atMs, nowMs);
    return Math.max(0, bucket.level - Math.min(nowMs - bucket.atMs, MINUTE_MS) * perMinute);
  }

  function waitSeconds(key: string, nowMs: number): number {
    const over = levelOf(key, nowMs) + MINUTE_MS - MINUTE_MS * perMinute;
    return over > 0 ? Math.ceil(over / (perMinute * 1000)) : 0;
  }

  return {
    waitSeconds,
    take(key, nowMs) {
      const wait = waitSeconds(key, nowMs);
      if (wait > 0) return wait;
      const level = levelOf(key, nowMs) + MINUTE_MS;
      buckets.delete(key); // so that the oldest of the map is the one that was longest unused
      if (buckets.size >= MOST_KEYS) forgetOldest(buckets);
      buckets.set(key, { level, atMs: nowMs });
      return 0;
    },
  };
}

const MINUTE_MS = 60_000;

function forgetOldest(buckets: Map<string, unknown>): void {
  let left = MOST_KEYS / 10;
  for (const key of buckets.keys()) {
    if (left-- <= 0) return;
    buckets.delete(key);
  }
}
