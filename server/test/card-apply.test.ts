import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setProductOffered } from '../src/products/set-offered.ts';
import { simulateTurn } from '../src/sandbox/simulated-issuer.ts';
import { ADDRESS, type CardCalls, physical, startCardCalls, virtual } from './support/card-calls.ts';
import {
  BIN_NO,
  CARDHOLDER_NO,
  OTHER_API_KEY,
  OTHER_MERCHANTS_CARDHOLDER_NO,
  SECOND_CARDHOLDER_NO,
  VIRTUAL_PACKAGE_NO,
} from './support/sandbox.ts';
import { merchantOf } from './support/test-platform.ts';

let platform: CardCalls['platform'];
let merchant: CardCalls['merchant'];
let issuer: CardCalls['issuer'];
let apply: CardCalls['apply'];
let applied: CardCalls['applied'];
let detail: CardCalls['detail'];
let actionsOf: CardCalls['actionsOf'];
before(async () => {
  ({ platform, merchant, issuer, apply, applied, detail, actionsOf } = await startCardCalls());
});
after(() => platform.close());

describe('an application for a card', () => {
  test('makes a pending card without a number', async () => {
    const answer = await apply(virtual('first-1'));
    const { card_no } = answer.data as { card_no: string };
    assert.match(card_no, /^C20260601\d{10}$/);
    assert.deepEqual(answer.data, { card_no, card_unique_no: 'first-1' });
    assert.deepEqual(await detail(card_no), {
      card_no,
      card_unique_no: 'first-1',
      cardholder_no: CARDHOLDER_NO,
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

  test('sent again gets the same answer; with other content it is refused', async () => {
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
      physical('again-1', { cardholder_no: SECOND_CARDHOLDER_NO }),
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

  test('sent again gets the same answer even when the product is no longer offered', async () => {
    const first = await apply(virtual('gone-1'));
    const operator = { db: platform.db, now: Date.now };
    await setProductOffered(operator, { product: 'bin', number: BIN_NO, offered: false });
    assert.equal((await apply(virtual('gone-1'))).text, first.text);
    assert.equal((await apply(virtual('gone-2'))).code, 4004);
    await setProductOffered(operator, { product: 'bin', number: BIN_NO, offered: true });
    assert.equal((await apply(virtual('gone-2'))).code, 0);
  });

  test('sent twenty times at once makes one card', async () => {
    const numbers = await Promise.all(Array.from({ length: 20 }, () => applied(virtual('at-once-1'))));
    assert.equal(new Set(numbers).size, 1);
  });

  test('of another merchant with the same unique number is another card', async () => {
    const mine = await applied(virtual('shared-1'));
    const other = merchantOf(platform, OTHER_API_KEY);
    const theirs = await other.call(
      'POST',
      '/card/apply',
      virtual('shared-1', { cardholder_no: OTHER_MERCHANTS_CARDHOLDER_NO }),
    );
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
    ['both', 1012, undefined, virtual('r', { package_no: VIRTUAL_PACKAGE_NO })],
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

  test('accepts a unique number of 64 characters in any script', async () => {
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

  test('is optional for a virtual card; for a physical card all fields but the second line are required', async () => {
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

  test('can be read by the issuer, and not in the database', async () => {
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
