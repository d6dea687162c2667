import type { Database } from '../db/database.ts';
import type { Keys } from '../keys/keys.ts';
import { readGateVersion } from '../merchants/store.ts';

/** What the gates keep in memory of those who may call, as it stood at most FRESH_MS ago. */
export interface Memory<T> {
  /** If it is in memory, and fresh. */
  known(key: string): T | undefined;
  /** As it stands in the database. */
  load(key: string): Promise<T | undefined>;
}

export interface GateMemory {
  /** A memory of one kind of caller. */
  of<T>(find: (key: string) => Promise<T | undefined>): Memory<T>;
  stop(): void;
}

const POLL_EVERY_MS = 200;
/** With the poll's own interval this stays below the second within which a disabled credential must be out. */
const FRESH_MS = 700;
const MOST_KNOWN = 10_000;

/**
 * Keeps callers in memory. Every process asks the database five times a second whether any credential, merchant or issuer
 * has changed, and forgets all when one has. When that question goes unanswered the memory counts for nothing and
 * every request asks anew: no process serves a disabled credential because it lost its database.
 */
export function createGateMemory(db: Database, keys: Keys): GateMemory {
  /** Replaced as a whole: loads under way still hold the old one and are lost with it. */
  let generation = {};
  let version: number | undefined;
  let keyRevision = keys.revision;
  let freshUntil = 0;
  let stopped = false;
  let asking = false;

  async function poll(): Promise<void> {
    if (asking || stopped) return;
    asking = true;
    const askedAt = performance.now();
    try {
      const current = await readGateVersion(db);
      // Tokens are signed under keys that were derived when loading.
      if (current !== version || keys.revision !== keyRevision) generation = {};
      version = current;
      keyRevision = keys.revision;
      freshUntil = askedAt + FRESH_MS;
    } catch {
      // Not fresh any more, and `load` will meet the fault itself.
    } finally {
      asking = false;
    }
  }
  const timer = setInterval(() => void poll(), POLL_EVERY_MS);
  timer.unref();
  void poll();

  return {
    of<T>(find: (key: string) => Promise<T | undefined>): Memory<T> {
      const memories = new WeakMap<object, Map<string, T>>();
      const current = (): Map<string, T> => {
        const memory = memories.get(generation) ?? new Map<string, T>();
        memories.set(generation, memory);
        return memory;
      };
      return {
        known: (key) => (performance.now() < freshUntil ? current().get(key) : undefined),
        async load(key) {
          const target = current();
          const found = await find(key);
          if (found === undefined) return undefined;
          if (target.size >= MOST_KNOWN) target.clear();
          target.set(key, found);
          return found;
        },
      };
    },
    stop() {
      stopped = true;
      clearInterval(timer);
    },
  };
}
