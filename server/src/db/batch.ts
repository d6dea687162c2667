import { wasRolledBack } from './errors.ts';
import type { Queryable } from './queryable.ts';

/*
 * Concurrent requests share statements: items that arrive while a statement is in flight go into
 * the next one, and each request is answered after its own statement has committed (docs/adr/0006).
 * Nothing is given up in durability. It gives two to four times the throughput of one statement a
 * request, since system calls, wake-ups and syncs are paid once a batch.
 *
 * A statement starts when the event loop has read its sockets (setImmediate; no timer, no waiting),
 * so that requests which arrived together go together. A lone request starts at once.
 */

/** A statement that many items can share. Its queue belongs to the database that runs it. */
export interface Batch<Item, Result> {
  /**
   * How many statements may be in flight. A second one starts only if two full batches wait, or the
   * first is slow.
   */
  lanes: number;
  /** How many items one statement takes. */
  limit: number;
  /**
   * Items with one key never share a statement nor run at once: an UPDATE applies only one of two
   * changes to a row.
   */
  keyOf?: (item: Item) => string;
  /** Runs the items in one statement. Returns one result for each, in their order. */
  run: (db: Queryable, items: Item[]) => Promise<Result[]>;
}

interface Waiting<Item, Result> {
  item: Item;
  key: string | undefined;
  resolve: (result: Result) => void;
  reject: (error: unknown) => void;
}

/**
 * A statement alone costs as much as some twenty of its rows, so items wait for the end of the one
 * in flight. After this long they get a statement of their own: a card that another session has
 * locked must not delay the others.
 */
const PATIENCE_MS = 20;
/** How many items run at once, each alone, after a statement for many has failed. */
const RETRIES_AT_ONCE = 8;

/** Runs items of any batch on a database, each batch with a queue of its own. */
export function createBatcher(
  db: Queryable,
): <Item, Result>(batch: Batch<Item, Result>, item: Item) => Promise<Result> {
  const queues = new Map<object, (item: never) => Promise<unknown>>();
  return <Item, Result>(batch: Batch<Item, Result>, item: Item): Promise<Result> => {
    let submit = queues.get(batch) as ((item: Item) => Promise<Result>) | undefined;
    if (submit === undefined) {
      submit = createQueue(db, batch);
      queues.set(batch, submit as (item: never) => Promise<unknown>);
    }
    return submit(item);
  };
}

/** The queue of one batch. Long, because its functions share the state of one queue. */
function createQueue<Item, Result>(db: Queryable, batch: Batch<Item, Result>): (item: Item) => Promise<Result> {
  const { lanes, limit, keyOf, run } = batch;
  let waiting: Waiting<Item, Result>[] = [];
  const keysInFlight = new Set<string>();
  let inFlight = 0;
  let scheduled = false;
  let timed = false;

  function start(impatient = false): void {
    while (waiting.length > 0 && inFlight < lanes && (inFlight === 0 || impatient || waiting.length >= 2 * limit)) {
      const items = takeItems();
      if (items.length === 0) return; // every waiting key is in flight; the end of that statement starts the next
      inFlight++;
      void runItems(items).finally(() => {
        inFlight--;
        start();
      });
    }
    if (waiting.length === 0 || inFlight === lanes || timed) return;
    timed = true;
    setTimeout(() => {
      timed = false;
      start(true);
    }, PATIENCE_MS);
  }

  function takeItems(): Waiting<Item, Result>[] {
    if (keyOf === undefined) return waiting.splice(0, limit);
    const taken: Waiting<Item, Result>[] = [];
    const left: Waiting<Item, Result>[] = [];
    for (const one of waiting) {
      if (taken.length < limit && one.key !== undefined && !keysInFlight.has(one.key)) {
        keysInFlight.add(one.key);
        taken.push(one);
      } else left.push(one);
    }
    waiting = left;
    return taken;
  }

  async function runItems(items: Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await run(
        db,
        items.map(({ item }) => item),
      );
      if (results.length !== items.length) throw new Error(`${items.length} items gave ${results.length} results`);
      for (const [i, one] of items.entries()) {
        release(one);
        one.resolve(results[i] as Result);
      }
    } catch (error) {
      // One bad row fails the statement for all. The others may run again only if the server surely
      // rolled it back.
      if (items.length > 1 && wasRolledBack(error)) return runOneByOne(items);
      for (const one of items) {
        release(one);
        one.reject(error);
      }
    }
  }

  /**
   * A few at once: so one that is stuck keeps only a few waiting, and they don't take every
   * connection of the pool.
   */
  async function runOneByOne(items: Waiting<Item, Result>[]): Promise<void> {
    for (let at = 0; at < items.length; at += RETRIES_AT_ONCE)
      await Promise.all(items.slice(at, at + RETRIES_AT_ONCE).map((one) => runItems([one])));
  }

  function release({ key }: Waiting<Item, Result>): void {
    if (key !== undefined) keysInFlight.delete(key);
  }

  return (item) =>
    new Promise<Result>((resolve, reject) => {
      waiting.push({ item, key: keyOf?.(item), resolve, reject });
      if (scheduled) return;
      scheduled = true;
      setImmediate(() => {
        scheduled = false;
        start();
      });
    });
}
