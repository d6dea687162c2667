import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ADDRESS, type CardCalls, startCardCalls } from './support/card-calls.ts';
import { BIN_NO, CREDIT_MERCHANTS_CARDHOLDER_NO, PHYSICAL_PACKAGE_NO, VIRTUAL_PACKAGE_NO } from './support/sandbox.ts';

let platform: CardCalls['platform'];
let merchant: CardCalls['merchant'];
let creditMerchant: CardCalls['creditMerchant'];
let detail: CardCalls['detail'];
before(async () => {
  ({ platform, merchant, creditMerchant, detail } = await startCardCalls());
});
after(() => platform.close());

describe('products', () => {
  test('are BINs for the one integration mode', async () => {
    const answer = await merchant.call('POST', '/card/support/bins', {});
    const { list } = answer.data as { list: object[] };
    assert.deepEqual(list, [
      {
        card_bin_no: BIN_NO,
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

  test('are packages for the other, and a card shows its package', async () => {
    assert.equal((await merchant.call('POST', '/card/package/list', {})).code, 1012);
    const list = async (body: object) =>
      (
        (await creditMerchant.call('POST', '/card/package/list', body)).data as {
          list: { package_no: string; fee_detail: object }[];
        }
      ).list;
    const numbers = async (body: object) => (await list(body)).map(({ package_no }) => package_no);
    assert.deepEqual(await numbers({}), [VIRTUAL_PACKAGE_NO, PHYSICAL_PACKAGE_NO]);
    assert.deepEqual(await numbers({ type: 'Physical' }), [PHYSICAL_PACKAGE_NO]);
    assert.deepEqual(await numbers({ type: '', package_no: VIRTUAL_PACKAGE_NO }), [VIRTUAL_PACKAGE_NO]);
    const [one] = await list({ package_no: VIRTUAL_PACKAGE_NO });
    assert.equal(Object.keys(one!.fee_detail).length, 22);

    const body = {
      package_no: VIRTUAL_PACKAGE_NO,
      cardholder_no: CREDIT_MERCHANTS_CARDHOLDER_NO,
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
    assert.equal(await code({ package_no: '', card_bin_no: BIN_NO }), 1012);
    assert.equal(await code({ package_no: '' }), 1004);
  });
});
