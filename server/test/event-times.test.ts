import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { verifyAudit } from '../src/audit/verify-audit.ts';
import { configureCallbacks } from '../src/callbacks/configure-callbacks.ts';
import { claimEvents } from '../src/callbacks/store.ts';
import { toMs } from '../src/db/sql-time.ts';
import { updateMerchant } from '../src/merchants/update-merchant.ts';
import { issuerOf } from './support/issuer.ts';
import { API_KEY, FIRST_CARD, MERCHANT_NO, pinBody } from './support/sandbox.ts';
import { merchantOf, operatorOf, startPlatform, TEST_TIME_MS, type TestPlatform } from './support/test-platform.ts';

const MAIN = MERCHANT_NO;
const { cardNo: CARD, cardholderNo: CARDHOLDER } = FIRST_CARD;
/** Less than the lease, as docs/adr/0014 asks for. */
const AHEAD_MS = 20_000;

/** Two processes on one database, whose clocks differ. */
let ahead: TestPlatform;
let behind: TestPlatform;
before(async () => {
  behind = await startPlatform();
  const { databaseUrl } = behind;
  ahead = await startPlatform({}, { databaseUrl, clock: { now: TEST_TIME_MS + AHEAD_MS } });
  const operator = operatorOf(behind);
  await configureCallbacks(operator, 'sandbox', MAIN, { url: 'http://127.0.0.1:9/', apiKey: API_KEY });
  await updateMerchant(operator, MAIN, {
    callbackActions: ['Card_update', 'Pin_set', 'Pin_blocked', 'Pin_unblocked'],
  });
});
after(async () => {
  await ahead.close();
  await behind.close();
});

const isRising = (times: number[]) => times.every((time, i) => i === 0 || time >= (times[i - 1] as number));

test('times of events and records of a card never decrease, whichever process wrote them', async () => {
  const setPin = (on: TestPlatform) => async () => {
    const body = pinBody('135246', { card_no: CARD, cardholder_no: CARDHOLDER });
    assert.equal((await merchantOf(on).call('POST', '/card/pin/set', body)).code, 0);
  };
  const setStatus = (on: TestPlatform, status: string) => async () => {
    const body = { card_no: CARD, cardholder_no: CARDHOLDER, status };
    assert.equal((await merchantOf(on).call('POST', '/card/status/update', body)).code, 0);
  };
  const block = (on: TestPlatform) => async () => {
    for (let i = 0; i < 3; i++) assert.equal((await issuerOf(on).verify('635241')).code, 0);
  };
  const unblock = (on: TestPlatform) => async () => {
    assert.equal((await issuerOf(on).call('POST', '/pin/unblock', { card_no: CARD })).code, 0);
  };
  const changes = [
    setPin(ahead),
    setPin(behind),
    setStatus(ahead, 'Frozen'),
    setStatus(behind, 'Activated'),
    block(behind),
    unblock(ahead),
    block(behind),
    unblock(behind),
    setPin(behind),
  ];
  for (const change of changes) {
    await change();
    ahead.clock.now += 100;
    behind.clock.now += 100;
  }
  const events = await behind.db.query<{ action: string; time: number; createdAtMs: number }>(
    'test-times',
    `select action, (data::json->>'time')::bigint as time, ${toMs('created_at')} as "createdAtMs"
       from callback_events where card_no = $1 order by event_id`,
    [CARD],
  );
  assert.deepEqual(
    events.map(({ action }) => action),
    [
      ...['Pin_set', 'Pin_set', 'Card_update', 'Card_update', 'Pin_blocked'],
      ...['Pin_unblocked', 'Pin_blocked', 'Pin_unblocked', 'Pin_set'],
    ],
  );
  assert.ok(isRising(events.map(({ time }) => time)), `${events.map(({ time }) => time)}`);
  assert.deepEqual(
    events.map(({ createdAtMs }) => createdAtMs),
    events.map(({ time }) => time),
  );
  const records = await behind.db.query<{ atMs: number }>(
    'test-record-times',
    `select ${toMs('at')} as "atMs" from audit_records where subject = $1 order by seq`,
    [CARD],
  );
  assert.ok(records.length > events.length && isRising(records.map(({ atMs }) => atMs)));
});

test('a merchant whose records two operators write has rising times too', async () => {
  for (const on of [ahead, behind]) await updateMerchant(operatorOf(on), MAIN, { name: 'Renamed' });
  const records = await behind.db.query<{ atMs: number }>(
    'test-merchant-times',
    `select ${toMs('at')} as "atMs" from audit_records where subject = $1 order by seq`,
    [MAIN],
  );
  assert.ok(isRising(records.map(({ atMs }) => atMs)));
});

test('the chains verify', async () => {
  assert.deepEqual((await verifyAudit(behind.db, behind.keys)).breaks, []);
});

test('an event does not wait for the time that another process wrote before it', async () => {
  await behind.db.script('truncate callback_events');
  const body = pinBody('135246', { card_no: CARD, cardholder_no: CARDHOLDER });
  assert.equal((await merchantOf(ahead).call('POST', '/card/pin/set', body)).code, 0);
  await behind.db.script('truncate callback_events');
  assert.equal((await merchantOf(behind).call('POST', '/card/pin/set', body)).code, 0);
  const limits = { nowMs: behind.clock.now, leaseMs: 30_000, room: new Map(), perMerchant: 64, free: 64 };
  assert.equal((await claimEvents(behind.db, limits)).events.length, 1);
});
