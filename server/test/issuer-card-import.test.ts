import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { importedCardOf } from '../src/api/imported-card.ts';
import { importCard } from '../src/cards/import-card.ts';
import type { Database } from '../src/db/database.ts';
import type { Queryable } from '../src/db/queryable.ts';
import { simulateTurn } from '../src/sandbox/simulated-issuer.ts';
import { sandboxPan } from '../src/sandbox/world.ts';
import { type CardCalls, startCardCalls } from './support/card-calls.ts';
import { CARDHOLDER_NO, FIRST_CARD, MERCHANT_NO, seal } from './support/sandbox.ts';

let platform: CardCalls['platform'];
let merchant: CardCalls['merchant'];
let detail: CardCalls['detail'];
let actionsOf: CardCalls['actionsOf'];
let issuerCall: CardCalls['issuerCall'];
before(async () => {
  ({ platform, merchant, detail, actionsOf, issuerCall } = await startCardCalls());
});
after(() => platform.close());

describe('importing a card that exists elsewhere', () => {
  const card = (more = {}) => ({
    merchant_no: MERCHANT_NO,
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

  test('never sends its PAN in clear in a statement, so no log of the database can contain it', async () => {
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

  test('eight times at once, with a number or without, adds one card, and all get the same answer', async () => {
    const existing = { cardholder_unique_no: undefined, cardholder_no: CARDHOLDER_NO };
    for (const [i, number] of [undefined, 'C-old-at-once'].entries()) {
      const one = { ...existing, card_no: number, card_unique_no: `old-at-once-${i}`, pan: sandboxPan(7_010 + i) };
      const answers = await Promise.all(Array.from({ length: 8 }, () => bring(one)));
      assert.deepEqual(new Set(answers.map(({ code }) => code)), new Set([0]), answers.map(({ text }) => text).join());
      const brought = answers.map(({ data }) => data as { card_no: string; added: boolean });
      assert.equal(new Set(brought.map(({ card_no }) => card_no)).size, 1);
      assert.equal(brought.filter(({ added }) => added).length, 1);
    }
  });

  test('with one unique number and eight PANs at once adds one card and refuses the others with 4002', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        bring({
          card_no: undefined,
          card_unique_no: 'old-one-number',
          cardholder_unique_no: undefined,
          cardholder_no: CARDHOLDER_NO,
          pan: sandboxPan(7_020 + i),
        }),
      ),
    );
    assert.deepEqual(answers.map(({ code }) => code).sort(), [0, ...Array.from({ length: 7 }, () => 4002)]);
  });

  test('refuses a value that no column can hold, and names its field', async () => {
    assert.equal((await bring({ email: 'a\u0000@example.com' })).msg, 'email invalid parameter');
    assert.equal((await bring({ card_name: 'a\u0000b' })).msg, 'card_name invalid parameter');
  });

  test('keeps a frozen card frozen by the issuer, or by the merchant if the call says so', async () => {
    const frozen = { status: 'Frozen', cardholder_unique_no: undefined, cardholder_no: CARDHOLDER_NO };
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

  test('is refused if it contradicts a stored card or cardholder', async () => {
    const code = async (more: object) =>
      (await bring({ card_no: 'C-old-2', card_unique_no: 'old-2', pan: sandboxPan(7_003), ...more })).code;
    assert.equal(await code({ pan: sandboxPan(7_002) }), 5005);
    assert.equal(await code({ card_no: FIRST_CARD.cardNo }), 4002);
    assert.equal(await code({ card_unique_no: 'old-1' }), 4002);
    assert.equal(await code({ pan: '4111111111111111' }), 1004);
    assert.equal(await code({ expiry: '2900' }), 1004);
    assert.equal(await code({ status: 'Delete' }), 1004);
    assert.equal(await code({ merchant_no: 'M000' }), 1004);
    assert.equal(await code({ cardholder_unique_no: undefined }), 1004);
    assert.equal(await code({ cardholder_unique_no: undefined, cardholder_no: 'U000' }), 2002);
    assert.equal(await code({ cardholder_no: CARDHOLDER_NO }), 2011);
    assert.equal(await code({ cardholder_unique_no: undefined, cardholder_no: CARDHOLDER_NO }), 0);
  });
});
