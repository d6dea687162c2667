import { ApiError } from './api-error.ts';

/**
 * Counts by key with the generic cell rate algorithm (ITU-T I.371): `perMinute` at once, then
 * evenly spaced. It keeps one bucket a key and no timers. The state is this process's own, so N
 * processes allow N times as much.
 */
export interface RateLimit {
  /** Counts one and returns 0, or counts nothing and returns the whole seconds to wait. */
  take(key: string, nowMs: number): number;
  /** The whole seconds to wait before `take` would count; 0 for none. */
  waitSeconds(key: string, nowMs: number): number;
}

/** Throws 1009 unless `retryAfterSeconds` is 0. */
export function throwIfLimited(retryAfterSeconds: number): void {
  if (retryAfterSeconds > 0) throw new ApiError('tooFrequent', { retryAfterSeconds });
}

/**
 * Past this many keys the half that was unused longest is forgotten, so that inventing keys costs
 * no memory.
 */
const KEYS_LIMIT = 200_000;
const MINUTE_MS = 60_000;

/**
 * How full it was, and when. A call adds MINUTE_MS, and `perMinute` drain each ms: whole numbers,
 * which don't drift.
 */
interface Bucket {
  level: number;
  atMs: number;
}

export function createRateLimit(perMinute: number): RateLimit {
  /**
   * The keys in two halves: those used lately, and those before them, which are forgotten as a
   * whole.
   */
  let recent = new Map<string, Bucket>();
  let older = new Map<string, Bucket>();

  function levelOf(bucket: Bucket | undefined, nowMs: number): number {
    if (bucket === undefined) return 0;
    // A clock that was set back must not lengthen the wait.
    bucket.atMs = Math.min(bucket.atMs, nowMs);
    return Math.max(0, bucket.level - Math.min(nowMs - bucket.atMs, MINUTE_MS) * perMinute);
  }

  function waitAt(level: number): number {
    const over = level + MINUTE_MS - MINUTE_MS * perMinute;
    return over > 0 ? Math.ceil(over / (perMinute * 1000)) : 0;
  }

  function makeRecent(key: string, bucket: Bucket): void {
    if (recent.size >= KEYS_LIMIT / 2) {
      older = recent;
      recent = new Map();
    }
    recent.set(key, bucket);
  }

  return {
    waitSeconds: (key, nowMs) => waitAt(levelOf(recent.get(key) ?? older.get(key), nowMs)),
    take(key, nowMs) {
      const used = recent.get(key);
      const bucket = used ?? older.get(key) ?? { level: 0, atMs: nowMs };
      const level = levelOf(bucket, nowMs);
      const wait = waitAt(level);
      if (wait > 0) return wait;
      bucket.level = level + MINUTE_MS;
      bucket.atMs = nowMs;
      if (used === undefined) makeRecent(key, bucket);
      return 0;
    },
  };
}
