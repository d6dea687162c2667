import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createIssuer } from '../src/issuers/create-issuer.ts';
import { updateMerchant } from '../src/merchants/update-merchant.ts';
import { createBin } from '../src/products/create-bin.ts';
import { setProductOffered } from '../src/products/set-offered.ts';
import { simulateTurn } from '../src/sandbox/simulated-issuer.ts';
import { sandboxPan } from '../src/sandbox/world.ts';
import { type CardCalls, physical, startCardCalls, virtual } from './support/card-calls.ts';
import { issuerOf } from './support/issuer.ts';
import {
  CARD_TO_ACTIVATE,
  CARDHOLDER_NO,
  FIRST_CARD,
  FROZEN_CARD,
  ISSUER_NO,
  MERCHANT_NO,
  seal,
  VIRTUAL_CARD,
} from './support/sandbox.ts';

const RANGE = { start_time: '2026-06-01', end_time: '2026-06-03' };

let platform: CardCalls['platform'];
let merchant: CardCalls['merchant'];
let applied: CardCalls['applied'];
let detail: CardCalls['detail'];
let actionsOf: CardCalls['actionsOf'];
let issuerCall: CardCalls['issuerCall'];
before(async () => {
  ({ platform, merchant, applied, detail, actionsOf, issuerCall } = await startCardCalls());
});
after(() => platform.close());

describe('the issuer', () => {
  test('issues a physical card with its own PAN and expiry; it then waits for activation', async () => {
    const cardNo = await applied(physical('issue-1'));
    const pan = '9999991234567893';
    const answer = await issuerCall('/card/issued', { card_no: cardNo, pan, expiry: '3105' });
    assert.equal(answer.code, 0, answer.text);
    const { cvv2 } = answer.data as { cvv2: string };
    assert.match(cvv2, /^\d{3}$/);
    assert.deepEqual(answer.data, { card_no: cardNo, status: 'ToActivate', pan, expiry: '3105', cvv2 });
    const { status, card_last_no } = await detail(cardNo);
    assert.deepEqual([status, card_last_no], ['ToActivate', '7893']);

    const body = { card_no: cardNo, cardholder_no: CARDHOLDER_NO, cvv: seal(cvv2), card_last_no: '7893' };
    assert.equal((await merchant.call('POST', '/card/active', body)).code, 0);
    const set = { card_no: cardNo, cardholder_no: CARDHOLDER_NO, pin: seal('142536') };
    assert.equal((await merchant.call('POST', '/card/pin/set', set)).code, 0);
    assert.deepEqual(await actionsOf(cardNo), ['card_applied', 'card_issued', 'card_activated', 'pin_set']);
  });

  test('gets 4005 for a card without an application, and 4001 for a card that does not exist', async () => {
    for (const { cardNo } of [FIRST_CARD, VIRTUAL_CARD, CARD_TO_ACTIVATE, FROZEN_CARD])
      for (const [path, more] of [
        ['/card/issued', {}],
        ['/card/failed', { reason: 'no' }],
      ] as const)
        assert.equal((await issuerCall(path, { card_no: cardNo, ...more })).code, 4005, `${path} ${cardNo}`);
    assert.equal((await issuerCall('/card/issued', { card_no: 'C999999999999' })).code, 4001);
    assert.equal((await issuerCall('/card/failed', { card_no: 'C999999999999', reason: 'no' })).code, 4001);
  });

  test('issues a virtual card with a PAN made here; it is activated', async () => {
    const cardNo = await applied(virtual('issue-2'));
    const { data } = await issuerCall('/card/issued', { card_no: cardNo });
    const { pan, expiry, status } = data as { pan: string; expiry: string; status: string };
    assert.match(pan, /^999999\d{10}$/);
    assert.deepEqual([status, expiry], ['Activated', '3106']);
  });

  test('gets the same answer once more, and 4005 for other numbers', async () => {
    const cardNo = await applied(physical('issue-3'));
    const first = await issuerCall('/card/issued', { card_no: cardNo });
    const { pan } = first.data as { pan: string };
    assert.equal((await issuerCall('/card/issued', { card_no: cardNo })).text, first.text);
    assert.equal((await issuerCall('/card/issued', { card_no: cardNo, pan })).text, first.text);
    assert.equal((await issuerCall('/card/issued', { card_no: cardNo, pan: '9999991234567893' })).code, 4005);
    assert.equal((await issuerCall('/card/issued', { card_no: cardNo, expiry: '3001' })).code, 4005);
    // Who is told PAN and CVV2 again is on record, as with private/info.
    assert.deepEqual(await actionsOf(cardNo), [
      'card_applied',
      'card_issued',
      'card_private_read',
      'card_private_read',
    ]);
  });

  const bad: [what: string, code: number, msg: string, more: object][] = [
    ['a PAN of another BIN', 1004, 'pan invalid parameter', { pan: '4111111111111111' }],
    ['a PAN without its check digit', 1004, 'pan invalid parameter', { pan: '9999991234567894' }],
    ['a PAN of another length', 1004, 'pan invalid parameter', { pan: '999999123456782' }],
    ["another card's PAN", 5005, 'PAN is in use', { pan: '9999990000000014' }],
    ['a month that is none', 1004, 'expiry invalid parameter', { expiry: '3013' }],
    ['an expiry in the past', 1004, 'expiry invalid parameter', { expiry: '2605' }],
  ];
  for (const [what, code, msg, more] of bad) {
    test(`is refused with ${code} for ${what}, and the card waits on`, async () => {
      const cardNo = await applied(virtual(`bad-${what}`));
      const answer = await issuerCall('/card/issued', { card_no: cardNo, ...more });
      assert.deepEqual([answer.code, answer.msg], [code, msg]);
      assert.equal((await detail(cardNo)).status, 'Pending');
    });
  }

  test('that sends one PAN for twenty cards at once gets it on one card', async () => {
    const numbers = await Promise.all(Array.from({ length: 20 }, (_, i) => applied(virtual(`race-${i}`))));
    const answers = await Promise.all(
      numbers.map((card_no) => issuerCall('/card/issued', { card_no, pan: sandboxPan(7_001) })),
    );
    assert.deepEqual(
      [0, 5005].map((code) => answers.filter((answer) => answer.code === code).length),
      [1, 19],
    );
  });

  test('gets all free PANs of a nearly exhausted BIN, and 5006 for the other cards', async () => {
    const operator = { db: platform.db, now: Date.now };
    const bin = {
      issuerNo: ISSUER_NO,
      bin: '98765432101',
      panDigits: 13,
      organization: 'Small',
      currencies: ['USD'],
    };
    const card_bin_no = await createBin(operator, { ...bin, cardTypes: ['Virtual'] });
    const numbers = await Promise.all(
      Array.from({ length: 13 }, (_, i) => applied(virtual(`small-${i}`, { card_bin_no }))),
    );
    const codes = new Map<string, number>();
    for (let turn = 0; turn < 5; turn++)
      await Promise.all(
        numbers.map(async (card_no) => codes.set(card_no, (await issuerCall('/card/issued', { card_no })).code)),
      );
    assert.deepEqual([...codes.values()].sort(), [...Array.from({ length: 10 }, () => 0), 5006, 5006, 5006]);
    await setProductOffered(operator, { product: 'bin', number: card_bin_no, offered: false });
    assert.deepEqual(
      platform.logLines.filter((line) => line.includes('unexpected fault')),
      [],
    );
  });

  test('refuses an application with a reason, once, and not after the card was issued', async () => {
    const cardNo = await applied(physical('fail-by-issuer'));
    assert.equal((await issuerCall('/card/failed', { card_no: cardNo, reason: 'No stock' })).code, 0);
    assert.equal((await issuerCall('/card/failed', { card_no: cardNo, reason: 'No stock' })).code, 0, 'once more');
    assert.equal((await detail(cardNo)).status, 'Fail');
    assert.equal((await issuerCall('/card/issued', { card_no: cardNo })).code, 4005);
    assert.equal((await issuerCall('/card/failed', { card_no: cardNo })).msg, 'reason invalid parameter');
    const issued = await applied(virtual('issued-then-failed'));
    await issuerCall('/card/issued', { card_no: issued });
    assert.equal((await issuerCall('/card/failed', { card_no: issued, reason: 'late' })).code, 4005);
    assert.deepEqual(await actionsOf(cardNo), ['card_applied', 'card_failed']);
  });

  test('freezes a card with a reason, and the merchant cannot unfreeze it', async () => {
    await updateMerchant({ db: platform.db, now: Date.now }, MERCHANT_NO, { callbackUrl: 'http://127.0.0.1:9/' });
    const cardNo = FIRST_CARD.cardNo;
    const update = async (status: string) =>
      (await merchant.call('POST', '/card/status/update', { card_no: cardNo, status })).code;
    const asIssuer = async (status: string) => {
      const { code, data } = await issuerCall('/card/status', { card_no: cardNo, status, reason: 'Fraud' });
      return code === 0 ? (data as { status: string }).status : code;
    };
    assert.equal(await asIssuer('Activated'), 4005, 'it did not freeze it');
    assert.equal(await asIssuer('Frozen'), 'Frozen');
    assert.equal(await update('Activated'), 4005);
    assert.equal(await asIssuer('Frozen'), 4005);
    assert.equal(await asIssuer('Activated'), 'Activated');

    // Under both freezes it stays frozen until the last is ended, whoever came first.
    for (const [first, second] of [
      [() => update('Frozen'), () => asIssuer('Frozen')],
      [() => asIssuer('Frozen'), () => update('Frozen')],
    ] as const) {
      assert.ok([0, 'Frozen'].includes(await first()));
      assert.ok([0, 'Frozen'].includes(await second()));
      assert.deepEqual([await update('Frozen'), await asIssuer('Frozen')], [4005, 4005]);
      assert.equal(await update('Activated'), 4005);
      assert.equal(await asIssuer('Activated'), 'Frozen', "the merchant's freeze stays");
      assert.equal(await asIssuer('Activated'), 4005);
      assert.equal(await update('Activated'), 0);
    }
    const events = await platform.db.tuples<[string]>(
      'told',
      `select data from callback_events where card_no = $1 order by event_id`,
      [cardNo],
    );
    assert.deepEqual(
      events
        .map(([data]) => JSON.parse(data))
        .map(({ before_status, after_status, reason }) => [before_status, after_status, reason]),
      [
        ['Activated', 'Frozen', 'Fraud'],
        ['Frozen', 'Activated', 'Fraud'],
        ['Activated', 'Frozen', ''],
        ['Frozen', 'Activated', ''],
        ['Activated', 'Frozen', 'Fraud'],
        ['Frozen', 'Activated', ''],
      ],
    );
    assert.equal((await actionsOf(cardNo)).filter((action) => /frozen/.test(action)).length, 10);
  });

  test('cannot touch cards under the BIN of another issuer of the same merchant', async () => {
    const operator = { db: platform.db, now: Date.now };
    const { secret } = await createIssuer(operator, {
      name: 'Second',
      merchants: [MERCHANT_NO],
      ipAllowlist: ['127.0.0.1'],
    });
    const second = issuerOf(platform, secret.expose());
    for (const status of ['Frozen', 'Delete'])
      assert.equal((await second.call('POST', '/card/status', { card_no: FIRST_CARD.cardNo, status })).code, 4001);
    const pending = await applied(virtual('of-the-first-issuer'));
    assert.equal((await second.call('POST', '/card/issued', { card_no: pending })).code, 4001);
    assert.equal((await second.call('POST', '/card/failed', { card_no: pending, reason: 'no' })).code, 4001);
    assert.deepEqual(((await second.call('GET', '/card/pending')).data as { list: object[] }).list, []);
    assert.deepEqual(
      [(await detail(FIRST_CARD.cardNo)).status, (await detail(pending)).status],
      ['Activated', 'Pending'],
    );
  });

  test('deletes a card', async () => {
    assert.equal((await issuerCall('/card/status', { card_no: FROZEN_CARD.cardNo, status: 'Delete' })).code, 0);
    assert.equal((await detail(FROZEN_CARD.cardNo)).status, 'Delete');
    assert.equal((await issuerCall('/card/status', { card_no: FROZEN_CARD.cardNo, status: 'Frozen' })).code, 4005);
    assert.equal((await issuerCall('/card/status', { card_no: 'C000', status: 'Frozen' })).code, 4001);
  });
});

describe("the sandbox's issuer", () => {
  test('issues after its delay, and does what the unique number asks for', async () => {
    const [issued, failed, pending] = [
      await applied(virtual('ordinary-1')),
      await applied(physical('fail-1')),
      await applied(physical('pending-1')),
    ];
    const all = async () => [
      (await detail(issued)).status,
      (await detail(failed)).status,
      (await detail(pending)).status,
    ];
    platform.clock.now += 999;
    await simulateTurn(platform.services);
    assert.deepEqual(await all(), ['Pending', 'Pending', 'Pending']);
    platform.clock.now += 1;
    await simulateTurn(platform.services);
    await simulateTurn(platform.services);
    assert.deepEqual(await all(), ['Activated', 'Fail', 'Pending']);
    const list = await merchant.call('POST', '/card/list', { ...RANGE, card_no: failed });
    assert.equal((list.data as { list: { card_last_no: string }[] }).list[0]?.card_last_no, '');
    assert.equal(
      (await merchant.call('POST', '/card/status/update', { card_no: pending, status: 'Delete' })).code,
      4005,
    );
  });
});
