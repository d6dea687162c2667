import { wasRolledBack } from './database.ts';

/*
 * Requests share statements: what arrives while a statement is in flight goes into the next one, and each request is
 * answered after its own statement has committed. Nothing is given up in durability. Two to four times the throughput of one
 * statement a request: system calls, wake-ups and syncs are paid once a batch.
 *
 * A statement starts when the event loop has read what its sockets hold (setImmediate: no timer, nothing is waited for), so
 * that requests which came together go together; a lone request starts at once.
 */

export interface ShareOptions<Item, Result> {
  /** Statements in flight at the most. A second one starts only once two whole ones wait, or the first takes long. */
  lanes: number;
  /** Items in one statement at the most. */
  most: number;
  /** Items with one key never share a statement nor run at once: an UPDATE applies one of two changes to a row. */
  keyOf?: (item: Item) => string;
  /** One result for each item, in the order of the items. */
  run: (items: Item[]) => Promise<Result[]>;
}

interface Waiting<Item, Result> {
  item: Item;
  key: string | undefined;
  resolve: (result: Result) => void;
  reject: (error: unknown) => void;
}

/**
 * A statement costs as much by itself as some twenty of its rows, so what arrives while one is in flight waits for its end. After this
 * it gets one of its own all the same: a card that someone else has locked must not hold up the others.
 */
const PATIENCE_MS = 20;
/** Single statements at once after one for many has failed. */
const AT_A_TIME = 8;

/** Gives a function that runs one item, together with whatever else is waiting. */
export function shareStatements<Item, Result>(options: ShareOptions<Item, Result>): (item: Item) => Promise<Result> {
  const { lanes, most, keyOf, run } = options;
  let waiting: Waiting<Item, Result>[] = [];
  const keysInFlight = new Set<string>();
  let inFlight = 0;
  let scheduled = false;
  let timed = false;

  function start(impatient = false): void {
    while (waiting.length > 0 && inFlight < lanes && (inFlight === 0 || impatient || waiting.length >= 2 * most)) {
      const batch = takeBatch();
      if (batch.length === 0) return; // every key that waits is in flight; their end starts the next
      inFlight++;
      void runBatch(batch).finally(() => {
        inFlight--;
        start();
      });
    }
    if (waiting.length === 0 || inFlight === lanes) return;
    if (timed) return;
    timed = true;
    setTimeout(() => {
      timed = false;
      start(true);
    }, PATIENCE_MS);
  }

  function takeBatch(): Waiting<Item, Result>[] {
    if (keyOf === undefined) return waiting.splice(0, most);
    const batch: Waiting<Item, Result>[] = [];
    const left: Waiting<Item, Result>[] = [];
    for (const one of waiting) {
      if (batch.length < most && one.key !== undefined && !keysInFlight.has(one.key)) {
        keysInFlight.add(one.key);
        batch.push(one);
      } else left.push(one);
    }
    waiting = left;
    return batch;
  }

  async function runBatch(batch: Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await run(batch.map(({ item }) => item));
      if (results.length !== batch.length) throw new Error(`${batch.length} items gave ${results.length} results`);
      for (const [i, one] of batch.entries()) {
        letGo(one);
        one.resolve(results[i] as Result);
      }
    } catch (error) {
      // One bad row fails the statement for all. Only where the server surely rolled it back may the others run again.
      if (batch.length > 1 && wasRolledBack(error)) return runOneByOne(batch);
      for (const one of batch) {
        letGo(one);
        one.reject(error);
      }
    }
  }

  /** A few at a time: one that is stuck keeps only few waiting, and all together don't take the pool's every connection. */
  async function runOneByOne(batch: Waiting<Item, Result>[]): Promise<void> {
    for (let at = 0; at < batch.length; at += AT_A_TIME) await Promise.all(batch.slice(at, at + AT_A_TIME).map((one) => runBatch([one])));
  }

  function letGo({ key }: Waiting<Item, Result>): void {
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
