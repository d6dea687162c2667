import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { sandboxPan } from '../src/sandbox/world.ts';
import { type IssuerHost, issuerOf } from './support/issuer.ts';
import { BIN_NO, CARDHOLDER_NO, MERCHANT_NO, seal } from './support/sandbox.ts';
import { intactChain } from './support/stored-pin.ts';
import { type Answer, type Merchant, merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

/*
 * Values that mean something in SQL, in an array, in JSON, in a pattern or in JavaScript are
 * nothing but texts here.
 */

/** Words that could be card numbers. */
const WORDS = [
  ...[
    'NULL',
    'null',
    'Null',
    'nULL',
    'true',
    'false',
    't',
    'f',
    'NaN',
    'Infinity',
    '-Infinity',
    'undefined',
    'default',
  ],
  ...['0', '00', '-1', '1e5', '0x10', '-', '--', '_', '__proto__', 'constructor', 'toString', 'hasOwnProperty'],
  ...['C', 'x'.repeat(64), '_'.repeat(64), 'platform', 'SAMPLE', 'select', 'now'],
];
const numbers = fc.oneof(
  fc.constantFrom(...WORDS),
  fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/),
  fc.mixedCase(fc.constant('null')),
);
/** Numbers of the merchant's own form. The letter keeps them from being blank. */
const uniqueNumbers = fc.oneof(
  numbers.filter((text) => /[A-Za-z0-9]/.test(text)),
  fc.constantFrom(
    ...['"', '""', "'", '\\', '\\\\', '{}', '{a,b}', ',', 'NULL,', '%', '_%', '\\%', '$1', '{"a":1}', '[1]'].map(
      (text) => `${text}a`,
    ),
    ...[' a', 'a ', '  a  ', '\u00a0a', '💳', '👩‍👩‍👧', 'ﷺ', 'é', 'e\u0301', '\u202ea', '\ufeffa', 'a\u2028b'],
    '漢'.repeat(64),
  ),
  fc
    .string({ unit: 'binary', minLength: 1, maxLength: 60 })
    .map((text) => `a${text}`)
    .filter((text) => [...text].length <= 64 && text.length <= 64 && !/\p{Cc}/u.test(text)),
);

interface Given {
  cardNo: string;
  cardUniqueNo: string;
  cardholderNo: string;
  cardholderUniqueNo: string;
  cardName: string;
}
const cards: fc.Arbitrary<Given> = fc.record({
  cardNo: numbers,
  cardUniqueNo: uniqueNumbers,
  cardholderNo: numbers,
  cardholderUniqueNo: uniqueNumbers,
  cardName: uniqueNumbers,
});

// Below the arbitraries: to make them takes seconds, in which a connection would time out.
let platform: TestPlatform;
let merchant: Merchant;
let issuer: IssuerHost;
before(async () => {
  platform = await startPlatform();
  merchant = merchantOf(platform);
  issuer = issuerOf(platform);
});
after(() => platform.close());

let pans = 700_000;
/**
 * The round's number stands at the end, so that no value comes twice; a word stays as it is the
 * first time.
 */
const used = new Set<string>();
function fresh(text: string): string {
  for (let next = text, count = 0; ; next = `${text.slice(0, 58)}${count++}`) {
    if (used.has(next)) continue;
    used.add(next);
    return next;
  }
}

function succeeded(answer: Answer, what: string): Record<string, unknown> {
  assert.equal(answer.code, 0, `${what}: ${answer.text}`);
  return answer.data as Record<string, unknown>;
}

/** Takes a card through every call that has its number or its merchant's number in a statement. */
async function takeThrough(given: Given): Promise<void> {
  const cardNo = fresh(given.cardNo);
  const cardholderNo = fresh(given.cardholderNo);
  const cardUniqueNo = fresh(given.cardUniqueNo);
  const imported = {
    merchant_no: MERCHANT_NO,
    card_no: cardNo,
    card_unique_no: cardUniqueNo,
    cardholder_no: cardholderNo,
    cardholder_unique_no: fresh(given.cardholderUniqueNo),
    card_name: given.cardName,
    card_type: 'Physical',
    status: 'Activated',
    pan: sandboxPan(pans++),
    expiry: '3105',
  };
  const bring = () => issuer.call('POST', '/card/import', imported);
  assert.equal(succeeded(await bring(), 'import').added, true);
  assert.equal(succeeded(await bring(), 'import again').added, false);
  succeeded(
    await merchant.call('POST', '/card/pin/set', { card_no: cardNo, cardholder_no: cardholderNo, pin: seal('142536') }),
    'set',
  );
  const detail = succeeded(await merchant.call('GET', `/card/${cardNo}/detail`), 'detail');
  assert.deepEqual([detail.card_no, detail.card_unique_no, detail.cardholder_no], [cardNo, cardUniqueNo, cardholderNo]);
  const range = { start_time: '2026-05-31', end_time: '2026-06-02' };
  for (const filter of [{ card_no: cardNo }, { card_unique_no: cardUniqueNo }, { cardholder_no: cardholderNo }]) {
    const { list } = succeeded(await merchant.call('POST', '/card/list', { ...range, ...filter }), 'list') as {
      list: { card_no: string }[];
    };
    assert.deepEqual(
      list.map(({ card_no }) => card_no),
      [cardNo],
      JSON.stringify(filter),
    );
  }
  assert.equal(succeeded(await issuer.call('GET', `/pin/${cardNo}`), 'status').status, 'OK');
  succeeded(
    await issuer.call('POST', '/card/status', { card_no: cardNo, status: 'Frozen', reason: cardUniqueNo }),
    'freeze',
  );
  succeeded(await issuer.call('POST', '/card/status', { card_no: cardNo, status: 'Activated' }), 'unfreeze');
  succeeded(await issuer.call('POST', '/pin/unblock', { card_no: cardNo }), 'unblock');
  assert.deepEqual(
    (await intactChain(platform.db, cardNo)).map(({ action }) => action),
    ['card_created', 'pin_set', 'card_frozen', 'card_unfrozen', 'pin_unblocked'],
  );
}

describe('a value that the platform accepts works in every statement', () => {
  for (const word of WORDS)
    test(`a card and a cardholder with the number ${word.slice(0, 20)}`, async () => {
      await takeThrough({
        cardNo: word,
        cardUniqueNo: `unique ${word}`.slice(0, 64),
        cardholderNo: word,
        cardholderUniqueNo: `holder ${word}`.slice(0, 64),
        cardName: word,
      });
    });

  test('of generated cards and cardholders', async () => {
    await fc.assert(fc.asyncProperty(cards, takeThrough), { numRuns: 60, interruptAfterTimeLimit: 120_000 });
  });

  test('also when PINs of many such cards are set in one statement', async () => {
    const given = fc.sample(cards, 24);
    const set = await Promise.all(
      given.map(async ({ cardNo, cardholderNo }) => {
        const numbers = { card_no: fresh(cardNo), cardholder_no: fresh(cardholderNo) };
        const unique = { card_unique_no: fresh('batch'), cardholder_unique_no: fresh('batch holder') };
        const about = { merchant_no: MERCHANT_NO, card_type: 'Physical', status: 'Activated', expiry: '3105' };
        succeeded(
          await issuer.call('POST', '/card/import', { ...about, ...numbers, ...unique, pan: sandboxPan(pans++) }),
          'import',
        );
        return { ...numbers, pin: seal('253647') };
      }),
    );
    const answers = await Promise.all(set.map((body) => merchant.call('POST', '/card/pin/set', body)));
    assert.deepEqual(
      answers.map(({ code }) => code),
      set.map(() => 0),
    );
  });

  test('in an application, with an Idempotency-Key like it', async () => {
    await fc.assert(
      fc.asyncProperty(uniqueNumbers, fc.stringMatching(/^[\x21-\x7e]{1,255}$/), async (uniqueNo, key) => {
        const body = {
          card_bin_no: BIN_NO,
          cardholder_no: CARDHOLDER_NO,
          card_unique_no: fresh(uniqueNo),
          card_type: 'Virtual',
        };
        const headers = { 'idempotency-key': `${key.slice(0, 240)}${pans++}` };
        const first = await merchant.call('POST', '/card/apply', body, headers);
        assert.equal(succeeded(first, 'apply').card_unique_no, body.card_unique_no);
        assert.equal((await merchant.call('POST', '/card/apply', body, headers)).text, first.text);
        assert.equal((await merchant.call('POST', '/card/apply', body)).text, first.text);
      }),
      { numRuns: 60, interruptAfterTimeLimit: 120_000 },
    );
  });

  test('in a filter, which does not treat it as a pattern', async () => {
    const range = { start_time: '2026-05-01', end_time: '2026-06-02' };
    for (const filter of ['%', '_', 'C%', 'NULL', "' or '1'='1", '*', '\\'])
      for (const field of ['card_unique_no', 'cardholder_no']) {
        const { list } = succeeded(await merchant.call('POST', '/card/list', { ...range, [field]: filter }), filter);
        assert.deepEqual(list, [], filter);
      }
  });
});
