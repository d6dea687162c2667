import type { Keys } from '../keys/keys.ts';
import type { Database } from './database.ts';

/** A kind of cached value, and how one is loaded by its key. */
export interface Cached<T> {
  load(from: { db: Database; keys: Keys }, key: string): Promise<T | undefined>;
  /**
   * Lists every key that has a value. A kind whose keys are chosen by strangers needs it: then a key
   * that does not exist costs no statement of its own. A trigger must increase `gate_version` when
   * the list changes.
   */
  list?(db: Pick<Database, 'monitor'>): Promise<string[]>;
}

/**
 * Values that the gates and the callbacks need for nearly every request, as they were at most
 * FRESH_MS ago.
 */
export interface Cache {
  /** The value, if it is cached and fresh. */
  get<T>(kind: Cached<T>, key: string): T | undefined;
  /**
   * Whether the list, as it was last read, has the key. A new key is on it after a moment.
   */
  knows<T>(kind: Cached<T>, key: string): boolean;
  /** The value, cached or loaded now. Undefined if there is none. */
  load<T>(kind: Cached<T>, key: string): Promise<T | undefined>;
  stop(): void;
}

const POLL_EVERY_MS = 200;
/**
 * With the poll interval this stays below the second within which a disabled credential must be
 * locked out.
 */
const FRESH_MS = 700;
/** Values of one kind. */
const LIMIT = 10_000;

/** What is known of one kind. Replaced as a whole when something has changed. */
interface Known {
  values: Map<string, unknown>;
  /** Loads under way. Those who ask for one key at once share one. */
  loads: Map<string, Promise<unknown>>;
  /** All keys of a kind that lists them. */
  keys: ReadonlySet<string> | undefined;
}

/**
 * Creates the cache of this process. Five times a second it asks the database whether any
 * credential, merchant or issuer has changed, and forgets everything if one has. If the question
 * goes unanswered, nothing cached counts and every request waits for an answer: no process serves a
 * disabled credential because it lost its database. Long, because its functions share the state of
 * one cache.
 */
export function createCache(db: Database, keys: Keys): Cache {
  /** A load that is under way still fills the old one, and is forgotten with it. */
  let known = new Map<Cached<unknown>, Known>();
  let version: number | undefined;
  let keyRevision = keys.revision;
  let freshUntil = 0;
  let stopped = false;
  let poll: Promise<void> | undefined;

  const isFresh = (): boolean => performance.now() < freshUntil;

  function of(kind: Cached<unknown>): Known {
    let found = known.get(kind);
    if (found === undefined) {
      found = { values: new Map(), loads: new Map(), keys: undefined };
      known.set(kind, found);
    }
    return found;
  }

  async function readVersion(): Promise<void> {
    const askedAt = performance.now();
    const [row] = await db.monitor.query<{ version: number }>('gate-version', 'select version from gate_version');
    // A changed key file counts as a change: access tokens are signed under keys that were derived
    // at the load.
    if (row?.version !== version || keys.revision !== keyRevision) known = new Map();
    version = row?.version;
    keyRevision = keys.revision;
    freshUntil = askedAt + FRESH_MS;
  }

  /** Asks whether something has changed, in one statement at a time. */
  function refresh(): Promise<void> {
    poll ??= readVersion().finally(() => (poll = undefined));
    return poll;
  }

  /**
   * Lists the keys of a kind, after the version was read: so a change during the list is seen by
   * the next poll.
   */
  async function listKeys(kind: Cached<unknown>): Promise<ReadonlySet<string>> {
    const target = of(kind);
    target.keys ??= new Set(await shared(target, LIST, () => kind.list?.(db) ?? Promise.resolve([])));
    return target.keys;
  }

  /**
   * Whether the key exists. A key that is not on the list may be new, so one poll that begins now
   * decides.
   */
  async function exists(kind: Cached<unknown>, key: string): Promise<boolean> {
    if ((await listKeys(kind)).has(key)) return true;
    await poll?.catch(ignoreFault);
    await refresh();
    return (await listKeys(kind)).has(key);
  }

  const timer = setInterval(() => {
    if (!stopped) refresh().catch(ignoreFault);
  }, POLL_EVERY_MS);
  timer.unref();
  refresh().catch(ignoreFault);

  return {
    get<T>(kind: Cached<T>, key: string) {
      return isFresh() ? (known.get(kind)?.values.get(key) as T | undefined) : undefined;
    },
    knows: (kind, key) => isFresh() && (known.get(kind)?.keys?.has(key) ?? false),
    async load<T>(kind: Cached<T>, key: string) {
      if (!isFresh()) await refresh();
      const cached = known.get(kind)?.values.get(key) as T | undefined;
      if (cached !== undefined) return cached;
      if (kind.list !== undefined && !(await exists(kind, key))) return undefined;
      const target = of(kind);
      return (await shared(target, key, async () => {
        const value = await kind.load({ db, keys }, key);
        if (value === undefined) return undefined;
        if (target.values.size >= LIMIT) target.values.clear();
        target.values.set(key, value);
        return value;
      })) as T | undefined;
    },
    stop() {
      stopped = true;
      clearInterval(timer);
    },
  };
}

/** The load of the list of keys. No key of a value is empty. */
const LIST = '';

function shared<T>({ loads }: Known, key: string, load: () => Promise<T>): Promise<T> {
  const underWay = loads.get(key) as Promise<T> | undefined;
  if (underWay !== undefined) return underWay;
  const loading = load().finally(() => loads.delete(key));
  loads.set(key, loading);
  return loading;
}

/** The next request meets the fault itself. */
function ignoreFault(): void {}
