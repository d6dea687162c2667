import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { callerName } from '../src/pins/malformed-blocks.ts';
import { ISSUER } from '../src/sandbox/world.ts';
import { remoteMerchant } from './support/calls.ts';
import { emptyDatabase } from './support/empty-database.ts';
import { issuerOf, pinBlock } from './support/issuer.ts';
import { addCards } from './support/more-cards.ts';
import { FIRST_CARD, ISSUER_NO, pinBody, ZONE_KEY } from './support/sandbox.ts';
import { install, until } from './support/server-process.ts';
import { merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

const BAD_BLOCK = '00'.repeat(16);
/** A card stands 2 malformed blocks an hour, a caller 10, a zone key 40. */
const LIMITS = { LIMIT_MALFORMED_BLOCKS_PER_HOUR: '2' };
/** More cards than malformed blocks stop a zone key. */
const CARDS = 60;

interface Zone {
  platform: TestPlatform;
  cards: string[];
  /** Sends a malformed block for each of some cards, and returns the codes. */
  sendBad(cards: string[], more: object): Promise<number[]>;
  /** Verifies the right PIN of the first card. */
  sendGood(more?: object): Promise<{ code: number; msg: string }>;
}

async function startZone(t: TestContext): Promise<Zone> {
  const platform = await startPlatform(LIMITS);
  t.after(() => platform.close());
  const cards = (await addCards(platform, CARDS)).map(({ cardNo }) => cardNo);
  const merchant = merchantOf(platform);
  for (const card_no of [...cards, FIRST_CARD.cardNo])
    assert.equal((await merchant.call('POST', '/card/pin/set', pinBody('142536', { card_no }))).code, 0);
  const issuer = issuerOf(platform);
  const verify = (card_no: string, pin_block: string, more: object) =>
    issuer.call('POST', '/pin/verify', { card_no, pin_block, format: 4, zone_key: ZONE_KEY, ...more });
  return {
    platform,
    cards,
    async sendBad(of, more) {
      const codes: number[] = [];
      for (const cardNo of of) codes.push((await verify(cardNo, BAD_BLOCK, more)).code);
      return codes;
    },
    sendGood: (more = {}) => verify(FIRST_CARD.cardNo, pinBlock('142536'), more),
  };
}

test('a terminal that sends only malformed blocks is refused, and its zone key still works', async (t) => {
  const { cards, sendBad, sendGood } = await startZone(t);
  const codes = await sendBad(cards, { terminal_id: 'BROKEN' });
  assert.deepEqual(codes, [...Array(10).fill(0), ...Array(CARDS - 10).fill(1009)]);
  const refused = await sendGood({ terminal_id: 'BROKEN' });
  assert.deepEqual([refused.code, refused.msg], [1009, 'caller Operation too frequent, please try again later']);
  assert.equal((await sendGood({ terminal_id: 'GOOD' })).code, 0);
  assert.equal((await sendGood()).code, 0);
});

test('many callers with malformed blocks stop a zone key, unless they are a small part of its blocks', async (t) => {
  const { platform, cards, sendBad, sendGood } = await startZone(t);
  for (let i = 0; i < 4; i++)
    assert.deepEqual(new Set(await sendBad(cards.slice(i * 10, i * 10 + 10), { terminal_id: `T${i}` })), new Set([0]));
  const refused = await sendGood({ terminal_id: 'GOOD' });
  assert.deepEqual([refused.code, refused.msg], [1009, 'zone_key Operation too frequent, please try again later']);
  await platform.db.script("update pin_block_counts set blocks = 800 where kind = 'zone_key'");
  assert.equal((await sendGood({ terminal_id: 'GOOD' })).code, 0);
  platform.clock.now += 3_600_001;
  assert.equal((await sendGood({ terminal_id: 'T0' })).code, 0);
});

test('well-formed blocks are counted beside malformed ones', async (t) => {
  const { platform, cards, sendBad, sendGood } = await startZone(t);
  await sendBad(cards.slice(0, 3), { terminal_id: 'T1' });
  for (let i = 0; i < 20; i++) assert.equal((await sendGood({ terminal_id: 'T1' })).code, 0);
  const counts = () =>
    platform.db.query<{ kind: string; malformed: number; blocks: number }>(
      'counts',
      'select kind, malformed, blocks::integer from pin_block_counts order by kind',
    );
  await until('all are counted', async () => (await counts())[0]?.blocks === 23);
  assert.deepEqual(await counts(), [
    { kind: 'caller', malformed: 3, blocks: 23 },
    { kind: 'zone_key', malformed: 3, blocks: 23 },
  ]);
});

test('two hundred malformed blocks at once get no more answers than the limits', async (t) => {
  const { platform, cards } = await startZone(t);
  const issuer = issuerOf(platform);
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, i) =>
      issuer.call('POST', '/pin/verify', {
        card_no: cards[i % CARDS],
        pin_block: BAD_BLOCK,
        format: 4,
        zone_key: ZONE_KEY,
        terminal_id: `T${i % 20}`,
      }),
    ),
  );
  assert.deepEqual(new Set(answers.map(({ code }) => code)), new Set([0, 1009]));
  assert.equal(answers.filter(({ code }) => code === 0).length, 40);
});

test('counts of a process whose clock was far ahead do not lock anything', async (t) => {
  const { platform, cards, sendBad, sendGood } = await startZone(t);
  platform.clock.now += 30 * 86_400_000;
  await sendBad([FIRST_CARD.cardNo, FIRST_CARD.cardNo, ...cards.slice(0, 8)], { terminal_id: 'T1' });
  assert.equal((await sendGood({ terminal_id: 'T1' })).code, 1009);
  platform.clock.now -= 30 * 86_400_000;
  assert.equal((await sendGood({ terminal_id: 'T1' })).code, 0);
});

test('without a terminal, the address of the call is the caller', async (t) => {
  const { platform, cards, sendBad } = await startZone(t);
  await sendBad(cards.slice(0, 2), {});
  const [row] = await platform.db.query<{ name: string }>(
    'caller',
    "select name from pin_block_counts where kind = 'caller'",
  );
  assert.equal(row?.name, callerName({ terminal: undefined, address: '127.0.0.1' }));
});

test('an operator lists what is refused, and resets it', async (t) => {
  const installation = install(t, { env: { DATABASE_URL: await emptyDatabase(t), ...LIMITS } });
  const { url } = await installation.serve();
  const issuer = remoteIssuer(url);
  assert.equal((await remoteMerchant(url).setPin('142536')).code, 0);
  for (const code of [0, 0, 1009]) assert.equal((await issuer.verify(BAD_BLOCK)).code, code);
  const command = async (...args: string[]) => installation.run(['issuer', 'limits', ...args]);
  const listed = await command('list', ISSUER_NO);
  assert.match(listed.stdout, /^counted +name +malformed +blocks +since +answers\n/);
  assert.match(listed.stdout, new RegExp(`^card +${FIRST_CARD.cardNo} +2 +- +\\S+ +1009$`, 'm'));
  assert.match(listed.stdout, /^caller +address 127\.0\.0\.1 +2 +2 +\S+ +-$/m);
  assert.match(listed.stdout, /^zone_key +sandbox_zpk +2 +2 +\S+ +-$/m);

  const reset = await command('reset', ISSUER_NO, 'card', FIRST_CARD.cardNo);
  assert.equal(reset.stdout, `card ${FIRST_CARD.cardNo}: reset\n`);
  assert.equal((await issuer.verify(pinBlock('142536'))).code, 0);
  assert.equal((await command('reset', ISSUER_NO, 'zone_key', ZONE_KEY)).status, 0);
  for (const mistake of [
    ['reset', ISSUER_NO, 'zone_key', ZONE_KEY],
    ['reset', ISSUER_NO, 'key', ZONE_KEY],
    ['reset', 'I0', 'zone_key', ZONE_KEY],
    ['list', 'I0'],
  ])
    assert.equal((await command(...mistake)).status, 1, mistake.join(' '));
});

function remoteIssuer(url: string) {
  return {
    async verify(pin_block: string): Promise<{ code: number }> {
      const body = { card_no: FIRST_CARD.cardNo, pin_block, format: 4, zone_key: ZONE_KEY };
      const response = await fetch(`${url}/issuer/v1/pin/verify`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${ISSUER.secret}` },
        body: JSON.stringify(body),
      });
      return (await response.json()) as { code: number };
    },
  };
}
