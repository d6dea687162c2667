import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { claimEvents, releaseFarLeases } from '../src/callbacks/store.ts';
import { CLOCK_SKEW_MS, windowLeftMs } from '../src/clock-window.ts';
import { clockFault } from '../src/db/clock.ts';
import { deleteExpiredJtis } from '../src/pins/store.ts';
import { type IssuerHost, issuerOf, pinBlock } from './support/issuer.ts';
import { CARD_TO_ACTIVATE, FIRST_CARD, pinBody, seal, wireNamesOf, ZONE_KEY } from './support/sandbox.ts';
import {
  type Answer,
  type Merchant,
  merchantOf,
  startPlatform,
  TEST_TIME_MS,
  type TestPlatform,
} from './support/test-platform.ts';

/*
 * Several processes on one database, each with a clock of its own: right, 30 days ahead, 30 days
 * behind. What one stores must not hold up the others for longer than the window it is for.
 */

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

for (const [side, offsetMs] of [
  ['ahead', 30 * DAY_MS],
  ['behind', -30 * DAY_MS],
] as const)
  describe(`a process whose clock is 30 days ${side}`, () => {
    let right: TestPlatform;
    let wrong: TestPlatform;
    let merchant: Merchant;
    before(async () => {
      right = await startPlatform();
      wrong = await startPlatform({}, { databaseUrl: right.databaseUrl, clock: { now: TEST_TIME_MS + offsetMs } });
      merchant = merchantOf(right);
      assert.equal((await merchant.call('POST', '/card/pin/set', pinBody('142536'))).code, 0);
    });
    after(async () => {
      await wrong.close();
      await right.close();
    });

    const malformed = (issuer: IssuerHost): Promise<Answer> =>
      issuer.call('POST', '/pin/verify', {
        card_no: FIRST_CARD.cardNo,
        pin_block: '00'.repeat(16),
        format: 4,
        zone_key: ZONE_KEY,
      });

    test('locks neither a card nor a zone key for the others', async () => {
      const there = issuerOf(wrong);
      for (let i = 0; i < 10; i++) assert.deepEqual((await malformed(there)).data, { result: 'malformed' });
      assert.equal((await malformed(there)).code, 1009, 'it has its own limit');

      const here = issuerOf(right);
      assert.deepEqual((await here.verify('142536')).data, { result: 'match' });
      for (let i = 0; i < 10; i++) assert.deepEqual((await malformed(here)).data, { result: 'malformed' });
      const refused = await malformed(here);
      assert.equal(refused.code, 1009, 'and the limit holds');
      assert.ok(Number(refused.headers['retry-after']) <= HOUR_MS / 1000);
      right.clock.now += HOUR_MS + 1;
      assert.deepEqual((await here.call('POST', '/pin/verify', block())).data, { result: 'match' });
    });

    const block = () => ({
      card_no: FIRST_CARD.cardNo,
      pin_block: pinBlock('142536'),
      format: 4,
      zone_key: ZONE_KEY,
    });

    test('locks no card that is to be activated', async () => {
      const wrongCvv = { ...wireNamesOf(CARD_TO_ACTIVATE), cvv: seal('000'), card_last_no: '0030' };
      const activate = (by: Merchant, more = {}) => by.call('POST', '/card/active', { ...wrongCvv, ...more });
      const there = merchantOf(wrong);
      for (let i = 0; i < 5; i++) assert.equal((await activate(there)).code, 4003);
      assert.equal((await activate(there)).code, 1009);
      assert.equal((await activate(merchant, { cvv: seal('685') })).code, 0);
    });

    test('leaves no idempotency key locked when it dies', async () => {
      const call = () =>
        merchant.call(
          'POST',
          '/card/status/update',
          { card_no: FIRST_CARD.cardNo, status: 'Frozen' },
          {
            'content-type': 'application/json',
            'idempotency-key': 'left-behind',
          },
        );
      assert.equal((await call()).code, 0);
      await right.db.tuples(
        'died',
        `update idempotency_keys set answer = null, created_at = to_timestamp($1::bigint / 1000.0),
                locked_until = to_timestamp($1::bigint / 1000.0) + interval '30 seconds'`,
        [TEST_TIME_MS + offsetMs],
      );
      assert.notEqual((await call()).code, 1024);
    });

    test('leaves no callback leased when it dies', async () => {
      await right.db.script(
        `update merchants set callback_url = 'https://merchant.example', callback_credential_id =
           (select credential_id from credentials c where c.merchant_id = merchants.merchant_id limit 1);
         update callback_events set due_at = null;
         insert into callback_events (merchant_id, card_no, action, data, created_at, due_at)
           values (1, 'C', 'Card_update', '{}', to_timestamp(0), to_timestamp(0))`,
      );
      const limits = { leaseMs: 30_000, room: new Map<number, number>(), perMerchant: 8, free: 8 };
      const claim = async (nowMs: number) => (await claimEvents(right.db, { ...limits, nowMs })).events.length;
      assert.equal(await claim(wrong.clock.now), 1);
      const later = right.clock.now + 30_001;
      await releaseFarLeases(right.db, later);
      assert.equal(await claim(later), 1, 'the lease is over for the others too');
      assert.equal(await releaseFarLeases(right.db, later), 0, 'and their own leases stay');
    });

    test('gives no access token that is valid for longer than a token may be', async () => {
      const token = await merchantOf(wrong).token();
      const body = { start_time: '2026-05-01', end_time: '2026-06-01' };
      assert.equal((await merchant.call('POST', '/card/list', body)).code, 0);
      assert.equal((await merchant.call('POST', '/card/list', body, { 'access-token': token })).code, 1007);
    });

    test('says so when it starts', async () => {
      const fault = await clockFault(right.db, () => Date.now() + offsetMs);
      assert.match(
        fault ?? '',
        new RegExp(`^the clock of this machine is \\d+ s ${side === 'ahead' ? 'ahead of' : side} the database's`),
      );
      assert.equal(await clockFault(right.db, Date.now), undefined);
    });
  });

test('a process whose clock is ahead forgets no one-use number that can still be replayed', async (t) => {
  const { db, close } = await startPlatform();
  t.after(close);
  await db.script(`insert into used_jtis select 1, 'one', now() + interval '5 minutes'`);
  assert.equal(await deleteExpiredJtis(db, Date.now() + 30 * DAY_MS), 0);
});

test('what is left of a window is never more than the window', () => {
  const table: [sinceMs: number, left: number][] = [
    [-HOUR_MS, 0],
    [-HOUR_MS + 1, 1],
    [0, HOUR_MS],
    [CLOCK_SKEW_MS, HOUR_MS],
    [CLOCK_SKEW_MS + 1, 0],
    [30 * DAY_MS, 0],
    [-30 * DAY_MS, 0],
  ];
  for (const [sinceMs, left] of table) assert.equal(windowLeftMs(sinceMs, HOUR_MS, 0), left, `since ${sinceMs}`);
});
