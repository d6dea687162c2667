import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import pg from 'pg';
import { buildApp } from '../src/app.ts';
import { type Batch, createBatcher } from '../src/db/batch.ts';
import type { Database } from '../src/db/database.ts';
import { findCardForPin, writePin } from '../src/pins/store.ts';
import { buildServices } from '../src/services.ts';
import { addCards } from './support/more-cards.ts';
import { FIRST_CARD, FROZEN_CARD, pinBody } from './support/sandbox.ts';
import { intactChain } from './support/stored-pin.ts';
import { merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

type TestBatch<Item, Result> = Omit<Batch<Item, Result>, 'run'> & { run: (items: Item[]) => Promise<Result[]> };

/** Submits items of a batch that needs no database. */
function submitterOf<Item, Result>({ run, ...rest }: TestBatch<Item, Result>): (item: Item) => Promise<Result> {
  const batched = createBatcher(undefined as never);
  const batch: Batch<Item, Result> = { ...rest, run: (_db, items) => run(items) };
  return (item) => batched(batch, item);
}

/** Statements that end when the test says so. */
function statements(options: Partial<TestBatch<string, string>> = {}) {
  const running: { items: string[]; end: () => void; fail: (error: unknown) => void }[] = [];
  const seen: string[][] = [];
  const submit = submitterOf<string, string>({
    lanes: 1,
    limit: 64,
    run: (items) => {
      seen.push(items);
      return new Promise((resolve, reject) =>
        running.push({ items, end: () => resolve(items.map((item) => `done ${item}`)), fail: reject }),
      );
    },
    ...options,
  });
  /** Ends the statement that runs longest, once one does. */
  const endOne = async (how: 'end' | 'fail' = 'end', error?: unknown) => {
    while (running.length === 0) await new Promise(setImmediate);
    const statement = running.shift();
    if (how === 'end') statement?.end();
    else statement?.fail(error);
    await new Promise(setImmediate);
  };
  return { submit, seen, endOne };
}

function refused(): pg.DatabaseError {
  const error = new pg.DatabaseError('value out of range', 0, 'error');
  error.code = '22003';
  return error;
}

test('a lone item starts in the same turn of the event loop, and waits for no timer', async () => {
  const { submit, seen, endOne } = statements();
  const answer = submit('a');
  await new Promise(setImmediate);
  assert.deepEqual(seen, [['a']]);
  await endOne();
  assert.equal(await answer, 'done a');
});

test('items that arrive while a statement is in flight go into the next one together', async () => {
  const { submit, seen, endOne } = statements();
  const first = submit('a');
  await new Promise(setImmediate);
  const rest = ['b', 'c', 'd'].map(submit);
  await endOne();
  await endOne();
  assert.deepEqual(await Promise.all([first, ...rest]), ['done a', 'done b', 'done c', 'done d']);
  assert.deepEqual(seen, [['a'], ['b', 'c', 'd']]);
});

test('a statement takes no more items than its limit', async () => {
  const { submit, seen, endOne } = statements({ limit: 2 });
  const answers = ['a', 'b', 'c', 'd', 'e'].map(submit);
  for (let i = 0; i < 3; i++) await endOne();
  await Promise.all(answers);
  assert.deepEqual(seen, [['a', 'b'], ['c', 'd'], ['e']]);
});

test('equal keys never share a statement nor run at once, and keep their order', async () => {
  const { submit, seen, endOne } = statements({ lanes: 4, keyOf: (item) => item.charAt(0) });
  const answers = ['x1', 'y1', 'x2', 'x3', 'y2'].map(submit);
  for (let i = 0; i < 3; i++) await endOne();
  await Promise.all(answers);
  assert.deepEqual(seen, [['x1', 'y1'], ['x2', 'y2'], ['x3']]);
});

test('a stuck statement does not block the others for ever', async () => {
  const { submit, endOne, seen } = statements({ lanes: 2, keyOf: (item) => item });
  const stuck = submit('stuck');
  await new Promise(setImmediate);
  const other = submit('other');
  while (seen.length < 2) await sleep(5);
  assert.deepEqual(seen, [['stuck'], ['other']]);
  await endOne();
  await endOne();
  await Promise.all([stuck, other]);
});

describe('a statement that fails', () => {
  test('runs again item by item if the server rolled it back, so that a bad item fails alone', async () => {
    const runs: string[][] = [];
    const submit = submitterOf<string, string>({
      lanes: 1,
      limit: 64,
      run: async (items) => {
        runs.push(items);
        if (items.includes('bad')) throw refused();
        return items;
      },
    });
    const answers = await Promise.allSettled(['a', 'bad', 'c'].map(submit));
    assert.deepEqual(
      answers.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
    assert.deepEqual(runs, [['a', 'bad', 'c'], ['a'], ['bad'], ['c']]);
  });

  for (const [what, error] of [
    ['a lost connection', new Error('Connection terminated unexpectedly')],
    ['a server that shuts down', Object.assign(refused(), { code: '57P01' })],
  ] as const) {
    test(`does not run again after ${what}, when nobody knows whether it was committed`, async () => {
      const { submit, seen, endOne } = statements();
      const answers = Promise.allSettled(['a', 'b'].map(submit));
      await endOne('fail', error);
      assert.deepEqual(
        (await answers).map(({ status }) => status),
        ['rejected', 'rejected'],
      );
      assert.equal(seen.length, 1);
    });
  }

  test('is reported if it gives another number of results than it had items', async () => {
    const submit = submitterOf<string, string>({ lanes: 1, limit: 64, run: async () => [] });
    await assert.rejects(submit('a'), /1 items gave 0 results/);
  });
});

test('a second statement starts at once, and waits for no timer, when two full ones wait', async () => {
  const { submit, seen, endOne } = statements({ lanes: 2, limit: 24 });
  const first = submit('a');
  await new Promise(setImmediate);
  const rest = Array.from({ length: 47 }, (_, i) => submit(`b${i}`));
  const lengths = () => seen.map(({ length }) => length);
  await new Promise(setImmediate);
  assert.deepEqual(lengths(), [1]);
  rest.push(submit('b47'));
  await new Promise(setImmediate);
  assert.deepEqual(lengths(), [1, 24]);
  for (let i = 0; i < 3; i++) await endOne();
  await Promise.all([first, ...rest]);
  assert.deepEqual(lengths(), [1, 24, 24]);
});

for (const lanes of [1, 3]) {
  test(`no more than ${lanes} in flight at once where there are ${lanes} lanes, however many wait`, async () => {
    const { submit, seen, endOne } = statements({ lanes, limit: 10 });
    const answers = Array.from({ length: 100 }, (_, i) => submit(`item ${i}`));
    await new Promise(setImmediate);
    const inFlight = [seen.length];
    for (let ended = 1; ended <= 10; ended++) {
      await endOne();
      inFlight.push(seen.length - ended);
    }
    assert.deepEqual(
      await Promise.all(answers),
      Array.from({ length: 100 }, (_, i) => `done item ${i}`),
    );
    assert.equal(inFlight[0], lanes);
    assert.equal(Math.max(...inFlight), lanes);
    assert.equal(seen.length, 10);
  });
}

test('a key is free again after its statement failed', async () => {
  const { submit, seen, endOne } = statements({ keyOf: (item) => item.charAt(0) });
  const first = assert.rejects(submit('x1'));
  const second = submit('x2');
  await endOne('fail', new Error('Connection terminated unexpectedly'));
  await endOne();
  await first;
  assert.equal(await second, 'done x2');
  assert.deepEqual(seen, [['x1'], ['x2']]);
});

test('whatever the schedule, every item gets its own result once, equal keys never overlap, and the limits hold', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ key: fc.integer({ min: 0, max: 5 }), waits: fc.integer({ min: 0, max: 3 }) }), {
        maxLength: 60,
      }),
      fc.integer({ min: 1, max: 4 }),
      async (plan, lanes) => {
        const running = new Set<number>();
        const ran: number[] = [];
        let inFlight = 0;
        const submit = submitterOf<{ key: number; index: number; waits: number }, number>({
          lanes,
          limit: 7,
          keyOf: ({ key }) => String(key),
          run: async (items) => {
            inFlight++;
            assert.ok(inFlight <= lanes, 'more statements in flight than lanes');
            assert.ok(items.length >= 1 && items.length <= 7, 'more items than one statement may have');
            for (const { key, index } of items) {
              ran.push(index);
              assert.ok(!running.has(key));
              running.add(key);
            }
            for (let turn = 0; turn < (items[0]?.waits ?? 0); turn++) await new Promise(setImmediate);
            for (const { key } of items) running.delete(key);
            inFlight--;
            return items.map(({ index }) => index);
          },
        });
        const results = await Promise.all(plan.map((item, index) => submit({ ...item, index })));
        assert.deepEqual(
          results,
          plan.map((_, index) => index),
        );
        assert.deepEqual(
          ran.toSorted((a, b) => a - b),
          plan.map((_, index) => index),
        );
      },
    ),
    { numRuns: 200 },
  );
});

test('only bad items fail, each with its own error, and the others get their own results once', async () => {
  const item = fc.record({ key: fc.integer({ min: 0, max: 9 }), bad: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(item, { maxLength: 40 }), fc.integer({ min: 1, max: 4 }), async (plan, lanes) => {
      const running = new Set<number>();
      const done: number[] = [];
      const submit = submitterOf<{ key: number; bad: boolean; index: number }, number>({
        lanes,
        limit: 7,
        keyOf: ({ key }) => String(key),
        run: async (items) => {
          for (const { key } of items) {
            assert.ok(!running.has(key));
            running.add(key);
          }
          await new Promise(setImmediate);
          for (const { key } of items) running.delete(key);
          const bad = items.find((one) => one.bad);
          if (bad !== undefined) throw Object.assign(refused(), { detail: `item ${bad.index}` });
          done.push(...items.map(({ index }) => index));
          return items.map(({ index }) => index);
        },
      });
      const answers = await Promise.allSettled(plan.map((one, index) => submit({ ...one, index })));
      assert.deepEqual(
        answers.map((answer) =>
          answer.status === 'fulfilled' ? answer.value : (answer.reason as pg.DatabaseError).detail,
        ),
        plan.map(({ bad }, index) => (bad ? `item ${index}` : index)),
      );
      assert.deepEqual(
        done.toSorted((a, b) => a - b),
        plan.flatMap(({ bad }, index) => (bad ? [] : [index])),
      );
    }),
    { numRuns: 200 },
  );
});

describe('PIN sets on the database', () => {
  let platform: TestPlatform;
  before(async () => {
    platform = await startPlatform();
    await addCards(platform, 300);
  });
  after(() => platform.close());

  /** The platform's database, which reports the statements that run on it. */
  function watched(onStatement: (name: string) => void): Database {
    const refuse = () => Promise.reject(new Error('more than single statements'));
    const db: Database = {
      ...platform.db,
      query: (name, text, values) => {
        onStatement(name);
        return platform.db.query(name, text, values);
      },
      tuples: (name, text, values) => {
        onStatement(name);
        return platform.db.tuples(name, text, values);
      },
      script: refuse,
      session: refuse,
      transaction: refuse,
    };
    db.batched = createBatcher(db);
    return db;
  }

  test('take two statements for a single call: one finds the card, one writes', async () => {
    const statements: string[] = [];
    const db = watched((name) => {
      if (name !== 'gate-version') statements.push(name); // the cache's own question, five times a second
    });
    const app = await buildApp(buildServices({ ...platform.services, db }));
    const merchant = merchantOf({ app, clock: platform.clock });
    // The first call fetches the token and loads the merchant.
    assert.equal((await merchant.call('POST', '/card/pin/set', pinBody('142536'))).code, 0);
    statements.length = 0;
    assert.equal((await merchant.call('POST', '/card/pin/set', pinBody('253647'))).code, 0);
    assert.deepEqual(statements, ['find-cards-for-pin', 'write-pins']);
    await app.close();
  });

  test('share statements, and each is answered for its own card', async () => {
    let writes = 0;
    const db = watched((name) => {
      if (name === 'write-pins') writes++;
    });
    const pin = {
      merchantId: 1,
      prv: Buffer.alloc(32, 1),
      salt: Buffer.alloc(16, 2),
      keyVersion: 1,
      envelope: 'ecb',
      credentialId: 1,
      atMs: Date.now(),
      ip: '::1',
      requestId: randomUUID(),
      tellMerchant: false,
      jti: undefined,
      jtiExpiresAtMs: 0,
      historyLength: 0,
      judgedVersion: undefined,
    };
    const cards = await platform.db.query<{ cardNo: string }>(
      'cards',
      `select card_no as "cardNo" from cards where merchant_id = 1 and status = 'Activated' and card_type = 'Physical'`,
    );
    const numbers = [...cards.map(({ cardNo }) => cardNo), FROZEN_CARD.cardNo];
    const written = await Promise.all(numbers.map((cardNo) => writePin(db, { ...pin, cardNo })));
    assert.equal(written.filter(Boolean).length, cards.length);
    assert.equal(written.at(-1), false, 'a frozen card gets none');
    assert.ok(cards.length >= 300);
    assert.ok(writes * 10 <= cards.length, `${writes} statements`);
    assert.equal((await findCardForPin(db, 1, FIRST_CARD.cardNo))?.status, 'Activated');

    const before = (await intactChain(platform.db, FIRST_CARD.cardNo)).length;
    const atOnce = await Promise.all(
      Array.from({ length: 20 }, () => writePin(db, { ...pin, cardNo: FIRST_CARD.cardNo })),
    );
    assert.ok(atOnce.every(Boolean));
    assert.equal((await intactChain(platform.db, FIRST_CARD.cardNo)).length, before + 20);
  });
});
