import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CALLBACK_ACTIONS } from '@pinward/contract/vocabulary';
import { merchantDocument } from '../src/api/openapi.ts';
import { configureCallbacks } from '../src/callbacks/configure-callbacks.ts';
import { createMerchantQuotas } from '../src/callbacks/merchant-quotas.ts';
import { retryCallbacks } from '../src/callbacks/retry-callbacks.ts';
import { sendCallbacks } from '../src/callbacks/send-callbacks.ts';
import { claimEvents, deleteDelivered, type Settlement, settleEvents } from '../src/callbacks/store.ts';
import { toMs } from '../src/db/sql-time.ts';
import { createCredential } from '../src/merchants/create-credential.ts';
import { disableCredential } from '../src/merchants/disable-credential.ts';
import { updateMerchant } from '../src/merchants/update-merchant.ts';
import { appendEvent } from '../src/outbox/append-event.ts';
import { contractOf } from './support/contract.ts';
import { issuerOf } from './support/issuer.ts';
import { accept, answer, isSigned, type Receiver, startReceiver } from './support/receiver.ts';
import {
  API_KEY,
  FIRST_CARD,
  MERCHANT_NO,
  OTHER_API_KEY,
  OTHER_MERCHANT_NO,
  OTHER_SECRET,
  pinBody,
  SANDBOX_SECRET,
  SECOND_CARDHOLDERS_CARD,
} from './support/sandbox.ts';
import { until } from './support/server-process.ts';
import { merchantOf, operatorOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

const MAIN = MERCHANT_NO;
const OTHER = OTHER_MERCHANT_NO;
const SECOND_MS = 1_000;
const DAY_MS = 86_400_000;
/** Within this time every process notices a change. */
const NOTICED_AFTER_MS = 1_000;

let platform: TestPlatform;
let receiver: Receiver;
const senders: { stop(): Promise<void> }[] = [];
const operator = () => operatorOf(platform);
const send = (services = platform.services, options = {}) => {
  const sender = sendCallbacks(services, options);
  senders.push(sender);
  return sender;
};

before(async () => {
  platform = await startPlatform();
  receiver = await startReceiver();
  await configureCallbacks(operator(), 'sandbox', MAIN, { url: receiver.url, apiKey: API_KEY });
});
after(async () => {
  await receiver.close();
  await platform.close();
});
beforeEach(() => {
  receiver.answering = accept;
  receiver.received.length = 0;
});
afterEach(async () => {
  await Promise.all(senders.splice(0).map((sender) => sender.stop()));
  await platform.db.script('truncate callback_events');
});

interface Row {
  cardNo: string;
  state: string;
  attempts: number;
  fault: string | null;
}
const events = () =>
  platform.db.query<Row>(
    'test-events',
    `select card_no as "cardNo", case when due_at is not null then 'waiting' when parked_at is not null then 'parked'
                                      else 'delivered' end as state, attempts, last_fault as fault
       from callback_events order by event_id`,
  );
const states = async () => (await events()).map(({ state }) => state);
const allDelivered = () =>
  until('all is delivered', async () => (await states()).every((state) => state === 'delivered'));

/** Writes events as changes do: number 0, 1, ... of each card. */
async function write(cards: number, each: number, merchantId = 1): Promise<void> {
  for (let number = 0; number < each; number++)
    for (let card = 0; card < cards; card++) {
      const cardNo = `C${card}`;
      const data = { card_no: cardNo, number };
      await appendEvent(platform.db, { merchantId, cardNo, action: 'Card_update', data, atMs: platform.clock.now });
    }
}

/** The numbers of each card's callbacks, in the order in which they came. */
function numbersByCard(): Record<string, number[]> {
  const byCard: Record<string, number[]> = {};
  for (const { data } of receiver.received) {
    const cardNo = data.card_no as string;
    byCard[cardNo] = [...(byCard[cardNo] ?? []), data.number as number];
  }
  return byCard;
}

test('every status change that a merchant makes arrives once, in order, signed so that the merchant accepts it', async () => {
  const merchant = merchantOf(platform);
  const wanted: string[] = [];
  for (const cardNo of [FIRST_CARD.cardNo, SECOND_CARDHOLDERS_CARD.cardNo])
    for (let round = 0; round < 3; round++)
      for (const [before_status, status] of [
        ['Activated', 'Frozen'],
        ['Frozen', 'Activated'],
      ]) {
        platform.clock.now++;
        const { code } = await merchant.call('POST', '/card/status/update', { card_no: cardNo, status });
        assert.equal(code, 0);
        wanted.push(
          JSON.stringify({
            card_no: cardNo,
            before_status,
            after_status: status,
            reason: '',
            time: platform.clock.now,
          }),
        );
      }
  send();
  await allDelivered();
  const got = receiver.received.map(({ text, data }) => {
    assert.ok(text.endsWith(`"data":${JSON.stringify(data)}}`));
    return JSON.stringify(data);
  });
  for (const cardNo of [FIRST_CARD.cardNo, SECOND_CARDHOLDERS_CARD.cardNo])
    assert.deepEqual(
      got.filter((text) => text.includes(cardNo)),
      wanted.filter((text) => text.includes(cardNo)),
    );
  assert.equal(new Set(receiver.received.map(({ id }) => id)).size, wanted.length, 'each has an id of its own');
  for (const one of receiver.received) {
    assert.equal(one.action, 'Card_update');
    assert.ok(isSigned(one), one.text);
    assert.ok(!isSigned(one, API_KEY, OTHER_SECRET) && !isSigned(one, OTHER_API_KEY));
  }
});

test('PIN events, which statements write and not JSON.stringify, are signed and sent too', async () => {
  const actions = ['Card_update', 'Pin_set', 'Pin_blocked', 'Pin_unblocked'];
  await updateMerchant(operator(), MAIN, { callbackActions: actions });
  await sleep(NOTICED_AFTER_MS);
  assert.equal((await merchantOf(platform).call('POST', '/card/pin/set', pinBody('142536'))).code, 0);
  const issuer = issuerOf(platform);
  for (let i = 0; i < 3; i++) await issuer.verify('635241');
  await issuer.call('POST', '/pin/unblock', { card_no: FIRST_CARD.cardNo });
  send();
  await allDelivered();
  assert.deepEqual(
    receiver.received.map(({ action }) => action),
    ['Pin_set', 'Pin_blocked', 'Pin_unblocked'],
  );
  assert.ok(receiver.received.every((one) => isSigned(one)));
  await updateMerchant(operator(), MAIN, { callbackActions: ['Card_update'] });
});

test('every callback action is documented, and is sent as the OpenAPI document has it', async () => {
  await updateMerchant(operator(), MAIN, { callbackActions: [...CALLBACK_ACTIONS] });
  const issuer = issuerOf(platform);
  const merchant = merchantOf(platform);
  const cardNo = FIRST_CARD.cardNo;
  assert.equal((await merchant.call('POST', '/card/pin/set', pinBody('142536'))).code, 0);
  for (let i = 0; i < 3; i++) await issuer.verify('635241');
  await issuer.call('POST', '/pin/unblock', { card_no: cardNo });
  for (const [status, reason] of [
    ['Frozen', 'lost'],
    ['Activated', undefined],
  ])
    assert.equal((await issuer.call('POST', '/card/status', { card_no: cardNo, status, reason })).code, 0);
  send();
  await allDelivered();
  assert.deepEqual(new Set(receiver.received.map(({ action }) => action)), new Set(CALLBACK_ACTIONS));
  const document = merchantDocument(platform.app) as { webhooks: object };
  assert.deepEqual(Object.keys(document.webhooks).sort(), [...CALLBACK_ACTIONS].sort());
  const contract = contractOf(document);
  for (const { action, text } of receiver.received) await contract.judgeCallback(action, JSON.parse(text));
  await assert.rejects(contract.judgeCallback('Pin_set', { id: 'x', action: 'Pin_set', data: {} }));
  await updateMerchant(operator(), MAIN, { callbackActions: ['Card_update'] });
});

test('a failure is repeated after a second, then after two, with the same id and a new signature, until it is taken', async () => {
  receiver.answering = (_, response) => answer(response, 500, '');
  await write(1, 1);
  send();
  for (let attempt = 1; attempt <= 4; attempt++) {
    await until(
      `attempt ${attempt} is settled`,
      async () => (await events())[0]?.fault === 'HTTP 500' && receiver.received.length === attempt,
    );
    const [{ dueIn } = { dueIn: 0 }] = await platform.db.query<{ dueIn: number }>(
      'due-in',
      `select ${toMs('due_at')} - $1::bigint as "dueIn" from callback_events`,
      [platform.clock.now],
    );
    const longest = SECOND_MS * 2 ** (attempt - 1);
    assert.ok(dueIn >= longest / 2 && dueIn <= longest, `${dueIn}`);
    platform.clock.now += dueIn - 1;
    await sleep(300);
    assert.equal(receiver.received.length, attempt, 'not a millisecond earlier');
    if (attempt === 4) receiver.answering = accept;
    await platform.db.script('update callback_events set last_fault = null');
    platform.clock.now += 1;
  }
  await allDelivered();
  assert.deepEqual(await events(), [{ cardNo: 'C0', state: 'delivered', attempts: 5, fault: null }]);
  assert.equal(new Set(receiver.received.map(({ id }) => id)).size, 1);
  assert.equal(new Set(receiver.received.map(({ headers }) => headers.signature)).size, 5);
});

test("while a card's first event fails, its later events wait and other cards are served", async () => {
  receiver.answering = ({ data }, response) =>
    answer(response, data.card_no === 'C0' && data.number === 0 ? 500 : 200, '{"code":0}');
  await write(3, 4);
  send();
  await until(
    'the others are through',
    async () => (await states()).filter((state) => state === 'delivered').length === 8,
  );
  await sleep(300);
  assert.deepEqual(numbersByCard(), { C0: [0], C1: [0, 1, 2, 3], C2: [0, 1, 2, 3] });
  receiver.answering = accept;
  platform.clock.now += 2 * SECOND_MS;
  await until('the first is through too', async () => {
    platform.clock.now += SECOND_MS; // those that were not woken are looked at again
    return (await states()).every((state) => state === 'delivered');
  });
  assert.deepEqual(numbersByCard().C0, [0, 0, 1, 2, 3]);
});

test("after 24 hours an event is a dead letter and the card's next events are sent; a retry puts it first again, for 24 more hours", async () => {
  receiver.answering = ({ data }, response) => answer(response, data.number === 0 ? 500 : 200, '{"code":0}');
  await write(1, 3);
  send();
  await until('the first has failed', async () => (await events())[0]?.fault === 'HTTP 500');
  platform.clock.now += DAY_MS;
  await until('it is parked', async () => (await states())[0] === 'parked');
  await until('the others are through', async () => (await states()).join() === 'parked,delivered,delivered');
  assert.deepEqual(numbersByCard(), { C0: [0, 0, 1, 2] });
  const parked = platform.logLines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'callback parked');
  assert.equal(parked.length, 1);
  const { level, merchantNo, action, attempts, fault } = parked[0];
  assert.deepEqual([level, merchantNo, action, attempts, fault], [40, MAIN, 'Card_update', 2, 'HTTP 500']);

  // It comes back, fails, and holds up what is new; it has a day of its own again.
  receiver.received.length = 0;
  assert.equal(await retryCallbacks(operator(), { merchantNo: MAIN }), 1);
  await write(1, 2);
  await until('it has failed again', async () => {
    const [first] = await events();
    return first?.attempts === 1 && first.fault === 'HTTP 500';
  });
  assert.deepEqual(await states(), ['waiting', 'delivered', 'delivered', 'waiting', 'waiting']);
  assert.ok(receiver.received.every(({ data }) => data.number === 0));
  receiver.answering = accept;
  await until('all is through', async () => {
    platform.clock.now += SECOND_MS;
    return (await states()).every((state) => state === 'delivered');
  });
  assert.deepEqual(
    receiver.received
      .map(({ data }) => data.number)
      .filter((number, index, all) => number !== 0 || all[index + 1] !== 0),
    [0, 1],
    'the one that came back, then the new ones: number 0 and number 1',
  );
  assert.equal(await retryCallbacks(operator(), { merchantNo: MAIN }), 0);
});

test('an event with a long wait is sent at once when the operator retries it', async () => {
  receiver.answering = (_, response) => answer(response, 500, '');
  await write(1, 1);
  const [{ pushId } = { pushId: '' }] = await platform.db.query<{ pushId: string }>(
    'push-id',
    'select push_id as "pushId" from callback_events',
  );
  await platform.db.script(`update callback_events set due_at = due_at + interval '1 hour', attempts = 13`);
  await retryCallbacks(operator(), { pushId });
  receiver.answering = accept;
  send();
  await allDelivered();
  assert.deepEqual(await events(), [{ cardNo: 'C0', state: 'delivered', attempts: 14, fault: null }]);
  await assert.rejects(
    retryCallbacks(operator(), { pushId }),
    /no callback .* is parked, or waits for longer than 30 s; nothing was changed/,
  );
});

test('two platforms on one database send each event once, in the order of each card', async () => {
  const second = await startPlatform({}, { databaseUrl: platform.databaseUrl, clock: platform.clock });
  await write(40, 10);
  send();
  send(second.services);
  await write(40, 10); // while they are at it
  // An event whose wake-up was lost between the two is examined again after 5 s, so the clock must
  // go on, about as fast as real time.
  await until('all is delivered', async () => {
    platform.clock.now += 10;
    return (await states()).every((state) => state === 'delivered');
  });
  await Promise.all(senders.splice(0).map((sender) => sender.stop()));
  await second.close();
  assert.equal(receiver.received.length, 800);
  assert.equal(new Set(receiver.received.map(({ id }) => id)).size, 800);
  const ten = Array.from({ length: 10 }, (_, number) => number);
  for (const numbers of Object.values(numbersByCard())) assert.deepEqual(numbers, [...ten, ...ten]);
  assert.ok((await events()).every(({ attempts }) => attempts === 1));
});

test('a merchant whose server hangs uses only its quota, and other merchants get their callbacks', async () => {
  const hanging = await startReceiver(() => {});
  await configureCallbacks(operator(), 'sandbox', OTHER, { url: hanging.url, apiKey: OTHER_API_KEY });
  await write(100, 1, 2);
  await write(50, 1);
  send();
  await until('the other merchant is served', () => receiver.received.length === 50);
  await until('it has its quota', () => hanging.received.length === 64);
  await sleep(300);
  assert.equal(hanging.received.length, 64);
  assert.ok(isSigned(hanging.received[0]!, OTHER_API_KEY, OTHER_SECRET));
  await hanging.close();
  await configureCallbacks(operator(), 'sandbox', OTHER, { url: null });
});

for (const [what, unavailable] of [
  ['answers 503', (_: unknown, response: ServerResponse) => answer(response, 503, '')],
  ['hangs', () => {}],
] as const)
  test(`a merchant whose server ${what} gets one event a second, and all of them once it is back`, async () => {
    receiver.answering = unavailable;
    await write(200, 1);
    const said = platform.logLines.length;
    const lines = (text: string) => platform.logLines.slice(said).filter((line) => line.includes(text));
    send(platform.services, { timeoutMs: 300 });
    await until('it counts as unavailable', () => lines('a merchant is away').length === 1);
    await sleep(2_500);
    assert.ok(
      receiver.received.length > 64 && receiver.received.length <= 64 + 4,
      `${receiver.received.length} attempts`,
    );
    receiver.answering = accept;
    platform.clock.now += 2 * SECOND_MS;
    await allDelivered();
    assert.equal(lines('answers callbacks again').length, 1);
  });

for (const [status, text] of [
  [200, '{"code":500}'],
  [500, ''],
  [404, ''],
] as const)
  test(`a server that answers some events with ${status} ${text} counts as available, and gets the others meanwhile`, async () => {
    receiver.answering = (received, response) =>
      (received.data.card_no === 'C199' ? accept : refuse)(received, response);
    const refuse: Receiver['answering'] = (_, response) => answer(response, status, text);
    await write(200, 1);
    send();
    await until('all are tried', () => receiver.received.length === 200);
    await until('the last is delivered', async () => (await states()).at(-1) === 'delivered');
  });

test('events that waited 24 hours for an unavailable merchant become dead letters together, not one by one', async () => {
  receiver.answering = (_, response) => answer(response, 503, '');
  await write(200, 1);
  send();
  await until('it counts as unavailable', () => receiver.received.length >= 64);
  await write(200, 1);
  platform.clock.now += DAY_MS;
  await until('all are parked', async () => (await states()).every((state) => state === 'parked'));
  assert.ok(receiver.received.length < 100, `${receiver.received.length} attempts`);
});

describe('the quota of a merchant', () => {
  const QUOTA = 8;
  const UNAVAILABLE_AFTER = 8;
  const setUp = () => {
    const clock = { now: 0 };
    const quotas = createMerchantQuotas(QUOTA, () => clock.now);
    const fail = (times: number) => Array.from({ length: times }, () => quotas.noteNoAnswer(1));
    return { clock, quotas, fail, room: () => quotas.room().get(1) ?? QUOTA };
  };

  test('leaves room for what it does not have in flight', () => {
    const { quotas, room } = setUp();
    assert.equal(room(), QUOTA);
    for (let i = 0; i < 3; i++) quotas.begin(1);
    assert.equal(room(), QUOTA - 3);
    for (let i = 0; i < 3; i++) quotas.end(1);
    assert.equal(quotas.room().size, 0, 'and nothing is kept of a merchant that has none in flight');
  });

  test('is one a second while the merchant is unavailable, which is reported once', () => {
    const { clock, quotas, fail, room } = setUp();
    assert.deepEqual(fail(UNAVAILABLE_AFTER - 1), Array(UNAVAILABLE_AFTER - 1).fill(false));
    assert.equal(room(), QUOTA);
    assert.equal(quotas.isUnavailable(1), false);
    assert.deepEqual(fail(2), [true, false]);
    assert.equal(quotas.isUnavailable(1), true);
    assert.equal(room(), 0);
    clock.now = 1_000;
    assert.equal(room(), 1);
    quotas.begin(1);
    assert.equal(room(), 0);
    quotas.end(1);
    fail(1);
    assert.equal(room(), 0, 'a second after the last');
  });

  test('grows back with each answer, and starts again at one after a failure', () => {
    const { clock, quotas, fail, room } = setUp();
    fail(UNAVAILABLE_AFTER);
    assert.equal(quotas.noteAnswer(1), false);
    assert.equal(room(), 2);
    fail(1);
    clock.now = 1_000;
    assert.equal(room(), 1);
    assert.deepEqual(
      Array.from({ length: 4 }, () => [quotas.noteAnswer(1), room()]),
      [
        [false, 2],
        [false, 4],
        [true, 8],
        [false, 8],
      ],
    );
  });
});

test('a sender that is told to stop claims no more events and finishes the deliveries in flight', async () => {
  let letGo = (): void => {};
  receiver.answering = (received, response) => {
    letGo = () => accept(received, response);
  };
  await write(1, 2);
  const sender = send();
  await until('one is under way', () => receiver.received.length === 1);
  const stopped = sender.stop();
  letGo();
  await stopped;
  assert.deepEqual(await states(), ['delivered', 'waiting']);
  assert.equal(receiver.received.length, 1);
});

describe('the secret that signs', () => {
  test('is the old one, also when it is disabled, until the operator names another', async () => {
    const next = await createCredential(operator(), { merchantNo: MAIN, apiKey: 'next_api_key', ipAllowlist: [] });
    const signedBy = async (apiKey: string, secret: string) => {
      receiver.received.length = 0;
      await write(1, 1);
      await until('it has come', () => receiver.received.length === 1);
      assert.ok(isSigned(receiver.received[0]!, apiKey, secret), `signed by ${apiKey}`);
    };
    const old = await createCredential(operator(), { merchantNo: MAIN, apiKey: 'old_api_key', ipAllowlist: [] });
    await configureCallbacks(operator(), 'sandbox', MAIN, { apiKey: 'old_api_key' });
    await sleep(NOTICED_AFTER_MS);
    send();
    await signedBy('old_api_key', old.apiSecret.expose());
    await disableCredential(operator(), 'old_api_key');
    await sleep(NOTICED_AFTER_MS);
    await signedBy('old_api_key', old.apiSecret.expose());
    await configureCallbacks(operator(), 'sandbox', MAIN, { apiKey: 'next_api_key' });
    await sleep(NOTICED_AFTER_MS);
    await signedBy('next_api_key', next.apiSecret.expose());
    await configureCallbacks(operator(), 'sandbox', MAIN, { apiKey: API_KEY });

    const { logLines, db } = platform;
    const tables = await Promise.all(
      ['callback_events', 'audit_records', 'merchants', 'credentials'].map((table) =>
        db.tuples(`all-${table}`, `select to_json(t)::text from ${table} t`),
      ),
    );
    for (const secret of [old.apiSecret.expose(), next.apiSecret.expose(), SANDBOX_SECRET])
      assert.ok(!JSON.stringify([logLines, tables]).includes(secret));
  });

  test('cannot be of another merchant, disabled, or missing', async () => {
    for (const apiKey of [OTHER_API_KEY, 'disabled_api_key', 'expired_api_key', 'nothing'])
      await assert.rejects(
        configureCallbacks(operator(), 'sandbox', MAIN, { apiKey }),
        /has no credential .* that is enabled/,
      );
  });
});

test('events wait while the merchant has no address, or is disabled', async () => {
  await write(1, 1);
  await configureCallbacks(operator(), 'sandbox', MAIN, { url: null });
  await write(1, 1);
  send();
  await sleep(500);
  assert.deepEqual(await states(), ['waiting'], 'and what happens meanwhile is told to nobody');
  await updateMerchant(operator(), MAIN, { status: 'Disabled' });
  await configureCallbacks(operator(), 'sandbox', MAIN, { url: receiver.url });
  await sleep(500);
  assert.deepEqual([await states(), receiver.received.length], [['waiting'], 0]);
  await updateMerchant(operator(), MAIN, { status: 'Active' });
  await allDelivered();
  assert.equal(receiver.received.length, 1);
});

describe('a claim', () => {
  const LEASE_MS = 30_000;
  const claim = async (perMerchant = 16, free = 256) =>
    (
      await claimEvents(platform.db, {
        nowMs: platform.clock.now,
        leaseMs: LEASE_MS,
        room: new Map(),
        perMerchant,
        free,
      })
    ).events;
  const settlement = (of: { eventId: number; attempts: number }, more: Partial<Settlement> = {}): Settlement => ({
    ...{
      eventId: of.eventId,
      attempts: of.attempts,
      atMs: platform.clock.now,
      delivered: true,
      retryAtMs: undefined,
      fault: undefined,
    },
    ...more,
  });

  test('that expired cannot undo the work of the next claim', async () => {
    await write(1, 1);
    const [slow] = await claim();
    assert.deepEqual(await claim(), [], 'it is taken');
    platform.clock.now += LEASE_MS;
    const [successor] = await claim();
    assert.deepEqual([slow?.eventId, slow?.attempts, successor?.attempts], [successor?.eventId, 1, 2]);
    const failed = { delivered: false, retryAtMs: platform.clock.now + 1, fault: 'slow' };
    assert.deepEqual(await settleEvents(platform.db, [settlement(slow!, failed)]), [{ settled: false, woke: false }]);
    assert.deepEqual(await settleEvents(platform.db, [settlement(successor!)]), [{ settled: true, woke: false }]);
    assert.deepEqual(await settleEvents(platform.db, [settlement(slow!, failed), settlement(successor!)]), [
      { settled: false, woke: false },
      { settled: false, woke: false },
    ]);
    assert.deepEqual(await events(), [{ cardNo: 'C0', state: 'delivered', attempts: 2, fault: null }]);
  });

  test('takes the first event of each card, as many as there is room for, and the end of one wakes the next', async () => {
    await write(3, 2);
    const first = await claim(2);
    assert.deepEqual(
      first.map(({ data }) => data),
      ['{"card_no":"C0","number":0}', '{"card_no":"C1","number":0}'],
    );
    assert.equal((await claim(16, 0)).length, 0);
    assert.deepEqual(
      (await claim()).map(({ data }) => data),
      ['{"card_no":"C2","number":0}'],
    );
    const settled = await settleEvents(platform.db, [
      settlement(first[0]!),
      settlement(first[1]!, { delivered: false, fault: 'parked' }),
    ]);
    assert.deepEqual(settled, [
      { settled: true, woke: true },
      { settled: true, woke: true },
    ]);
    assert.equal((await claim()).length, 2);
  });

  test('made by many processes at once takes each event once', async () => {
    await write(100, 2);
    const claimed = (await Promise.all(Array.from({ length: 12 }, () => claim()))).flat();
    assert.equal(new Set(claimed.map(({ eventId }) => eventId)).size, claimed.length);
    assert.ok(claimed.every(({ data }) => data.includes('"number":0')));
  });
});

test('delivered events are deleted after a week; waiting events and dead letters are not', async () => {
  await write(4, 1);
  await platform.db.tuples(
    'age',
    `update callback_events set due_at = case when card_no = 'C0' then due_at end,
            parked_at = case when card_no = 'C1' then to_timestamp(0) end,
            delivered_at = case when card_no = 'C2' then to_timestamp($1::bigint / 1000.0) when card_no = 'C3' then to_timestamp(($1::bigint - 1) / 1000.0) end`,
    [platform.clock.now - 7 * DAY_MS],
  );
  await deleteDelivered(platform.db, platform.clock.now - 7 * DAY_MS);
  assert.deepEqual(
    (await events()).map(({ cardNo }) => cardNo),
    ['C0', 'C1', 'C2'],
  );
});
