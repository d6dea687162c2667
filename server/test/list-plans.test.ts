import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readHeadsOfSigning } from '../src/audit/store.ts';
import { claimEvents, settleEvents } from '../src/callbacks/store.ts';
import { listCardholders, listPendingCardholders } from '../src/cardholders/store.ts';
import { listPendingApplications } from '../src/cards/application-store.ts';
import { listCards, listIssuedCards } from '../src/cards/store.ts';
import type { Queryable } from '../src/db/queryable.ts';
import { startPlatform, type TestPlatform } from './support/test-platform.ts';

const CARDS = 40_000;
const DAY_MS = 86_400_000;
const range = { fromMs: Date.UTC(2026, 0, 1), beforeMs: Date.UTC(2026, 0, 1) + 90 * DAY_MS, offset: 20_000, size: 100 };
const none = { cardNo: undefined, cardUniqueNo: undefined, cardholderNo: undefined, cardholderUniqueNo: undefined };

let platform: TestPlatform;
before(async () => {
  platform = await startPlatform();
  // One merchant with many cardholders and cards, most of them decided on, over 90 days.
  await platform.db.session((session) =>
    session.script(`
      insert into cardholders (merchant_id, cardholder_no, cardholder_unique_no, status, created_at, submitted_at, share_token_wrapped)
      select 1, 'U' || n, 'unique-U' || n, 'Approved', '2026-01-01Z'::timestamptz + n * interval '190 seconds', '2026-01-01Z'::timestamptz + n * interval '190 seconds',
             case when n % 100 = 0 then '\\x00'::bytea end from generate_series(1, ${CARDS}) n;
      insert into cards (merchant_id, card_no, card_unique_no, cardholder_no, card_type, status, card_bin_no, created_at)
      select 1, 'C' || n, 'unique-C' || n, 'U' || 1 + n % 10000, 'Physical', case when n % 100 = 0 then 'Pending' else 'Activated' end, 'B202605220001',
             '2026-01-01Z'::timestamptz + n * interval '190 seconds' from generate_series(1, ${CARDS}) n;
      insert into card_applications (merchant_id, card_no, card_bin_no, applied_at, decided_at)
      select 1, 'C' || n, 'B202605220001', '2026-01-01Z'::timestamptz + n * interval '190 seconds', case when n % 100 <> 0 then '2026-01-02Z'::timestamptz end
        from generate_series(1, ${CARDS}) n;
      insert into callback_events (merchant_id, card_no, action, data, created_at, delivered_at)
      select 1, 'C' || n, 'Card_update', '{}', '2026-01-01Z', '2026-01-01Z' from generate_series(1, ${CARDS}) n;
      insert into audit_signings select n, now(), ${CARDS / 4}, '', 1, '' from generate_series(1, 4) n;
      insert into audit_heads select 1 + n % 4, 1, 'C' || n, 1, '', 'card' from generate_series(1, ${CARDS}) n;
      analyze;
      insert into callback_events (merchant_id, card_no, action, data, created_at, due_at)
      select 1, 'C' || n % 100, 'Card_update', '{}', '2026-01-01Z', '2026-01-01Z' from generate_series(1, 1000) n`),
  );
});
after(() => platform.close());

/** The plan that a statement gets in every connection: made once, without knowing its values. */
async function planOf(run: (db: Queryable) => Promise<unknown>): Promise<string> {
  let plan: string | undefined;
  await platform.db.session(async (session) => {
    await session.script('set plan_cache_mode = force_generic_plan');
    const explain = async (_name: string, text: string, values: unknown[] = []): Promise<never[]> => {
      await session.script(`prepare listed as ${text}`);
      const rows = await session.tuples<[string]>(
        'explain',
        `explain execute listed (${values.map(literal).join(', ')})`,
      );
      plan = rows.flat().join('\n');
      return [];
    };
    await run({ query: explain, tuples: explain });
  });
  assert.ok(plan !== undefined);
  return plan;
}

function literal(value: unknown): string {
  if (value === undefined || value === null) return 'null';
  if (Array.isArray(value)) return `'{${value.map((one) => one ?? 'null').join(',')}}'`;
  return typeof value === 'number' ? String(value) : `'${value}'`;
}

const lists: [what: string, run: (db: Queryable) => Promise<unknown>, index: RegExp][] = [
  ['all cards of a range', (db) => listCards(db, 1, { ...range, ...none }), /Index Only Scan using cards_by_time/],
  ["a cardholder's cards", (db) => listCards(db, 1, { ...range, ...none, cardholderNo: 'U7' }), /cards_of_cardholder/],
  ['a card by its number', (db) => listCards(db, 1, { ...range, ...none, cardNo: 'C7' }), /cards_(pkey|card_no_key)/],
  [
    'a card by its unique number',
    (db) => listCards(db, 1, { ...range, ...none, cardUniqueNo: 'unique-C7' }),
    /cards_merchant_id_card_unique_no_key/,
  ],
  [
    'a card by all three',
    (db) => listCards(db, 1, { ...range, cardNo: 'C7', cardUniqueNo: 'unique-C7', cardholderNo: 'U8' }),
    /cards_(pkey|card_no_key|merchant_id_card_unique_no_key)/,
  ],
  ["a cardholder's issued cards", (db) => listIssuedCards(db, 1, 'U7', 100), /cards_of_cardholder/],
  ['all cardholders of a range', (db) => listCardholders(db, 1, { ...range, ...none }), /cardholders_by_time/],
  [
    'a cardholder by its number',
    (db) => listCardholders(db, 1, { ...range, ...none, cardholderNo: 'U7' }),
    /cardholders_(pkey|cardholder_no_key)/,
  ],
  [
    'a cardholder by its unique number',
    (db) => listCardholders(db, 1, { ...range, ...none, cardholderUniqueNo: 'unique-U7' }),
    /cardholders_merchant_id_cardholder_unique_no_key/,
  ],
  [
    'applications to decide on',
    (db) => listPendingApplications(db, 1, { untilMs: Date.now(), size: 100 }),
    /card_applications_to_decide/,
  ],
  [
    'their next page',
    (db) => listPendingApplications(db, 1, { after: 'C700', untilMs: Date.now(), size: 100 }),
    /card_applications_to_decide/,
  ],
  ['cardholders to verify', (db) => listPendingCardholders(db, [1, 2], undefined, 100), /cardholders_to_verify/],
  ['their next page', (db) => listPendingCardholders(db, [1, 2], 'U700', 100), /cardholders_to_verify/],
  [
    'callbacks to send, where statistics say that none waits',
    (db) => claimEvents(db, { nowMs: Date.now(), leaseMs: 30_000, room: new Map(), perMerchant: 64, free: 512 }),
    /callback_events_due/,
  ],
  [
    'callbacks that were sent',
    (db) =>
      settleEvents(db, [
        { eventId: 1, attempts: 1, atMs: Date.now(), delivered: true, retryAtMs: undefined, fault: undefined },
      ]),
    /Index Scan using callback_events_pkey/,
  ],
];
for (const [what, run, index] of lists) {
  test(`${what}: found by an index, and no large table is read through`, async () => {
    const plan = await planOf(run);
    assert.doesNotMatch(plan, /Seq Scan on (cards|cardholders|card_applications|callback_events)/, plan);
    assert.match(plan, index, plan);
  });
}

test('cardholders to verify: a page is read in the order of the queue, however many of other merchants wait', async () => {
  await platform.db.session((session) =>
    session.script(`update cardholders set share_token_wrapped = '\\x00'; analyze cardholders`),
  );
  for (const after of [undefined, 'U700']) {
    const plan = await planOf((db) => listPendingCardholders(db, [2], after, 100));
    assert.doesNotMatch(plan, /Seq Scan on cardholders|Sort/, plan);
    assert.match(plan, /cardholders_to_verify/, plan);
  }
});

test('the heads of one signing: a page is read in their order, and not sorted out of all', async () => {
  const plan = await planOf((db) => readHeadsOfSigning(db, 2).next());
  assert.doesNotMatch(plan, /Seq Scan|Sort/, plan);
  assert.match(plan, /audit_heads_of_signing/, plan);
});
