import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  CARDHOLDER_NO,
  FIRST_CARD,
  OTHER_API_KEY,
  OTHER_MERCHANTS_CARD,
  OTHER_MERCHANTS_CARDHOLDER_NO,
  SECOND_CARDHOLDER_NO,
  SECOND_CARDHOLDERS_CARD,
  VIRTUAL_CARD,
} from './support/sandbox.ts';
import {
  type Answer,
  type Headers,
  type Merchant,
  merchantOf,
  startPlatform,
  type TestPlatform,
} from './support/test-platform.ts';

const MAY = { start_time: '2026-05-01', end_time: '2026-06-30' };
/**
 * 250 cards, three an hour from 2026-04-01 00:00 UTC on; three cards share an instant, so that
 * order needs a second key.
 */
const FIRST_MS = Date.UTC(2026, 3, 1);
const CARDS = 250;

interface Item {
  card_no: string;
  time: number;
}

let platform: TestPlatform;
let merchant: Merchant;
before(async () => {
  platform = await startPlatform();
  merchant = merchantOf(platform);
  await platform.db.tuples(
    'many-cards',
    `insert into cards (merchant_id, card_no, card_unique_no, cardholder_no, card_type, status, created_at)
     select 1, 'L' || lpad(i::text, 4, '0'), 'mine-' || i, case when i % 2 = 0 then 'U202605220001' else 'U202605220002' end, 'Virtual', 'Pending',
            to_timestamp($1::bigint / 1000 + 3600 * (i / 3)) from generate_series(0, $2 - 1) as i`,
    [FIRST_MS, CARDS],
  );
});
after(() => platform.close());

const list = (body: object, headers: Headers = {}): Promise<Answer> =>
  merchant.call('POST', '/card/list', body, headers);

async function itemsOf(body: object, headers: Headers = {}): Promise<Item[]> {
  const { code, msg, data } = await list(body, headers);
  assert.equal(code, 0, msg);
  return (data as { list: Item[] }).list;
}

test('an item has the fields of the API', async () => {
  const [item] = await itemsOf({ ...MAY, card_no: FIRST_CARD.cardNo });
  assert.deepEqual(item, {
    card_no: FIRST_CARD.cardNo,
    card_unique_no: 'unique-C202605220001',
    cardholder_no: CARDHOLDER_NO,
    card_type: 'Physical',
    card_last_no: '0014',
    organization: 'Sandbox',
    status: 'Activated',
    time: Date.UTC(2026, 4, 22),
  });
});

test('pages are ten long unless asked otherwise, go from newest to oldest, and neither repeat nor skip', async () => {
  const april = { start_time: '2026-04-01', end_time: '2026-05-01' };
  assert.equal((await itemsOf(april)).length, 10);
  const all: Item[] = [];
  for (let page = 0; all.length % 100 === 0; page++) all.push(...(await itemsOf({ ...april, page, size: 100 })));
  assert.equal(all.length, CARDS);
  assert.equal(new Set(all.map(({ card_no }) => card_no)).size, CARDS);
  const sorted = all.toSorted((a, b) => b.time - a.time || (a.card_no < b.card_no ? 1 : -1));
  assert.deepEqual(all, sorted);
  assert.deepEqual(await itemsOf({ ...april, page: 99 }), []);
});

test('filters narrow the list, empty ones do not, and those of other merchants find nothing', async () => {
  const numbers = async (filter: object) =>
    (await itemsOf({ ...MAY, size: 100, ...filter })).map(({ card_no }) => card_no);
  assert.deepEqual(await numbers({ card_unique_no: 'unique-C202605220002' }), [VIRTUAL_CARD.cardNo]);
  assert.deepEqual(await numbers({ cardholder_no: SECOND_CARDHOLDER_NO }), [SECOND_CARDHOLDERS_CARD.cardNo]);
  assert.equal((await numbers({ card_no: '', card_unique_no: '', cardholder_no: '' })).length, 5);
  assert.deepEqual(await numbers({ card_no: OTHER_MERCHANTS_CARD.cardNo }), []);
  assert.deepEqual(await numbers({ cardholder_no: OTHER_MERCHANTS_CARDHOLDER_NO }), []);
});

test('a filter with characters that no number has finds nothing, or is refused as such', async () => {
  for (const field of ['card_no', 'card_unique_no', 'cardholder_no'])
    for (const value of ["' or true --", '%', '\u0000', 'C\ud800', '卡'])
      assert.ok([0, 1004].includes((await list({ ...MAY, [field]: value })).code), `${field} ${JSON.stringify(value)}`);
});

test('a faulty list call is answered in Chinese too', async () => {
  assert.equal((await list({ end_time: '2026-05-01' }, { language: 'zh_CN' })).msg, 'start_time 参数无效');
  assert.equal(
    (await list({ start_time: '2026-05-02', end_time: '2026-05-01' }, { language: 'zh_CN' })).msg,
    '查询结束时间必须晚于开始时间',
  );
});

describe('the range', () => {
  const count = async (start_time: string, end_time: string, timezone?: string) =>
    (await itemsOf({ start_time, end_time, size: 100 }, { timezone })).length;

  test('includes its start and not its end; an end without a time of day means the whole day', async () => {
    assert.equal(await count('2026-04-01 00:00:00', '2026-04-01 02:00:00', 'UTC'), 6);
    assert.equal(await count('2026-04-01', '2026-04-01', 'UTC'), 72);
  });

  test('is read in the zone of the Timezone header, UTC+8 if there is none', async () => {
    assert.equal(await count('2026-04-01 08:00:00', '2026-04-01 10:00:00'), 6);
    assert.equal(await count('2026-04-01 08:00:00', '2026-04-01 10:00:00', 'UTC+8'), 6);
    assert.equal(await count('2026-03-31 21:00:00', '2026-03-31 23:00:00', 'UTC-3'), 6);
    assert.equal(await count('2026-04-01 05:30:00', '2026-04-01 06:30:00', 'UTC+05:30'), 3);
    assert.equal(await count('2026-04-01', '2026-04-01'), 48, 'a day begins eight hours earlier there');
  });

  const refusals: [what: string, body: object, code: number, msg?: string][] = [
    ['an end that is the start', { start_time: '2026-05-01 10:00:00', end_time: '2026-05-01 10:00:00' }, 1019],
    ['an end before the start', { start_time: '2026-05-02', end_time: '2026-05-01' }, 1019],
    ['91 days', { start_time: '2026-01-01', end_time: '2026-04-02' }, 1020],
    ['a second over 90 days', { start_time: '2026-01-01 00:00:00', end_time: '2026-04-01 00:00:01' }, 1020],
    ['no start', { end_time: '2026-05-01' }, 1004, 'start_time invalid parameter'],
    ['no end', { start_time: '2026-05-01' }, 1004, 'end_time invalid parameter'],
    ['the 30th of February', { ...MAY, start_time: '2026-02-30' }, 1004, 'start_time invalid parameter'],
    ['the hour 24', { ...MAY, end_time: '2026-06-01 24:00:00' }, 1004, 'end_time invalid parameter'],
    ['another form', { ...MAY, end_time: '2026-06-01T00:00:00Z' }, 1004, 'end_time invalid parameter'],
    ['a number', { ...MAY, end_time: 20260601 }, 1004, 'end_time invalid parameter'],
    ['a page before the first', { ...MAY, page: -1 }, 1004, 'page invalid parameter'],
    ['half a page', { ...MAY, page: 0.5 }, 1004, 'page invalid parameter'],
    ['pages of nothing', { ...MAY, size: 0 }, 1004, 'size invalid parameter'],
    ['pages over 100', { ...MAY, size: 101 }, 1004, 'size invalid parameter'],
    ['a size in a string', { ...MAY, size: '10' }, 1004, 'size invalid parameter'],
    ['a filter that is no string', { ...MAY, card_no: 7 }, 1004, 'card_no invalid parameter'],
    ['a filter of 65 characters', { ...MAY, card_unique_no: 'x'.repeat(65) }, 1004, 'card_unique_no invalid parameter'],
  ];
  for (const [what, body, code, msg] of refusals) {
    test(`with ${what} answers ${code}`, async () => {
      const answer = await list(body);
      assert.equal(answer.code, code);
      if (msg !== undefined) assert.equal(answer.msg, msg);
    });
  }

  test('of exactly 90 days is allowed', async () => {
    assert.equal((await list({ start_time: '2026-01-01', end_time: '2026-04-01' })).code, 0);
    assert.equal((await list({ start_time: '2026-01-01 00:00:01', end_time: '2026-04-01 00:00:01' })).code, 0);
  });

  test('in an unknown zone answers 1004', async () => {
    for (const timezone of ['UTC+15', 'UTC+8:60', 'Asia/Shanghai', '+8', 'utc+8'])
      assert.equal((await list(MAY, { timezone })).msg, 'Timezone invalid parameter');
  });
});

test("a merchant's list has no card of another merchant", async () => {
  const theirs = await merchantOf(platform, OTHER_API_KEY).call('POST', '/card/list', { ...MAY, size: 100 });
  assert.deepEqual(
    (theirs.data as { list: Item[] }).list.map(({ card_no }) => card_no),
    [OTHER_MERCHANTS_CARD.cardNo],
  );
  const mine = await itemsOf({ ...MAY, size: 100 });
  assert.ok(mine.every(({ card_no }) => card_no !== OTHER_MERCHANTS_CARD.cardNo));
});
