import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { auditCard } from '../src/audit/append.ts';
import { openDatabase } from '../src/db/database.ts';
import type { Queryable } from '../src/db/queryable.ts';
import { validPin } from './support/calls.ts';
import { addCards } from './support/more-cards.ts';
import { type Card, FIRST_CARD, pinBody } from './support/sandbox.ts';
import { until } from './support/server-process.ts';
import { intactChain, storedPin } from './support/stored-pin.ts';
import { type Merchant, merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

let platform: TestPlatform;
let merchant: Merchant;
beforeEach(async () => {
  platform = await startPlatform();
  merchant = await readyMerchant(platform);
});
afterEach(() => platform.close());

/** A merchant that has its token, so that its calls start together. */
async function readyMerchant(on: TestPlatform): Promise<Merchant> {
  const ready = merchantOf(on);
  await ready.call('GET', `/card/${FIRST_CARD.cardNo}/detail`);
  return ready;
}

async function setOn({ cardNo, cardholderNo }: Card, pin: string, by = merchant): Promise<number> {
  return (await by.call('POST', '/card/pin/set', pinBody(pin, { card_no: cardNo, cardholder_no: cardholderNo }))).code;
}

function range<T>(length: number, of: (i: number) => T): T[] {
  return Array.from({ length }, (_, i) => of(i));
}

/**
 * Runs `work` in a transaction of somebody else, which holds what it locks until `work` is over.
 */
async function asSomebodyElse<T>(work: (tx: Queryable) => Promise<T>): Promise<T> {
  const elsewhere = openDatabase({ url: platform.databaseUrl, connections: 1 });
  try {
    return await elsewhere.transaction(work);
  } finally {
    await elsewhere.close();
  }
}

test('rule 9: fifty sets at once on one card all succeed, and versions and audit show every one', async () => {
  const pins = range(50, (i) => validPin(i * 7));
  const codes = await Promise.all(pins.map((pin) => setOn(FIRST_CARD, pin)));
  assert.deepEqual(new Set(codes), new Set([0]));
  const stored = await storedPin(platform, FIRST_CARD.cardNo);
  assert.equal(stored?.version, 50);
  const isOneOf = await Promise.all(pins.map((pin) => stored.is(pin)));
  assert.equal(isOneOf.filter(Boolean).length, 1, 'the stored PIN is one that was sent, whole');
  const records = (await intactChain(platform.db, FIRST_CARD.cardNo)).filter(({ action }) => action === 'pin_set');
  assert.deepEqual(
    records.map(({ details }) => details.version),
    range(50, (i) => i + 1),
  );
  assert.equal(new Set(records.map(({ details }) => details.request_id)).size, 50);
});

test('two hundred sets at once over twenty cards all succeed, each on its own card', async () => {
  const cards = await addCards(platform, 20);
  const codes = await Promise.all(range(200, (i) => setOn(cards[(i * 13) % 20] as Card, validPin(i))));
  assert.deepEqual(new Set(codes), new Set([0]));
  for (const [index, { cardNo }] of cards.entries()) {
    const sent = range(200, (i) => i).filter((i) => (i * 13) % 20 === index);
    const stored = await storedPin(platform, cardNo);
    assert.equal(stored?.version, 10);
    const isOneOf = await Promise.all(sent.map((i) => stored.is(validPin(i))));
    assert.equal(isOneOf.filter(Boolean).length, 1, 'no card has the PIN of another');
    assert.equal((await intactChain(platform.db, cardNo)).length, 11);
  }
});

test('two processes set PINs on the same cards at once: both finish, and no record is lost', async () => {
  const cards = await addCards(platform, 20);
  const second = await startPlatform({}, { databaseUrl: platform.databaseUrl, clock: platform.clock });
  const merchants = [merchant, await readyMerchant(second)];
  const sets = range(400, (i) => setOn(cards[(i * 13) % 20] as Card, validPin(i), merchants[i % 2]));
  assert.deepEqual(new Set(await Promise.all(sets)), new Set([0]));
  await second.close();
  for (const { cardNo } of cards) {
    assert.equal((await storedPin(platform, cardNo))?.version, 20);
    assert.equal((await intactChain(platform.db, cardNo)).length, 21);
  }
});

for (const [status, action] of [
  ['Frozen', 'card_frozen'],
  ['Delete', 'card_deleted'],
] as const) {
  test(`rule 9: sets that race a change to ${status} come whole before it or answer 4005, never after`, async () => {
    const cards = await addCards(platform, 25);
    for (const [round, card] of cards.entries()) {
      const sets = range(20, async (i) => {
        for (let turn = 0; turn < (i * round) % 23; turn++) await new Promise(setImmediate);
        return setOn(card, validPin(round * 20 + i));
      });
      const change = merchant.call('POST', '/card/status/update', { card_no: card.cardNo, status });
      const codes = await Promise.all(sets);
      assert.equal((await change).code, 0);
      const unfit = codes.filter((code) => code !== 0);
      assert.deepEqual(unfit, Array(unfit.length).fill(4005));
      const trail = (await intactChain(platform.db, card.cardNo)).map((record) => record.action);
      const succeeded = range(20 - unfit.length, () => 'pin_set');
      assert.deepEqual(
        trail,
        ['card_created', ...succeeded, action],
        'every true is in the trail before the change, and nothing else',
      );
      assert.equal((await storedPin(platform, card.cardNo))?.version ?? 0, succeeded.length);
      assert.equal(await setOn(card, '142536'), 4005);
    }
  });

  test(`rule 9: a set that has found its card Activated, and then waits for a change to ${status}, answers 4005 and stores nothing`, async () => {
    assert.equal(await setOn(FIRST_CARD, '142536'), 0);
    const waiting = await asSomebodyElse(async (tx) => {
      await tx.tuples('change', 'update cards set status = $1 where card_no = $2', [status, FIRST_CARD.cardNo]);
      const record = { atMs: platform.clock.now, action, by: 'operator' } as const;
      await auditCard(tx, { merchantId: 1, cardNo: FIRST_CARD.cardNo }, record);
      const set = setOn(FIRST_CARD, '902847');
      await until('the set waits for the card', async () => {
        const blocked = await platform.db.tuples(
          'blocked',
          `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%pin_version%'`,
        );
        return blocked.length > 0;
      });
      return { set };
    });
    assert.equal(await waiting.set, 4005);
    const stored = await storedPin(platform, FIRST_CARD.cardNo);
    assert.deepEqual([stored?.version, await stored?.is('142536')], [1, true]);
    const trail = (await intactChain(platform.db, FIRST_CARD.cardNo)).map((record) => record.action);
    assert.deepEqual(trail, ['card_created', 'pin_set', action]);
  });
}

test('a locked card does not delay other cards, and gets its PIN once it is unlocked', async () => {
  const cards = await addCards(platform, 30);
  const { stuck } = await asSomebodyElse(async (tx) => {
    await tx.tuples('hold', 'select from cards where card_no = $1 for update', [FIRST_CARD.cardNo]);
    const held = setOn(FIRST_CARD, '142536');
    const together = await Promise.all(cards.map((card) => setOn(card, '142536')));
    assert.deepEqual(new Set(together), new Set([0]), 'those that came with it');
    const later = await Promise.all(cards.map((card) => setOn(card, '902847')));
    assert.deepEqual(new Set(later), new Set([0]), 'and those that came after');
    assert.equal(await storedPin(platform, FIRST_CARD.cardNo), undefined);
    return { stuck: held };
  });
  // Whoever waits for a lock for long gives up: then nothing was stored.
  const code = await stuck;
  const version = (await storedPin(platform, FIRST_CARD.cardNo))?.version ?? 0;
  assert.equal(code, version === 1 ? 0 : 1001);
  assert.equal(await setOn(FIRST_CARD, '142536'), 0);
  assert.equal((await storedPin(platform, FIRST_CARD.cardNo))?.version, version + 1);
  assert.equal((await intactChain(platform.db, FIRST_CARD.cardNo)).length, version + 2);
});
