import assert from 'node:assert/strict';
import { after, beforeEach, describe, test } from 'node:test';
import { updateMerchant } from '../src/merchants/update-merchant.ts';
import {
  CARD_TO_ACTIVATE,
  CARDHOLDER_NO,
  FIRST_CARD,
  MERCHANT_NO,
  OTHER_API_KEY,
  OTHER_MERCHANTS_CARD,
  OTHER_MERCHANTS_CARDHOLDER_NO,
  SECOND_CARDHOLDER_NO,
  seal,
  VIRTUAL_CARD,
} from './support/sandbox.ts';
import { intactChain } from './support/stored-pin.ts';
import { type Answer, type Merchant, merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

const HOUR_MS = 3_600_000;
const card = { card_no: CARD_TO_ACTIVATE.cardNo, cardholder_no: CARDHOLDER_NO };

let platform: TestPlatform;
let merchant: Merchant;
beforeEach(async () => {
  await platform?.close();
  platform = await startPlatform();
  merchant = merchantOf(platform);
});
after(() => platform.close());

async function statusOf(cardNo: string): Promise<string> {
  const [row] = await platform.db.tuples<[string]>('status', 'select status from cards where card_no = $1', [cardNo]);
  return row?.[0] as string;
}

async function actionsOf(cardNo: string): Promise<string[]> {
  return (
    await platform.db.tuples<[string]>('actions', 'select action from audit_records where subject = $1 order by seq', [
      cardNo,
    ])
  ).flat();
}

async function events(): Promise<[string, string][]> {
  return platform.db.tuples<[string, string]>('events', 'select action, data from callback_events order by event_id');
}

describe('a card in detail', () => {
  const detail = (cardNo: string, headers = {}) => merchant.call('GET', `/card/${cardNo}/detail`, undefined, headers);

  test('has the fields of the API', async () => {
    const { code, data } = await detail(FIRST_CARD.cardNo);
    assert.equal(code, 0);
    assert.deepEqual(data, {
      card_no: FIRST_CARD.cardNo,
      card_unique_no: 'unique-C202605220001',
      cardholder_no: CARDHOLDER_NO,
      card_name: 'Sandbox card 1',
      package_name_en: '',
      package_name_cn: '',
      card_type: 'Physical',
      organization: 'Sandbox',
      card_last_no: '0014',
      fee_detail: {},
      status: 'Activated',
      time: Date.UTC(2026, 4, 22),
    });
  });

  test('is hidden from another merchant: the answer is exactly that for a missing card', async () => {
    const others = await detail(OTHER_MERCHANTS_CARD.cardNo);
    const nobodys = await detail('C000000000000');
    assert.equal(others.code, 4001);
    assert.equal(others.text, nobodys.text);
    const seenFromThere = await merchantOf(platform, OTHER_API_KEY).call('GET', '/card/C202605220001/detail');
    assert.equal(seenFromThere.text, nobodys.text);
  });

  test('with a malformed number answers 1004 and the name of the field', async () => {
    for (const cardNo of ['C%20', 'x'.repeat(65), '%E5%8D%A1']) {
      assert.equal((await detail(cardNo)).msg, 'card_no invalid parameter');
      assert.equal((await detail(cardNo, { language: 'zh_CN' })).msg, 'card_no 参数无效');
    }
  });
});

describe('activating a card', () => {
  const activate = (more: object = {}): Promise<Answer> =>
    merchant.call('POST', '/card/active', { ...card, cvv: seal('685'), card_last_no: '0030', ...more });

  test('needs its CVV and last four digits, and works once', async () => {
    const answer = await activate();
    assert.deepEqual([answer.code, answer.data], [0, { result: true }]);
    assert.equal(await statusOf(card.card_no), 'Activated');
    assert.equal((await activate()).code, 4005);
    assert.deepEqual(await actionsOf(card.card_no), ['card_created', 'card_activated']);
  });

  const refusals: [what: string, code: number, more: object][] = [
    ['a wrong CVV', 4003, { cvv: seal('686') }],
    ['wrong last four digits', 4003, { card_last_no: '0031' }],
    ['a CVV of two digits', 4003, { cvv: seal('68') }],
    ['a CVV that was not enciphered', 4003, { cvv: '685' }],
    ['a CVV under another secret', 4003, { cvv: seal('685', 'x'.repeat(32)) }],
    ['another cardholder', 4001, { cardholder_no: SECOND_CARDHOLDER_NO }],
    [
      "another merchant's card",
      4001,
      { card_no: OTHER_MERCHANTS_CARD.cardNo, cardholder_no: OTHER_MERCHANTS_CARDHOLDER_NO },
    ],
    ['no such card', 4001, { card_no: 'C000000000000' }],
    ['a virtual card', 4017, { card_no: VIRTUAL_CARD.cardNo }],
    ['an activated card', 4005, { card_no: FIRST_CARD.cardNo }],
    ['no CVV', 1004, { cvv: undefined }],
    ['five last digits', 1004, { card_last_no: '00300' }],
  ];
  for (const [what, code, more] of refusals) {
    test(`is refused with ${code} for ${what}`, async () => {
      assert.equal((await activate(more)).code, code);
      assert.equal(await statusOf(card.card_no), 'ToActivate');
    });
  }

  test('does not tell a wrong CVV from wrong digits', async () => {
    assert.equal((await activate({ cvv: seal('686') })).text, (await activate({ card_last_no: '0031' })).text);
  });

  test('is refused with 1009 after five wrong tries, also when right and after a restart, until 24 hours have passed', async () => {
    for (let i = 0; i < 5; i++) assert.equal((await activate({ cvv: seal('000') })).code, 4003);
    const blocked = await activate();
    assert.equal(blocked.code, 1009);
    assert.equal(blocked.headers['retry-after'], String(24 * 3600));
    const restarted = await startPlatform({}, { databaseUrl: platform.databaseUrl, clock: platform.clock });
    assert.equal(
      (await merchantOf(restarted).call('POST', '/card/active', { ...card, cvv: seal('685'), card_last_no: '0030' }))
        .code,
      1009,
    );
    await restarted.close();
    platform.clock.now += 24 * HOUR_MS - 1;
    const almost = await activate();
    assert.deepEqual([almost.code, almost.headers['retry-after']], [1009, '1']);
    platform.clock.now += 1;
    merchant = merchantOf(platform); // its token has expired
    assert.equal((await activate()).code, 0);
  });

  test('begins to count anew 24 hours after the first wrong try, not after the last', async () => {
    for (let i = 0; i < 4; i++) {
      assert.equal((await activate({ cvv: seal('000') })).code, 4003);
      platform.clock.now += HOUR_MS;
    }
    platform.clock.now += 20 * HOUR_MS;
    merchant = merchantOf(platform);
    for (let i = 0; i < 5; i++) assert.equal((await activate({ cvv: seal('000') })).code, 4003);
    assert.equal((await activate()).code, 1009);
  });

  test('forgets the wrong tries before a right one', async () => {
    for (let i = 0; i < 4; i++) assert.equal((await activate({ cvv: seal('000') })).code, 4003);
    assert.equal((await activate()).code, 0);
    await platform.db.script(`update cards set status = 'ToActivate' where card_no = '${card.card_no}'`);
    for (let i = 0; i < 5; i++) assert.equal((await activate({ cvv: seal('000') })).code, 4003);
    assert.equal((await activate()).code, 1009);
  });

  test('leaves a record of each wrong try and of the right one, which say who it was and from where', async () => {
    await activate({ cvv: seal('000') });
    const wrongAgain = await activate({ card_last_no: '9999' });
    const right = await activate();
    const records = await intactChain(platform.db, card.card_no);
    assert.deepEqual(
      records.map(({ action }) => action),
      ['card_created', 'card_activation_failed', 'card_activation_failed', 'card_activated'],
    );
    const origin = { credential_id: 1, ip: '127.0.0.1' };
    assert.deepEqual(records[2]?.details, { ...origin, request_id: wrongAgain.headers['x-request-id'], failures: 2 });
    const statuses = { before: 'ToActivate', after: 'Activated' };
    assert.deepEqual(records[3]?.details, { ...origin, request_id: right.headers['x-request-id'], ...statuses });
  });

  test('with two correct calls at once answers one with success and one with 4005', async () => {
    const answers = await Promise.all([activate(), activate()]);
    assert.deepEqual(answers.map(({ code }) => code).sort(), [0, 4005]);
    assert.deepEqual(await actionsOf(card.card_no), ['card_created', 'card_activated']);
  });

  test('counts exactly when many guess at once', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => activate({ cvv: seal('000') })));
    assert.deepEqual(
      [4003, 1009].map((code) => answers.filter((answer) => answer.code === code).length),
      [5, 15],
    );
    assert.equal((await actionsOf(card.card_no)).filter((action) => action === 'card_activation_failed').length, 5);
  });
});

describe('changing the status of a card', () => {
  const update = (cardNo: string, status: string) =>
    merchant.call('POST', '/card/status/update', { card_no: cardNo, status });
  const allowed = ['Activated Frozen', 'Frozen Activated', 'ToActivate Delete', 'Activated Delete', 'Frozen Delete'];

  for (const from of ['Pending', 'ToActivate', 'Activated', 'Fail', 'Frozen', 'Delete']) {
    test(`from ${from} leads where it may and nowhere else`, async () => {
      for (const to of ['Frozen', 'Activated', 'Delete']) {
        await platform.db.script(`update cards set status = '${from}' where card_no = 'C202605220001'`);
        const before = await actionsOf(FIRST_CARD.cardNo);
        const { code, data } = await update(FIRST_CARD.cardNo, to);
        const may = allowed.includes(`${from} ${to}`);
        assert.deepEqual([code, data], may ? [0, { result: true }] : [4005, undefined], `${from} to ${to}`);
        assert.equal(await statusOf(FIRST_CARD.cardNo), may ? to : from);
        assert.equal((await actionsOf(FIRST_CARD.cardNo)).length, before.length + (may ? 1 : 0));
      }
    });
  }

  test('accepts three statuses and no other', async () => {
    for (const status of ['Pending', 'Fail', 'frozen', ''])
      assert.equal((await update(FIRST_CARD.cardNo, status)).msg, 'status invalid parameter');
  });

  test("does not touch another merchant's card", async () => {
    const others = await update(OTHER_MERCHANTS_CARD.cardNo, 'Delete');
    assert.equal(others.code, 4001);
    assert.equal(others.text, (await update('C000000000000', 'Delete')).text);
    assert.equal(await statusOf(OTHER_MERCHANTS_CARD.cardNo), 'Activated');
    assert.deepEqual(await actionsOf(OTHER_MERCHANTS_CARD.cardNo), ['card_created']);
  });

  test('is reported to a merchant that gets the event, and to no other', async () => {
    await update(FIRST_CARD.cardNo, 'Frozen');
    assert.deepEqual(await events(), []);
    await updateMerchant({ db: platform.db, now: Date.now }, MERCHANT_NO, {
      callbackUrl: 'http://127.0.0.1:9/',
      callbackActions: ['Card_update'],
    });
    const fresh = await startPlatform({}, { databaseUrl: platform.databaseUrl, clock: platform.clock });
    const again = merchantOf(fresh);
    await again.call('POST', '/card/status/update', { card_no: FIRST_CARD.cardNo, status: 'Activated' });
    await again.call('POST', '/card/status/update', { card_no: FIRST_CARD.cardNo, status: 'Activated' }); // 4005
    await again.call('POST', '/card/active', { ...card, cvv: seal('685'), card_last_no: '0030' });
    await fresh.close();
    const change = (card_no: string, before_status: string) => ({
      card_no,
      before_status,
      after_status: 'Activated',
      reason: '',
    });
    assert.deepEqual(
      (await events()).map(([action, data]) => [action, JSON.parse(data)]),
      [
        ['Card_update', { ...change(FIRST_CARD.cardNo, 'Frozen'), time: platform.clock.now }],
        ['Card_update', { ...change(card.card_no, 'ToActivate'), time: platform.clock.now }],
      ],
    );
  });
});
