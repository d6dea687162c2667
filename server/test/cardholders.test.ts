import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { simulateTurn } from '../src/sandbox/simulated-issuer.ts';
import { type IssuerHost, issuerOf } from './support/issuer.ts';
import {
  CARD_TO_ACTIVATE,
  CARDHOLDER_NO,
  FIRST_CARD,
  FROZEN_CARD,
  MERCHANT_NO,
  OTHER_API_KEY,
  OTHER_MERCHANTS_CARDHOLDER_NO,
  SECOND_CARDHOLDER_NO,
  VIRTUAL_CARD,
} from './support/sandbox.ts';
import { intactChain } from './support/stored-pin.ts';
import { type Answer, type Merchant, merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

let platform: TestPlatform;
let merchant: Merchant;
let issuer: IssuerHost;
before(async () => {
  platform = await startPlatform();
  merchant = merchantOf(platform);
  issuer = issuerOf(platform);
});
after(() => platform.close());

const apply = (uniqueNo: string, token: string, cardholderNo?: string): Promise<Answer> =>
  merchant.call('POST', '/cardholder/apply', {
    ...(cardholderNo !== undefined && { cardholder_no: cardholderNo }),
    cardholder_unique_no: uniqueNo,
    sumsub_share_token: token,
  });
const numberIn = (answer: Answer): string => {
  assert.equal(answer.code, 0, answer.text);
  return (answer.data as { cardholder_no: string }).cardholder_no;
};
const info = (cardholderNo: string) => merchant.call('GET', `/cardholder/${cardholderNo}/info`);
const statusOf = async (cardholderNo: string) => ((await info(cardholderNo)).data as { status: string }).status;
const decide = (cardholderNo: string, status: string, more = {}) =>
  issuer.call('POST', '/cardholder/verification', { cardholder_no: cardholderNo, status, ...more });
const actionsOf = async (cardholderNo: string) =>
  (await intactChain(platform.db, `cardholder:${cardholderNo}`)).map(({ action }) => action);

/** Lets the sandbox's verifier come to its verdicts. */
async function letSandboxDecide(): Promise<void> {
  platform.clock.now += 1_000;
  await simulateTurn(platform.services);
}

describe('an application of a cardholder', () => {
  test("makes a pending cardholder, whose number has the API's form", async () => {
    const answer = await apply('form-1', 'pending-1');
    assert.match(numberIn(answer), /^U20260601\d{10}$/);
    assert.deepEqual(answer.data, { cardholder_no: numberIn(answer), cardholder_unique_no: 'form-1' });
    assert.equal(await statusOf(numberIn(answer)), 'Pending');
  });

  test('with an empty number counts as one without, because the published sample sends it', async () => {
    assert.match(numberIn(await apply('empty-1', 'pending-1', '')), /^U/);
  });

  test('sent again gets the same answer, and makes no second cardholder', async () => {
    const first = await apply('again-1', 'approve-1');
    assert.equal((await apply('again-1', 'approve-1')).text, first.text);
    await letSandboxDecide();
    assert.equal((await apply('again-1', 'approve-1')).text, first.text, 'also when it was decided');
    assert.equal((await apply('again-1', 'approve-2')).code, 2001);
    assert.deepEqual(await actionsOf(numberIn(first)), ['cardholder_applied', 'cardholder_approved']);
  });

  test('sent ten times at once makes one cardholder', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => apply('at-once-1', 'pending-1')));
    assert.equal(new Set(answers.map(numberIn)).size, 1);
  });

  test('of another merchant with the same unique number makes another cardholder, and each merchant sees only its own', async () => {
    const mine = numberIn(await apply('shared-1', 'pending-1'));
    const other = merchantOf(platform, OTHER_API_KEY);
    const answer = await other.call('POST', '/cardholder/apply', {
      cardholder_unique_no: 'shared-1',
      sumsub_share_token: 'pending-1',
    });
    assert.notEqual(numberIn(answer), mine);
    const theirs = await info(numberIn(answer));
    assert.equal(theirs.code, 2002);
    assert.equal(theirs.text, (await info('U000')).text);
    assert.equal((await apply('shared-1', 'pending-1', numberIn(answer))).code, 2002);
  });

  test('after a rejection needs the number, the same unique number and a new token', async () => {
    const cardholderNo = numberIn(await apply('anew-1', 'reject-1'));
    assert.equal((await apply('anew-1', 'approve-1', cardholderNo)).code, 2004, 'not while it is pending');
    await letSandboxDecide();
    assert.equal(await statusOf(cardholderNo), 'Rejected');
    assert.equal((await apply('another', 'approve-1', cardholderNo)).code, 2011);
    assert.equal((await apply('anew-1', 'reject-1', cardholderNo)).code, 2005, 'that token was rejected');
    assert.equal((await apply('anew-1', 'approve-1', 'U000')).code, 2002);
    assert.equal(numberIn(await apply('anew-1', 'approve-1', cardholderNo)), cardholderNo);
    assert.equal(await statusOf(cardholderNo), 'Pending');
    assert.equal(numberIn(await apply('anew-1', 'approve-1', cardholderNo)), cardholderNo, 'the same once more');
    await letSandboxDecide();
    assert.equal(await statusOf(cardholderNo), 'Approved');
    assert.equal((await apply('anew-1', 'approve-2', cardholderNo)).code, 2003);
    assert.deepEqual(await actionsOf(cardholderNo), [
      'cardholder_applied',
      'cardholder_rejected',
      'cardholder_applied',
      'cardholder_approved',
    ]);
  });

  const refusals: [what: string, code: number, msg: string, body: object][] = [
    ['no unique number', 1004, 'cardholder_unique_no invalid parameter', { cardholder_unique_no: undefined }],
    [
      'a unique number of 65 characters',
      1004,
      'cardholder_unique_no invalid parameter',
      { cardholder_unique_no: 'x'.repeat(65) },
    ],
    [
      'a unique number with a line break',
      1004,
      'cardholder_unique_no invalid parameter',
      { cardholder_unique_no: 'a\nb' },
    ],
    ['no token', 1004, 'sumsub_share_token invalid parameter', { sumsub_share_token: undefined }],
    ['an empty token', 1004, 'sumsub_share_token invalid parameter', { sumsub_share_token: '' }],
    [
      'a token that the sandbox does not know',
      2006,
      'Failed to retrieve cardholder KYC information',
      { sumsub_share_token: 'eyJ' },
    ],
  ];
  for (const [what, code, msg, body] of refusals) {
    test(`is refused with ${code} for ${what}`, async () => {
      const answer = await merchant.call('POST', '/cardholder/apply', {
        cardholder_unique_no: 'refused-1',
        sumsub_share_token: 'approve-1',
        ...body,
      });
      assert.deepEqual([answer.code, answer.msg], [code, msg]);
    });
  }
});

describe("the sandbox's verifier", () => {
  test('decides by the share token after its delay, and shows In_progress before', async () => {
    const approved = numberIn(await apply('play-1', 'approve-anything'));
    const rejected = numberIn(await apply('play-2', 'reject-anything'));
    const pending = numberIn(await apply('play-3', 'pending-anything'));
    const all = async () => [await statusOf(approved), await statusOf(rejected), await statusOf(pending)];
    await simulateTurn(platform.services);
    assert.deepEqual(await all(), ['Pending', 'Pending', 'Pending']);
    platform.clock.now += 500;
    await simulateTurn(platform.services);
    assert.deepEqual(await all(), ['In_progress', 'In_progress', 'Pending']);
    platform.clock.now += 500;
    await simulateTurn(platform.services);
    await simulateTurn(platform.services);
    assert.deepEqual(await all(), ['Approved', 'Rejected', 'Pending']);
  });
});

describe("the issuer's verdict", () => {
  test('starts from a list of waiting cardholders with their share tokens, page by page', async () => {
    const numbers: string[] = [];
    for (let i = 0; i < 5; i++) numbers.push(numberIn(await apply(`wait-${i}`, `pending-token-${i}`)));
    const list: { cardholder_no: string; sumsub_share_token: string; merchant_no: string }[] = [];
    for (let after = ''; ; ) {
      const page = await issuer.call('GET', `/cardholder/pending?size=2${after && `&after=${after}`}`);
      const { list: items } = page.data as { list: typeof list };
      list.push(...items);
      if (items.length === 0) break;
      after = items.at(-1)!.cardholder_no;
    }
    const found = list.filter(({ cardholder_no }) => numbers.includes(cardholder_no));
    assert.deepEqual(found.map(({ cardholder_no }) => cardholder_no).sort(), numbers.toSorted());
    assert.deepEqual(
      found.map((one) => one.sumsub_share_token).sort(),
      numbers.map((_, i) => `pending-token-${i}`),
    );
    assert.ok(found.every(({ merchant_no }) => merchant_no === MERCHANT_NO));
    assert.equal((await issuer.call('GET', '/cardholder/pending?size=0')).msg, 'size invalid parameter');
    const [begin, unknown] = [
      await issuer.call('GET', '/cardholder/pending'),
      await issuer.call('GET', '/cardholder/pending?after=U000'),
    ];
    assert.equal(
      unknown.text,
      begin.text,
      'a number that is none begins at the start: an empty list would look as if nobody waits',
    );
  });

  test('approves, stores what the verifier found, and deletes the share token', async () => {
    const cardholderNo = numberIn(await apply('verdict-1', 'pending-1'));
    assert.equal((await decide(cardholderNo, 'In_progress')).code, 0);
    const personal = { email: 'someone@example.com', birth_date: '1990-05-17', phone: '13800138000' };
    assert.equal((await decide(cardholderNo, 'Approved', personal)).code, 0);
    const { data } = await info(cardholderNo);
    assert.deepEqual(data, {
      cardholder_no: cardholderNo,
      cardholder_unique_no: 'verdict-1',
      email: 'someone@example.com',
      status: 'Approved',
      total_balance: '0',
      time: platform.clock.now,
      card_list: [],
    });
    const [row] = await platform.db.tuples<[boolean, boolean]>(
      'kept',
      'select share_token_wrapped is null, personal_wrapped is not null from cardholders where cardholder_no = $1',
      [cardholderNo],
    );
    assert.deepEqual(row, [true, true]);
    assert.deepEqual(await actionsOf(cardholderNo), [
      'cardholder_applied',
      'cardholder_verification_started',
      'cardholder_approved',
    ]);
  });

  test('rejects with a reason, and the merchant sees it', async () => {
    const cardholderNo = numberIn(await apply('verdict-2', 'pending-1'));
    assert.equal((await decide(cardholderNo, 'Rejected')).msg, 'reason invalid parameter');
    assert.equal((await decide(cardholderNo, 'Rejected', { reason: 'Document expired' })).code, 0);
    const range = { start_time: '2026-06-01', end_time: '2026-06-02' };
    const list = await merchant.call('POST', '/cardholder/list', { ...range, cardholder_no: cardholderNo });
    assert.deepEqual((list.data as { list: object[] }).list, [
      {
        cardholder_no: cardholderNo,
        cardholder_unique_no: 'verdict-2',
        email: '',
        fail_reason: 'Document expired',
        status: 'Rejected',
        time: platform.clock.now,
      },
    ]);
  });

  test('gives the merchant no reason of a failure where there is none', async () => {
    const cardholderNo = numberIn(await apply('verdict-6', 'pending-1'));
    for (const status of ['In_progress', 'Approved']) {
      assert.equal((await decide(cardholderNo, status, { reason: 'Documents are good' })).code, 0);
      const range = { start_time: '2026-06-01', end_time: '2026-06-02' };
      const { data } = await merchant.call('POST', '/cardholder/list', { ...range, cardholder_no: cardholderNo });
      assert.equal((data as { list: { fail_reason: string }[] }).list[0]?.fail_reason, '');
    }
  });

  test('is final: the same verdict changes nothing, another verdict is refused', async () => {
    const cardholderNo = numberIn(await apply('verdict-3', 'pending-1'));
    await decide(cardholderNo, 'Approved');
    assert.equal((await decide(cardholderNo, 'Approved')).code, 0);
    assert.equal((await decide(cardholderNo, 'Rejected', { reason: 'late' })).code, 2003);
    assert.equal((await decide(cardholderNo, 'In_progress')).code, 2003);
    const rejected = numberIn(await apply('verdict-4', 'pending-1'));
    await decide(rejected, 'Rejected', { reason: 'no' });
    assert.equal((await decide(rejected, 'Approved')).code, 2005);
    assert.equal((await decide('U000', 'Approved')).code, 2002);
    assert.equal(
      (await decide(rejected, 'Approved', { birth_date: '2026-02-30' })).msg,
      'birth_date invalid parameter',
    );
    assert.equal((await actionsOf(cardholderNo)).length, 2);
  });

  test('counts only for the application that it names, not for a later one', async () => {
    const cardholderNo = numberIn(await apply('verdict-7', 'pending-1'));
    const time = platform.clock.now;
    assert.equal((await decide(cardholderNo, 'Rejected', { reason: 'no', time })).code, 0);
    platform.clock.now += 1;
    assert.equal(numberIn(await apply('verdict-7', 'pending-2', cardholderNo)), cardholderNo);
    assert.equal(
      (await decide(cardholderNo, 'Rejected', { reason: 'no', time })).code,
      2004,
      'the same once more, late',
    );
    assert.equal((await decide(cardholderNo, 'Approved', { time })).code, 2004);
    assert.equal(await statusOf(cardholderNo), 'Pending');
    assert.equal((await decide(cardholderNo, 'Approved', { time: platform.clock.now })).code, 0);
  });

  test('is stored once when twenty arrive at once', async () => {
    const cardholderNo = numberIn(await apply('verdict-5', 'pending-1'));
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        decide(cardholderNo, i % 2 === 0 ? 'Approved' : 'Rejected', { reason: 'no' }),
      ),
    );
    const codes = new Set(answers.map(({ code }) => code));
    assert.ok([2003, 2005].some((code) => codes.has(code)) && codes.has(0) && codes.size === 2);
    assert.equal((await actionsOf(cardholderNo)).length, 2);
  });
});

describe('the list of cardholders', () => {
  const list = async (body: object, headers = {}) => {
    const range = { start_time: '2026-05-22', end_time: '2026-05-22' };
    const answer = await merchant.call('POST', '/cardholder/list', { ...range, ...body }, headers);
    assert.equal(answer.code, 0, answer.text);
    return (answer.data as { list: { cardholder_no: string }[] }).list.map(({ cardholder_no }) => cardholder_no);
  };

  test('holds the merchant’s own, newest first, in the range of the Timezone', async () => {
    assert.deepEqual(await list({}), [SECOND_CARDHOLDER_NO, CARDHOLDER_NO]);
    assert.deepEqual(await list({ size: 1, page: 1 }), [CARDHOLDER_NO]);
    assert.deepEqual(await list({ end_time: '2026-05-22 07:59:59' }), []);
    assert.deepEqual(await list({ end_time: '2026-05-22 00:00:01' }, { timezone: 'UTC' }), [
      SECOND_CARDHOLDER_NO,
      CARDHOLDER_NO,
    ]);
  });

  test('accepts each filter, both filters, and ignores empty ones', async () => {
    assert.deepEqual(await list({ cardholder_no: CARDHOLDER_NO }), [CARDHOLDER_NO]);
    assert.deepEqual(await list({ cardholder_unique_no: 'unique-U202605220002' }), [SECOND_CARDHOLDER_NO]);
    assert.deepEqual(await list({ cardholder_no: CARDHOLDER_NO, cardholder_unique_no: 'unique-U202605220001' }), [
      CARDHOLDER_NO,
    ]);
    assert.deepEqual(await list({ cardholder_no: CARDHOLDER_NO, cardholder_unique_no: 'unique-U202605220002' }), []);
    assert.deepEqual(await list({ cardholder_no: '', cardholder_unique_no: '' }), [
      SECOND_CARDHOLDER_NO,
      CARDHOLDER_NO,
    ]);
    assert.deepEqual(await list({ cardholder_no: OTHER_MERCHANTS_CARDHOLDER_NO }), [], "another merchant's");
  });

  test('refuses what the other lists refuse', async () => {
    const code = async (body: object) => (await merchant.call('POST', '/cardholder/list', body)).code;
    assert.equal(await code({ start_time: '2026-05-22', end_time: '2026-05-21' }), 1019);
    assert.equal(await code({ start_time: '2026-01-01', end_time: '2026-05-21' }), 1020);
    assert.equal(await code({ start_time: '2026-05-22', end_time: '2026-05-23', size: 101 }), 1004);
  });
});

test("a cardholder's info lists the cards that were issued", async () => {
  const { data } = await info(CARDHOLDER_NO);
  const { card_list } = data as { card_list: { card_no: string; status: string }[] };
  assert.deepEqual(
    card_list.map(({ card_no }) => card_no),
    [FROZEN_CARD.cardNo, CARD_TO_ACTIVATE.cardNo, VIRTUAL_CARD.cardNo, FIRST_CARD.cardNo],
  );
  assert.equal((await info('bad number')).msg, 'cardholder_no invalid parameter');
});
