import assert from 'node:assert/strict';
import { createDecipheriv } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { importedCardOf } from '../src/api/imported-card.ts';
import { importCard } from '../src/cards/import-card.ts';
import type { Database } from '../src/db/database.ts';
import type { Queryable } from '../src/db/queryable.ts';
import { createIssuer } from '../src/issuers/create-issuer.ts';
import { updateMerchant } from '../src/merchants/update-merchant.ts';
import { createBin } from '../src/products/create-bin.ts';
import { setProductOffered } from '../src/products/set-offered.ts';
import { simulateTurn } from '../src/sandbox/simulated-issuer.ts';
import { sandboxPan } from '../src/sandbox/world.ts';
import { type IssuerHost, issuerOf } from './support/issuer.ts';
import { CARD_TO_ACTIVATE, FIRST_CARD, FROZEN_CARD, SANDBOX_SECRET, seal, VIRTUAL_CARD } from './support/sandbox.ts';
import { intactChain } from './support/stored-pin.ts';
import { type Answer, type Merchant, merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

const ADDRESS = {
  first_name: 'Mary-Jane',
  last_name: "O'Neil",
  phone_code: '86',
  phone: '13800138000',
  postal_code: '518000',
  country: 'CN',
  state: 'Guangdong',
  city: 'Shenzhen',
  address_line1: 'No. 1 Shennan Road, Futian #2/3',
};
const RANGE = { start_time: '2026-06-01', end_time: '2026-06-03' };

let platform: TestPlatform;
let merchant: Merchant;
let creditMerchant: Merchant;
let issuer: IssuerHost;
before(async () => {
  platform = await startPlatform();
  merchant = merchantOf(platform);
  creditMerchant = merchantOf(platform, 'credit_api_key');
  issuer = issuerOf(platform);
});
after(() => platform.close());

const virtual = (uniqueNo: string, more = {}) => ({
  card_bin_no: 'B202605220001',
  cardholder_no: 'U202605220001',
  card_unique_no: uniqueNo,
  card_type: 'Virtual',
  ...more,
});
const physical = (uniqueNo: string, more = {}) =>
  virtual(uniqueNo, { card_type: 'Physical', address_info: ADDRESS, ...more });
const apply = (body: object): Promise<Answer> => merchant.call('POST', '/card/apply', body);
async function applied(body: object): Promise<string> {
  const answer = await apply(body);
  assert.equal(answer.code, 0, answer.text);
  return (answer.data as { card_no: string }).card_no;
}
const detail = async (cardNo: string, as = merchant) =>
  (await as.call('GET', `/card/${cardNo}/detail`)).data as Record<string, unknown>;
const actionsOf = async (cardNo: string) => (await intactChain(platform.db, cardNo)).map(({ action }) => action);
const issuerCall = (path: string, body: object) => issuer.call('POST', path, body);

describe('an application for a card', () => {
  test('makes a pending card without a number', async () => {
    const answer = await apply(virtual('first-1'));
    const { card_no } = answer.data as { card_no: string };
    assert.match(card_no, /^C20260601\d{10}$/);
    assert.deepEqual(answer.data, { card_no, card_unique_no: 'first-1' });
    assert.deepEqual(await detail(card_no), {
      card_no,
      card_unique_no: 'first-1',
      cardholder_no: 'U202605220001',
      card_name: '',
      package_name_en: '',
      package_name_cn: '',
      card_type: 'Virtual',
      organization: 'Sandbox',
      card_last_no: '',
      fee_detail: {},
      status: 'Pending',
      time: platform.clock.now,
    });
    assert.deepEqual(await actionsOf(card_no), ['card_applied']);
  });

  test('repeated is answered as the first was; with other content it is refused', async () => {
    const first = await apply(physical('again-1'));
    assert.equal((await apply(physical('again-1'))).text, first.text);
    assert.equal((await apply(physical('again-1', { package_no: '' }))).text, first.text, 'an empty field is none');
    const reordered = Object.fromEntries(Object.entries(ADDRESS).reverse());
    assert.equal(
      (await apply(physical('again-1', { address_info: { ...reordered, address_line2: '' } }))).text,
      first.text,
    );
    for (const other of [
      virtual('again-1'),
      physical('again-1', { cardholder_no: 'U202605220002' }),
      physical('again-1', { address_info: { ...ADDRESS, city: 'Dongguan' } }),
      physical('again-1', { card_bin_no: 'B000' }),
    ])
      assert.equal((await apply(other)).code, 4002);
    const [[count] = [0]] = await platform.db.tuples<[number]>(
      'count',
      "select count(*) from cards where card_unique_no = 'again-1'",
    );
    assert.equal(count, 1);
  });

  test('repeated is answered so even when the product is no longer offered', async () => {
    const first = await apply(virtual('gone-1'));
    const operator = { db: platform.db, now: Date.now };
    await setProductOffered(operator, { product: 'bin', number: 'B202605220001', offered: false });
    assert.equal((await apply(virtual('gone-1'))).text, first.text);
    assert.equal((await apply(virtual('gone-2'))).code, 4004);
    await setProductOffered(operator, { product: 'bin', number: 'B202605220001', offered: true });
    assert.equal((await apply(virtual('gone-2'))).code, 0);
  });

  test('twenty times at once makes one card', async () => {
    const numbers = await Promise.all(Array.from({ length: 20 }, () => applied(virtual('at-once-1'))));
    assert.equal(new Set(numbers).size, 1);
  });

  test('of another merchant with the same unique number is another card', async () => {
    const mine = await applied(virtual('shared-1'));
    const other = merchantOf(platform, 'other_api_key');
    const theirs = await other.call('POST', '/card/apply', virtual('shared-1', { cardholder_no: 'U202605220003' }));
    assert.equal(theirs.code, 0);
    assert.notEqual((theirs.data as { card_no: string }).card_no, mine);
    assert.equal(
      (await other.call('POST', '/card/apply', virtual('shared-2'))).code,
      2002,
      "another merchant's cardholder",
    );
  });

  test('needs an approved cardholder', async () => {
    const cardholder = async (token: string) => {
      const body = { cardholder_unique_no: `of-${token}`, sumsub_share_token: token };
      return ((await merchant.call('POST', '/cardholder/apply', body)).data as { cardholder_no: string }).cardholder_no;
    };
    const [pending, rejected, approved] = [
      await cardholder('pending-1'),
      await cardholder('reject-1'),
      await cardholder('approve-1'),
    ];
    const code = async (cardholder_no: string) => (await apply(virtual(`of-${cardholder_no}`, { cardholder_no }))).code;
    assert.equal(await code(approved), 2004, 'not yet');
    platform.clock.now += 1_000;
    await simulateTurn(platform.services);
    assert.deepEqual(
      [await code(pending), await code(rejected), await code(approved), await code('U000')],
      [2004, 2005, 0, 2002],
    );
  });

  const refusals: [what: string, code: number, msg: string | undefined, body: object][] = [
    ['neither BIN nor package', 1004, 'card_bin_no invalid parameter', virtual('r', { card_bin_no: '' })],
    ['a blank BIN', 1004, 'card_bin_no invalid parameter', virtual('r', { card_bin_no: " -'\u200b" })],
    [
      "the other mode's package",
      1012,
      'Merchant integration mode not supported',
      virtual('r', { card_bin_no: '', package_no: 'P1' }),
    ],
    ['both', 1012, undefined, virtual('r', { package_no: 'P202605220001' })],
    ['a BIN that is none', 4004, 'Card product does not exist', virtual('r', { card_bin_no: 'B000' })],
    ['no unique number', 1004, 'card_unique_no invalid parameter', virtual('')],
    ['a unique number of 65 characters', 1004, 'card_unique_no invalid parameter', virtual('x'.repeat(65))],
    ['another card type', 1004, 'card_type invalid parameter', virtual('r', { card_type: 'virtual' })],
    [
      'a physical card without an address',
      1004,
      'address_info invalid parameter',
      physical('r', { address_info: undefined }),
    ],
  ];
  for (const [what, code, msg, body] of refusals) {
    test(`is refused with ${code} for ${what}`, async () => {
      const answer = await apply(body);
      assert.equal(answer.code, code, answer.text);
      if (msg !== undefined) assert.equal(answer.msg, msg);
    });
  }

  test('takes 64 characters of unique number, in any letters', async () => {
    assert.equal((await apply(virtual('客'.repeat(64)))).code, 0);
  });
});

describe('the address of an application', () => {
  const judged = async (change: object, cardType = 'Physical') => {
    const { code, msg } = await apply(
      virtual(`address-${Math.random()}`, { card_type: cardType, address_info: { ...ADDRESS, ...change } }),
    );
    return code === 0 ? 0 : `${code} ${msg}`;
  };

  test('may be left out of a virtual card; of a physical one all fields but the second line must be there', async () => {
    assert.equal((await apply(virtual('no-address-1'))).code, 0);
    for (const field of Object.keys(ADDRESS)) {
      assert.equal(await judged({ [field]: undefined }), `1004 address_info.${field} invalid parameter`);
      assert.equal(await judged({ [field]: '' }), `1004 address_info.${field} invalid parameter`);
    }
    const nameAndPhone = { first_name: undefined, last_name: undefined, phone_code: undefined, phone: undefined };
    assert.equal(await judged(nameAndPhone, 'Virtual'), 0);
    assert.equal(await judged({ city: undefined }, 'Virtual'), '1004 address_info.city invalid parameter');
    assert.equal(await judged({ address_line2: 'Floor 3' }), 0);
  });

  test('is in English', async () => {
    for (const field of ['first_name', 'state', 'city', 'address_line1', 'address_line2'])
      assert.equal(await judged({ [field]: '深圳' }), `2008 address_info.${field} only supports English input`);
    assert.equal(await judged({ city: 'Zürich' }), '2008 address_info.city only supports English input');
    assert.match(
      String(await judged({ address_line1: 'Road <1>' })),
      /^2007 address_info\.address_line1 Please use English letters/,
    );
    assert.equal(await judged({ last_name: 'R2D2' }), '1004 address_info.last_name invalid parameter');
  });

  test('has a country, a postal code of its form, and a phone number that can be', async () => {
    assert.equal(await judged({ country: 'cn' }), '1004 address_info.country invalid parameter');
    assert.equal(await judged({ country: 'XX' }), '2009 address_info.country Country is not supported');
    assert.match(
      String(await judged({ postal_code: '5180' })),
      /^2010 address_info\.postal_code The postal code does not match/,
    );
    assert.equal(await judged({ country: 'US', postal_code: '94105-1234', phone_code: '1', phone: '4155550123' }), 0);
    assert.equal(await judged({ country: 'HK', postal_code: '0000' }), 0, 'a country without postal codes');
    assert.equal(await judged({ phone_code: '+86' }), '1004 address_info.phone_code invalid parameter');
    assert.equal(await judged({ phone_code: '999' }), '4010 address_info.phone_code Dialling code is not supported');
    assert.equal(await judged({ phone: '12' }), '1004 address_info.phone invalid parameter');
    const chinese = await merchant.call(
      'POST',
      '/card/apply',
      physical('zh-1', { address_info: { ...ADDRESS, city: '深圳' } }),
      {
        language: 'zh_CN',
      },
    );
    assert.equal(chinese.msg, 'address_info.city 仅支持英文输入');
  });

  test('is read by the issuer, and by nobody who reads the database', async () => {
    const cardNo = await applied(
      physical('secret-1', { address_info: { ...ADDRESS, address_line1: 'Unmistakable Lane 77' } }),
    );
    let found: { address_info?: object } | undefined;
    for (let after = ''; found === undefined; ) {
      const page = await issuer.call('GET', `/card/pending${after && `?after=${after}`}`);
      const { list } = page.data as { list: { card_no: string; address_info?: object }[] };
      if (list.length === 0) break;
      found = list.find(({ card_no }) => card_no === cardNo);
      after = list.at(-1)!.card_no;
    }
    assert.deepEqual(found?.address_info, { ...ADDRESS, address_line1: 'Unmistakable Lane 77' });
    const [[text] = ['']] = await platform.db.tuples<[string]>(
      'raw',
      'select card_applications::text from card_applications where card_no = $1',
      [cardNo],
    );
    assert.ok(
      text.includes(cardNo) && !Buffer.from(text.match(/\\x([0-9a-f]+)/)?.[1] ?? '', 'hex').includes('Unmistakable'),
    );
  });
});

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

    const body = { card_no: cardNo, cardholder_no: 'U202605220001', cvv: seal(cvv2), card_last_no: '7893' };
    assert.equal((await merchant.call('POST', '/card/active', body)).code, 0);
    const set = { card_no: cardNo, cardholder_no: 'U202605220001', pin: seal('142536') };
    assert.equal((await merchant.call('POST', '/card/pin/set', set)).code, 0);
    assert.deepEqual(await actionsOf(cardNo), ['card_applied', 'card_issued', 'card_activated', 'pin_set']);
  });

  test('gets 4005 for a card that exists but was not applied for, and 4001 for none', async () => {
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

  test('of one PAN for twenty cards at once gives it to one', async () => {
    const numbers = await Promise.all(Array.from({ length: 20 }, (_, i) => applied(virtual(`race-${i}`))));
    const answers = await Promise.all(
      numbers.map((card_no) => issuerCall('/card/issued', { card_no, pan: sandboxPan(7_001) })),
    );
    assert.deepEqual(
      [0, 5005].map((code) => answers.filter((answer) => answer.code === code).length),
      [1, 19],
    );
  });

  test('of a BIN that is nearly used up gives all that is free, at once, and 5006 to the others', async () => {
    const operator = { db: platform.db, now: Date.now };
    const bin = {
      issuerNo: 'I202605220001',
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

  test('refuses a card with a reason, and not twice nor after it was issued', async () => {
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

  test('freezes a card that the merchant then cannot unfreeze, and tells why', async () => {
    await updateMerchant({ db: platform.db, now: Date.now }, 'M202605220001', { callbackUrl: 'http://127.0.0.1:9/' });
    const cardNo = 'C202605220001';
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
      merchants: ['M202605220001'],
      ipAllowlist: ['127.0.0.1'],
    });
    const second = issuerOf(platform, secret.expose());
    for (const status of ['Frozen', 'Delete'])
      assert.equal((await second.call('POST', '/card/status', { card_no: 'C202605220001', status })).code, 4001);
    const pending = await applied(virtual('of-the-first-issuer'));
    assert.equal((await second.call('POST', '/card/issued', { card_no: pending })).code, 4001);
    assert.equal((await second.call('POST', '/card/failed', { card_no: pending, reason: 'no' })).code, 4001);
    assert.deepEqual(((await second.call('GET', '/card/pending')).data as { list: object[] }).list, []);
    assert.deepEqual(
      [(await detail('C202605220001')).status, (await detail(pending)).status],
      ['Activated', 'Pending'],
    );
  });

  test('deletes a card', async () => {
    assert.equal((await issuerCall('/card/status', { card_no: 'C202605220004', status: 'Delete' })).code, 0);
    assert.equal((await detail('C202605220004')).status, 'Delete');
    assert.equal((await issuerCall('/card/status', { card_no: 'C202605220004', status: 'Frozen' })).code, 4005);
    assert.equal((await issuerCall('/card/status', { card_no: 'C000', status: 'Frozen' })).code, 4001);
  });
});

describe('bringing in a card that is out already', () => {
  const card = (more = {}) => ({
    merchant_no: 'M202605220001',
    card_no: 'C-old-1',
    card_unique_no: 'old-1',
    cardholder_unique_no: 'old-holder-1',
    card_type: 'Physical',
    status: 'Activated',
    pan: sandboxPan(7_002),
    expiry: '2901',
    ...more,
  });
  const bring = (more = {}) => issuerCall('/card/import', card(more));

  test('stores it with its cardholder, once', async () => {
    const first = await bring();
    assert.equal(first.code, 0, first.text);
    const { cardholder_no, added } = first.data as { cardholder_no: string; added: boolean };
    assert.equal(added, true);
    assert.deepEqual((await bring()).data, { card_no: 'C-old-1', cardholder_no, added: false });
    const { status, card_last_no, organization } = await detail('C-old-1');
    assert.deepEqual([status, card_last_no, organization], ['Activated', sandboxPan(7_002).slice(-4), 'Sandbox']);
    const set = { card_no: 'C-old-1', cardholder_no, pin: seal('142536') };
    assert.equal((await merchant.call('POST', '/card/pin/set', set)).code, 0);
    assert.deepEqual(await actionsOf('C-old-1'), ['card_created', 'pin_set']);
    assert.deepEqual(await actionsOf(`cardholder:${cardholder_no}`), ['cardholder_created']);
  });

  test('sends its PAN in clear in no statement, so that no log of the database can have it', async () => {
    const values: string[] = [];
    const pan = sandboxPan(7_009);
    const listen = <T extends Queryable>(db: T): T => ({
      ...db,
      query: (name: string, text: string, given: unknown[] = []) => {
        values.push(JSON.stringify(given.map((one) => (Buffer.isBuffer(one) ? one.toString('latin1') : one))));
        return db.query(name, text, given) as never;
      },
    });
    const db: Database = {
      ...listen(platform.db),
      transaction: (work) => platform.db.transaction((tx) => work(listen(tx))),
    };
    const one = {
      ...importedCardOf(card({ card_no: 'C-old-quiet', card_unique_no: 'old-quiet', pan }) as never),
      cardholderUniqueNo: 'old-quiet',
    };
    assert.equal(
      (await importCard({ ...platform.services, db }, { issuerId: 1, merchantId: 1 }, one, 'operator')).added,
      true,
    );
    assert.ok(values.length > 5);
    assert.ok(!values.some((text) => text.includes(pan)));
  });

  test('eight times at once, with a number or without, adds one, and all are answered alike', async () => {
    const existing = { cardholder_unique_no: undefined, cardholder_no: 'U202605220001' };
    for (const [i, number] of [undefined, 'C-old-at-once'].entries()) {
      const one = { ...existing, card_no: number, card_unique_no: `old-at-once-${i}`, pan: sandboxPan(7_010 + i) };
      const answers = await Promise.all(Array.from({ length: 8 }, () => bring(one)));
      assert.deepEqual(new Set(answers.map(({ code }) => code)), new Set([0]), answers.map(({ text }) => text).join());
      const brought = answers.map(({ data }) => data as { card_no: string; added: boolean });
      assert.equal(new Set(brought.map(({ card_no }) => card_no)).size, 1);
      assert.equal(brought.filter(({ added }) => added).length, 1);
    }
  });

  test('of one unique number with eight PANs at once adds one and refuses the others with 4002', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        bring({
          card_no: undefined,
          card_unique_no: 'old-one-number',
          cardholder_unique_no: undefined,
          cardholder_no: 'U202605220001',
          pan: sandboxPan(7_020 + i),
        }),
      ),
    );
    assert.deepEqual(answers.map(({ code }) => code).sort(), [0, ...Array.from({ length: 7 }, () => 4002)]);
  });

  test('refuses what no column can hold by its field', async () => {
    assert.equal((await bring({ email: 'a\u0000@example.com' })).msg, 'email invalid parameter');
    assert.equal((await bring({ card_name: 'a\u0000b' })).msg, 'card_name invalid parameter');
  });

  test('keeps a frozen one under its freeze: the issuer’s, or the merchant’s if it says so', async () => {
    const frozen = { status: 'Frozen', cardholder_unique_no: undefined, cardholder_no: 'U202605220001' };
    const unfreeze = async (card_no: string) =>
      (await merchant.call('POST', '/card/status/update', { card_no, status: 'Activated' })).code;
    assert.equal(
      (await bring({ ...frozen, card_no: 'C-ice-1', card_unique_no: 'ice-1', pan: sandboxPan(7_101) })).code,
      0,
    );
    assert.equal(await unfreeze('C-ice-1'), 4005);
    assert.equal((await issuerCall('/card/status', { card_no: 'C-ice-1', status: 'Activated' })).code, 0);
    const theirs = {
      ...frozen,
      frozen_by: 'merchant',
      card_no: 'C-ice-2',
      card_unique_no: 'ice-2',
      pan: sandboxPan(7_102),
    };
    assert.equal((await bring(theirs)).code, 0);
    assert.equal(await unfreeze('C-ice-2'), 0);
  });

  test('is refused for a cardholder that is not approved', async () => {
    const holder = async (token: string) => {
      const body = { cardholder_unique_no: `import-${token}`, sumsub_share_token: token };
      return ((await merchant.call('POST', '/cardholder/apply', body)).data as { cardholder_no: string }).cardholder_no;
    };
    const [waiting, rejected] = [await holder('pending-i'), await holder('reject-i')];
    platform.clock.now += 1_000;
    await simulateTurn(platform.services);
    const code = async (more: object) =>
      (await bring({ card_no: 'C-no-1', card_unique_no: 'no-1', pan: sandboxPan(7_103), ...more })).code;
    assert.equal(await code({ cardholder_unique_no: undefined, cardholder_no: waiting }), 2004);
    assert.equal(await code({ cardholder_unique_no: 'import-reject-i' }), 2005);
    assert.equal(await code({ cardholder_unique_no: undefined, cardholder_no: rejected }), 2005);
  });

  test('is refused where it does not fit what is there', async () => {
    const code = async (more: object) =>
      (await bring({ card_no: 'C-old-2', card_unique_no: 'old-2', pan: sandboxPan(7_003), ...more })).code;
    assert.equal(await code({ pan: sandboxPan(7_002) }), 5005);
    assert.equal(await code({ card_no: 'C202605220001' }), 4002);
    assert.equal(await code({ card_unique_no: 'old-1' }), 4002);
    assert.equal(await code({ pan: '4111111111111111' }), 1004);
    assert.equal(await code({ expiry: '2900' }), 1004);
    assert.equal(await code({ status: 'Delete' }), 1004);
    assert.equal(await code({ merchant_no: 'M000' }), 1004);
    assert.equal(await code({ cardholder_unique_no: undefined }), 1004);
    assert.equal(await code({ cardholder_unique_no: undefined, cardholder_no: 'U000' }), 2002);
    assert.equal(await code({ cardholder_no: 'U202605220001' }), 2011);
    assert.equal(await code({ cardholder_unique_no: undefined, cardholder_no: 'U202605220001' }), 0);
  });
});

describe('private info', () => {
  const read = (cardNo: string, as = merchant) => as.call('GET', `/card/${cardNo}/private/info`);

  test('is the card’s PAN, CVV and expiry, enciphered, and leaves a record', async () => {
    const cardNo = await applied(virtual('private-1'));
    assert.equal((await read(cardNo)).code, 4005, 'there is none yet');
    const { data: issued } = await issuerCall('/card/issued', { card_no: cardNo, expiry: '3012' });
    const { pan, cvv2 } = issued as { pan: string; cvv2: string };
    const answer = await read(cardNo);
    assert.equal(answer.code, 0);
    const decipher = createDecipheriv('aes-256-ecb', SANDBOX_SECRET, null);
    const clear = Buffer.concat([decipher.update(answer.data as string, 'base64'), decipher.final()]).toString('utf8');
    assert.deepEqual(JSON.parse(clear), {
      card_no: cardNo,
      card_unique_no: 'private-1',
      cvv: cvv2,
      pan,
      exp_year: '2030',
      exp_month: '12',
    });
    assert.deepEqual(await actionsOf(cardNo), ['card_applied', 'card_issued', 'card_private_read']);
  });

  test('is told neither before activation, nor to who may not read it, nor of cards of others', async () => {
    assert.equal((await read('C202605220003')).code, 4005);
    assert.equal((await read('C202605220006', merchantOf(platform, 'other_api_key'))).code, 1013);
    assert.equal((await read('C202605220006')).text, (await read('C000')).text);
    assert.equal((await read('C000')).code, 4001);
  });
});

describe('a client access token', () => {
  const token = (cardNo: string, as = merchant) => as.call('GET', `/merchant/client/${cardNo}/token`);

  test('is another each time, lives five minutes, and is stored as a hash alone', async () => {
    const [one, two] = [await token('C202605220002'), await token('C202605220002')];
    const { client_access_token, expires_in } = one.data as { client_access_token: string; expires_in: number };
    assert.match(client_access_token, /^ct_[\w-]{43}$/);
    assert.equal(expires_in, 300);
    assert.notEqual(one.text, two.text);
    const rows = await platform.db.tuples<[string]>('tokens', 'select client_tokens::text from client_tokens');
    assert.equal(rows.length, 2);
    assert.ok(!rows.flat().join().includes(client_access_token));
  });

  test('is refused as private info is', async () => {
    assert.equal((await token('C202605220003')).code, 4005);
    assert.equal((await token('C202605220006', merchantOf(platform, 'other_api_key'))).code, 1013);
    assert.equal((await token('C000')).code, 4001);
  });
});

describe('products', () => {
  test('are BINs for the one integration mode', async () => {
    const answer = await merchant.call('POST', '/card/support/bins', {});
    const { list } = answer.data as { list: object[] };
    assert.deepEqual(list, [
      {
        card_bin_no: 'B202605220001',
        card_bin: '999999',
        organization: 'Sandbox',
        support_physical: true,
        support_virtual: true,
        currencies: ['USD'],
        balance_limit: {
          limit_balance: '10000.00',
          limit_week_balance: '5000.00',
          limit_atm_day_balance: '500.00',
          limit_atm_month_balance: '2000.00',
        },
      },
    ]);
    const count = async (body: object) =>
      ((await merchant.call('POST', '/card/support/bins', body)).data as { list: object[] }).list.length;
    assert.deepEqual(
      [await count({ card_bin_no: 'B000' }), await count({ card_bin_no: '' }), await count({ page: 1 })],
      [0, 1, 0],
    );
    assert.equal((await creditMerchant.call('POST', '/card/support/bins', {})).code, 1012);
  });

  test('are packages for the other, which a card then tells of', async () => {
    assert.equal((await merchant.call('POST', '/card/package/list', {})).code, 1012);
    const list = async (body: object) =>
      (
        (await creditMerchant.call('POST', '/card/package/list', body)).data as {
          list: { package_no: string; fee_detail: object }[];
        }
      ).list;
    const numbers = async (body: object) => (await list(body)).map(({ package_no }) => package_no);
    assert.deepEqual(await numbers({}), ['P202605220001', 'P202605220002']);
    assert.deepEqual(await numbers({ type: 'Physical' }), ['P202605220002']);
    assert.deepEqual(await numbers({ type: '', package_no: 'P202605220001' }), ['P202605220001']);
    const [one] = await list({ package_no: 'P202605220001' });
    assert.equal(Object.keys(one!.fee_detail).length, 22);

    const body = {
      package_no: 'P202605220001',
      cardholder_no: 'U202605220004',
      card_unique_no: 'by-package',
      card_type: 'Virtual',
    };
    const answer = await creditMerchant.call('POST', '/card/apply', body);
    assert.equal(answer.code, 0, answer.text);
    assert.equal((await creditMerchant.call('POST', '/card/apply', body)).text, answer.text);
    const { card_no } = answer.data as { card_no: string };
    const { package_name_en, package_name_cn, fee_detail, card_name } = await detail(card_no, creditMerchant);
    assert.deepEqual(
      [package_name_en, package_name_cn, card_name],
      ['Sandbox virtual card', '沙盒虚拟卡', 'Sandbox virtual card'],
    );
    assert.deepEqual(fee_detail, one!.fee_detail);
    const code = async (more: object) =>
      (await creditMerchant.call('POST', '/card/apply', { ...body, card_unique_no: 'r', ...more })).code;
    assert.equal(await code({ card_type: 'Physical', address_info: ADDRESS }), 4006);
    assert.equal(await code({ package_no: 'P000' }), 4004);
    assert.equal(await code({ package_no: '', card_bin_no: 'B202605220001' }), 1012);
    assert.equal(await code({ package_no: '' }), 1004);
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
