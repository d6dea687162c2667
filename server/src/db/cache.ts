import type { Keys } from '../keys/keys.ts';
import type { Database } from './database.ts';

/** A kind of cached value, and how one is loaded by its key. */
export interface Cached<T> {
  load(from: { db: Database; keys: Keys }, key: string): Promise<T | undefined>;
}

/** Values that the gates and the callbacks need for nearly every request, as they were at most FRESH_MS ago. */
export interface Cache {
  /** The value, if it is cached and fresh. */
  get<T>(kind: Cached<T>, key: string): T | undefined;
  /** Loads the value from the database and caches it. */
  load<T>(kind: Cached<T>, key: string): Promise<T | undefined>;
  stop(): void;
}

const POLL_EVERY_MS = 200;
/** With the poll interval this stays below the second within which a disabled credential must be locked out. */
const FRESH_MS = 700;
/** Values of one kind. */
const LIMIT = 10_000;

/**
 * Creates the cache of this process. Five times a second it asks the database whether any credential, merchant or
 * issuer has changed, and forgets everything if one has. If the question goes unanswered, nothing cached counts and
 * every request loads anew: no process serves a disabled credential because it lost its database.
 */
export function createCache(db: Database, keys: Keys): Cache {
  /** Replaced as a whole: a load that is under way still fills the old one, and is forgotten with it. */
  let values = new Map<object, Map<string, unknown>>();
  let version: number | undefined;
  let keyRevision = keys.revision;
  let freshUntil = 0;
  let stopped = false;
  let polling = false;

  async function poll(): Promise<void> {
    if (polling || stopped) return;
    polling = true;
    const askedAt = performance.now();
    try {
      const current = await readVersion(db);
      // A changed key file counts as a change: access tokens are signed under keys that were derived at the load.
      if (current !== version || keys.revision !== keyRevision) values = new Map();
      version = current;
      keyRevision = keys.revision;
      freshUntil = askedAt + FRESH_MS;
    } catch {
      // Nothing is fresh any more; the next load meets the fault itself.
    } finally {
      polling = false;
    }
  }
  const timer = setInterval(() => void poll(), POLL_EVERY_MS);
  timer.unref();
  void poll();

  return {
    get<T>(kind: Cached<T>, key: string) {
      return performance.now() < freshUntil ? (values.get(kind)?.get(key) as T | undefined) : undefined;
    },
    async load<T>(kind: Cached<T>, key: string) {
      let target = values.get(kind);
      if (target === undefined) {
        target = new Map();
        values.set(kind, target);
      }
      const value = await kind.load({ db, keys }, key);
      if (value === undefined) return undefined;
      if (target.size >= LIMIT) target.clear();
      target.set(key, value);
      return value;
    },
    stop() {
      stopped = true;
      clearInterval(timer);
    },
  };
}

/** A number that triggers in the database count up with every change of a credential, merchant or issuer. */
async function readVersion(db: Database): Promise<number | undefined> {
  const [row] = await db.query<{ version: number }>('gate-version', 'select version from gate_version');
  return row?.version;
}
