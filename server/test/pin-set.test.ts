import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { ERRORS } from '@pinward/contract/errors';
import { createCredential } from '../src/merchants/create-credential.ts';
import { updateMerchant } from '../src/merchants/update-merchant.ts';
import { Secret } from '../src/secret.ts';
import { validPin } from './support/calls.ts';
import {
  CARDHOLDER_NO,
  FIRST_CARD,
  FROZEN_CARD,
  MERCHANT_NO,
  OTHER_API_KEY,
  OTHER_MERCHANTS_CARD,
  OTHER_MERCHANTS_CARDHOLDER_NO,
  OTHER_SECRET,
  pinBody,
  SANDBOX_SECRET,
  SECOND_CARDHOLDER_NO,
  SECOND_CARDHOLDERS_CARD,
  seal,
  VIRTUAL_CARD,
} from './support/sandbox.ts';
import { intactChain, storedPin } from './support/stored-pin.ts';
import {
  type Answer,
  type Headers,
  type Merchant,
  merchantOf,
  operatorOf,
  startPlatform,
  type TestPlatform,
} from './support/test-platform.ts';

const CARD = FIRST_CARD.cardNo;
const VIRTUAL = VIRTUAL_CARD.cardNo;
const FROZEN = FROZEN_CARD.cardNo;
const SECOND_CARD = { card_no: SECOND_CARDHOLDERS_CARD.cardNo, cardholder_no: SECOND_CARDHOLDER_NO };

let platform: TestPlatform;
let merchant: Merchant;
async function start(): Promise<void> {
  platform = await startPlatform();
  merchant = merchantOf(platform);
}

const set = (body: unknown, headers?: Headers): Promise<Answer> =>
  merchant.call('POST', '/card/pin/set', body, headers);

/** Goes on with another process on the same database: it has what the operator changed, at once. */
async function onFreshProcess(
  env: Record<string, string>,
  work: (fresh: TestPlatform) => Promise<void>,
): Promise<void> {
  const fresh = await startPlatform(env, { databaseUrl: platform.databaseUrl, clock: platform.clock });
  merchant = merchantOf(fresh);
  await work(fresh);
  merchant = merchantOf(platform);
  await fresh.close();
}

function operator() {
  return operatorOf(platform);
}

/** The cards that have a PIN. */
const SET = 'cards where pin_version > 0';

async function count(table: string): Promise<number> {
  const [row] = await platform.db.tuples<[number]>(`count-${table}`, `select count(*) from ${table}`);
  return row?.[0] as number;
}

function failure(code: number, language: 'english' | 'chinese' = 'english'): string {
  const entry = Object.values(ERRORS).find((one) => one.code === code);
  return JSON.stringify({ code, msg: entry?.[language] });
}

/** All that an answer tells, but for what is each answer's own. */
function told({ text, httpStatus, headers }: Answer) {
  return { text, httpStatus, headers: { ...headers, 'x-request-id': '', date: '' } };
}

/** Enciphers a whole block as it stands, with whatever padding it has. */
function sealBlock(digits: string, padding: number[]): string {
  const cipher = createCipheriv('aes-256-ecb', SANDBOX_SECRET, null).setAutoPadding(false);
  return Buffer.concat([
    cipher.update(Buffer.concat([Buffer.from(digits, 'latin1'), Buffer.from(padding)])),
    cipher.final(),
  ]).toString('base64');
}

describe('refuses, and stores nothing:', () => {
  before(start);
  after(() => platform.close());
  afterEach(async () => assert.deepEqual([await count(SET), await count('callback_events')], [0, 0]));

  test('rule 1: a virtual card answers 4017', async () => {
    assert.equal((await set(pinBody('142536', { card_no: VIRTUAL }))).code, 4017);
  });

  for (const status of ['Pending', 'ToActivate', 'Fail', 'Frozen', 'Delete']) {
    test(`rule 2: a card that is ${status} answers 4005`, async () => {
      await platform.db.script(`update cards set status = '${status}' where card_no = '${CARD}'`);
      assert.equal((await set(pinBody('142536'))).code, 4005);
      await platform.db.script(`update cards set status = 'Activated' where card_no = '${CARD}'`);
    });
  }

  test("rule 4: a card that is not there, another merchant's, or another cardholder's give one answer, to the letter", async () => {
    const missing = told(await set(pinBody('142536', { card_no: 'C000000000000' })));
    assert.equal(missing.text, failure(4001));
    const stranger = merchantOf(platform, OTHER_API_KEY);
    const strangers = (body: object) =>
      stranger.call('POST', '/card/pin/set', { ...body, pin: seal('142536', OTHER_SECRET) });
    const others = [
      await set(
        pinBody('142536', { card_no: OTHER_MERCHANTS_CARD.cardNo, cardholder_no: OTHER_MERCHANTS_CARDHOLDER_NO }),
      ),
      await set(pinBody('142536', { card_no: OTHER_MERCHANTS_CARD.cardNo })),
      await set(pinBody('142536', { card_no: SECOND_CARD.card_no })),
      await set(pinBody('142536', { cardholder_no: 'U000000000000' })),
      await set(pinBody('142536', { cardholder_no: OTHER_MERCHANTS_CARDHOLDER_NO })),
      await set(pinBody('142536', { card_no: CARD.toLowerCase() })),
      await strangers({ card_no: 'C000000000000', cardholder_no: OTHER_MERCHANTS_CARDHOLDER_NO }),
      await strangers({ card_no: CARD, cardholder_no: CARDHOLDER_NO }),
      await strangers({ card_no: CARD, cardholder_no: OTHER_MERCHANTS_CARDHOLDER_NO }),
      await strangers({ card_no: VIRTUAL, cardholder_no: CARDHOLDER_NO }),
      await strangers({ card_no: FROZEN, cardholder_no: CARDHOLDER_NO }),
    ];
    for (const other of others) assert.deepEqual(told(other), missing);
  });

  const malformed: [field: string, value: unknown][] = [
    ...[undefined, null, 142536, true, { value: '142536' }, ['142536']].map((value): [string, unknown] => [
      'pin',
      value,
    ]),
    ...['card_no', 'cardholder_no'].flatMap((field) =>
      [
        undefined,
        null,
        7,
        '',
        ' ',
        'x'.repeat(65),
        'C 1',
        'C1\n',
        '卡',
        'Ｃ１',
        'C1\u0000',
        "'; --",
        'a/b',
        [FIRST_CARD.cardNo],
        {},
      ].map((value): [string, unknown] => [field, value]),
    ),
  ];
  for (const [field, value] of malformed) {
    test(`rule 5: a ${field} that is ${JSON.stringify(value)?.slice(0, 30)} answers 1004 with the field's name`, async () => {
      const { text } = await set(pinBody('142536', { [field]: value }));
      assert.equal(text, JSON.stringify({ code: 1004, msg: `${field} invalid parameter` }));
      const chinese = await set(pinBody('142536', { [field]: value }), { language: 'zh_CN' });
      assert.equal(chinese.text, JSON.stringify({ code: 1004, msg: `${field} 参数无效` }));
    });
  }

  test('rule 5: a card_no of 64 characters is well-formed', async () => {
    assert.equal((await set(pinBody('142536', { card_no: 'aZ09_-'.padEnd(64, 'x') }))).code, 4001);
  });

  test('rule 5: a pin that does not open to a PIN answers 4016, whatever is wrong with it, to the letter and in both languages', async () => {
    const good = seal('142536');
    const bytes = Buffer.from(good, 'base64');
    const pinWithSign = Array.from({ length: 1000 }, (_, i) => seal(validPin(i))).find((sealed) =>
      /[+/]/.test(sealed),
    ) as string;
    const next = String.fromCharCode(good.charCodeAt(21) + 1);
    const spellings = [
      ...[
        good.replace(/==$/, ''),
        good.replace(/=$/, ''),
        `${good}=`,
        ` ${good}`,
        `${good}\n`,
        `${good.slice(0, 12)}\n${good.slice(12)}`,
      ],
      ...[`${good.slice(0, 21)}${next}==`, pinWithSign.replaceAll('+', '-').replaceAll('/', '_')],
    ];
    const openable = [bytes, Buffer.from(pinWithSign, 'base64')];
    for (const one of spellings)
      assert.ok(
        openable.some((whole) => whole.equals(Buffer.from(one, 'base64'))),
        `a lenient decoder takes ${one}`,
      );
    const ten = Array<number>(10).fill(10);
    const pins = [
      ...spellings,
      ...[
        '',
        '142536',
        'null',
        good.slice(0, 23),
        `${good}A`,
        'A'.repeat(24),
        '='.repeat(24),
        '🔑'.repeat(12),
        'A'.repeat(10_000),
      ],
      ...[
        bytes.toString('hex'),
        bytes.subarray(0, 15).toString('base64'),
        Buffer.concat([bytes, bytes]).toString('base64'),
      ],
      ...[
        seal('142536', OTHER_SECRET),
        seal('142536', SANDBOX_SECRET.slice(0, 16)),
        seal('142536', SANDBOX_SECRET.toUpperCase()),
      ],
      ...[
        '14253',
        '1425367',
        '',
        '14253a',
        '1425 6',
        '-14253',
        '1425.6',
        '1425\n6',
        '14253\u0000',
        '1425369078142536',
      ].map((pin) => seal(pin)),
      ...[Buffer.from('１４２').toString('latin1'), '\xb1\xb4\xb2\xb5\xb3\xb6'].map((pin) => seal(pin)),
      ...['111235', '912375', '259876'].map((pin) => seal(pin)),
      sealBlock('142536', [11, ...ten.slice(1)]),
      sealBlock('142536', [...ten.slice(1), 11]),
      sealBlock('142536', [...ten.slice(1), 0]),
      sealBlock('142536', Array(10).fill(0)),
      sealBlock('142536', [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]),
      sealBlock('1425369078', Array(6).fill(10)),
    ];
    for (const language of ['english', 'chinese'] as const) {
      const headers = { language: language === 'chinese' ? 'zh_CN' : 'en_US' };
      const answers = await Promise.all(pins.map((pin) => set(pinBody('', { pin }), headers)));
      const [first] = answers;
      assert.equal(first?.text, failure(4016, language));
      for (const [i, answer] of answers.entries()) assert.deepEqual(told(answer), told(first), JSON.stringify(pins[i]));
    }
  });

  test('rule 6: of two faults the earlier in the order answers, in both languages', async () => {
    await platform.db.script(`update cards set status = 'Frozen' where card_no = '${VIRTUAL}'`);
    const table: [earlier: number, later: number, body: Record<string, unknown>][] = [
      [1004, 4001, { card_no: 'C000000000000', pin: 17 }],
      [1004, 4017, { card_no: VIRTUAL, pin: null }],
      [1004, 4005, { card_no: FROZEN, cardholder_no: '' }],
      [4001, 4017, { card_no: VIRTUAL, cardholder_no: SECOND_CARDHOLDER_NO }],
      [4001, 4005, { card_no: FROZEN, cardholder_no: SECOND_CARDHOLDER_NO }],
      [4001, 4016, { card_no: 'C000000000000', pin: 'x' }],
      [4017, 4005, { card_no: VIRTUAL }],
      [4017, 4016, { card_no: VIRTUAL, pin: 'x' }],
      [4005, 4016, { card_no: FROZEN, pin: 'x' }],
    ];
    for (const [earlier, later, body] of table) {
      const answer = await set(pinBody('142536', body));
      assert.equal(answer.code, earlier, `${earlier} before ${later}`);
      if (earlier === 1004) continue; // has the field's name for its text
      assert.equal(answer.text, failure(earlier));
      assert.equal((await set(pinBody('142536', body), { language: 'zh_CN' })).text, failure(earlier, 'chinese'));
    }
  });
});

describe('a PIN set that succeeds:', () => {
  beforeEach(start);
  afterEach(() => platform.close());

  test('answers true in the envelope of the API, in English and in Chinese', async () => {
    const answer = await set(pinBody('142536'));
    assert.equal(answer.httpStatus, 200);
    assert.equal(answer.headers['content-type'], 'application/json; charset=utf-8');
    assert.equal(answer.text, '{"code":0,"msg":"Success","data":{"result":true}}');
    assert.equal(
      (await set(pinBody('142536'), { language: 'zh_CN' })).text,
      '{"code":0,"msg":"成功","data":{"result":true}}',
    );
  });

  test('rule 3: a PIN is six digits without a run, read by arithmetic or, where the operator says so, as on a keypad', async () => {
    const table: [pins: string[], arithmetic: number, keypad: number][] = [
      [['142536', '112233', '121212', '901425', '135790', '091827'], 0, 0],
      [['908908', '142098', '148903'], 0, 4016],
      [
        ['111235', '811127', '258000', '912375', '174560', '259876', '321740', '145012', '000000', '123456', '998887'],
        4016,
        4016,
      ],
      [['14253', '1425367', '14253a', ''], 4016, 4016],
    ];
    for (const [pins, code] of table) for (const pin of pins) assert.equal((await set(pinBody(pin))).code, code, pin);
    await updateMerchant(operator(), MERCHANT_NO, { pinRuns: 'keypad' });
    await onFreshProcess({}, async () => {
      for (const [pins, , code] of table)
        for (const pin of pins) assert.equal((await set(pinBody(pin))).code, code, `${pin} on a keypad`);
    });
  });

  test('rule 6: 1009 stands after 4005 and before 4016, and only sets that the card could take are counted', async () => {
    await onFreshProcess({ LIMIT_PIN_SETS_PER_CARD_PER_MINUTE: '1' }, async (fresh) => {
      const stranger = merchantOf(fresh, OTHER_API_KEY);
      for (let i = 0; i < 3; i++) {
        assert.equal((await stranger.call('POST', '/card/pin/set', pinBody('142536'))).code, 4001);
        assert.equal((await set(pinBody('142536', { cardholder_no: SECOND_CARDHOLDER_NO }))).code, 4001);
        assert.equal((await set(pinBody('142536', { card_no: FROZEN }))).code, 4005);
      }
      assert.equal((await set(pinBody('142536'))).code, 0);
      for (const [language, header] of [['english', 'en_US'] as const, ['chinese', 'zh_CN'] as const]) {
        const answer = await set(pinBody('', { pin: 'x' }), { language: header });
        assert.equal(answer.text, failure(1009, language), 'too frequent comes before a bad PIN');
        assert.equal(answer.headers['retry-after'], '60');
      }
      assert.equal((await set(pinBody('142536', SECOND_CARD))).code, 0, 'another card is not concerned');
      await platform.db.script(`update cards set status = 'Frozen' where card_no = '${CARD}'`);
      assert.equal((await set(pinBody('142536'))).code, 4005, 'a frozen card comes before too frequent');
    });
  });

  test("rule 7: the key is the secret's bytes in UTF-8, 16, 24 or 32 of them", async () => {
    for (const apiSecret of [
      'imported-secret-',
      'imported-secret-01234567',
      'imported-secret-0123456789abcdef',
      '进口的秘密0123456789abcdefg',
    ]) {
      const { apiKey } = await createCredential(operator(), {
        merchantNo: MERCHANT_NO,
        apiSecret: new Secret(apiSecret),
        ipAllowlist: ['127.0.0.1'],
      });
      const imported = merchantOf(platform, apiKey);
      const code = async (pin: string) => (await imported.call('POST', '/card/pin/set', pinBody('', { pin }))).code;
      assert.deepEqual([await code(seal('142536', apiSecret)), await code(seal('142536'))], [0, 4016], apiSecret);
    }
  });

  test('rule 8: PIN, audit record and, for a merchant that takes it, event are stored together', async () => {
    await set(pinBody('142536'));
    assert.equal(await count('callback_events'), 0, 'not for one that does not');
    await updateMerchant(operator(), MERCHANT_NO, {
      callbackUrl: 'http://127.0.0.1:9/',
      callbackActions: ['Pin_set'],
    });
    let requestId: unknown;
    await onFreshProcess({}, async () => {
      requestId = (await set(pinBody('902847'))).headers['x-request-id'];
    });
    const stored = await storedPin(platform, CARD);
    assert.deepEqual([stored?.version, await stored?.is('902847'), await stored?.is('142536')], [2, true, false]);
    const trail = (await intactChain(platform.db, CARD)).map(({ action }) => action);
    assert.deepEqual(trail, ['card_created', 'pin_set', 'pin_set']);
    const events = await platform.db.tuples<[string, string, string]>(
      'events',
      'select action, data, push_id from callback_events',
    );
    assert.deepEqual(events, [
      ['Pin_set', `{"card_no":"${CARD}","cardholder_no":"U202605220001","time":${platform.clock.now}}`, requestId],
    ]);
  });

  for (const when of ['as it is written', 'at the commit'])
    for (const [table, change] of [
      ['cards', 'update'],
      ['audit_records', 'insert'],
      ['callback_events', 'insert'],
    ]) {
      test(`rule 8: nothing is stored when ${table} fails ${when}, and a set in the same moment is not concerned`, async () => {
        await updateMerchant(operator(), MERCHANT_NO, {
          callbackUrl: 'http://127.0.0.1:9/',
          callbackActions: ['Pin_set'],
        });
        const trigger = when === 'at the commit' ? 'constraint trigger broken after' : 'trigger broken before';
        await platform.db.script(`create function break_it() returns trigger language plpgsql as $$ begin
          if new.${table === 'audit_records' ? 'subject' : 'card_no'} = '${CARD}' then raise exception 'broken'; end if; return new; end $$;
          create ${trigger} ${change} on ${table} ${when === 'at the commit' ? 'deferrable initially deferred' : ''}
          for each row execute function break_it()`);
        const card = () => platform.db.tuples('card', `select to_json(c)::text from cards c where card_no = '${CARD}'`);
        const before = await card();
        await onFreshProcess({}, async (fresh) => {
          await merchant.call('GET', `/card/${CARD}/detail`); // has its token, so that the two go together
          const [broken, other] = await Promise.all([set(pinBody('142536')), set(pinBody('142536', SECOND_CARD))]);
          assert.equal(broken.text, failure(1001), 'and nothing of the inside is told');
          const knows = (line: string) =>
            line.includes(broken.headers['x-request-id'] as string) && line.includes('broken');
          assert.ok(fresh.logLines.some(knows), 'the log knows');
          assert.equal(other.code, 0);
          assert.equal((await set(pinBody('142536'), { language: 'zh_CN' })).text, failure(1001, 'chinese'));
        });
        assert.deepEqual(await card(), before);
        assert.equal((await intactChain(platform.db, CARD)).length, 1);
        assert.deepEqual([await count(SET), await count('callback_events')], [1, 1]);
        await platform.db.script(`drop trigger broken on ${table}`);
        assert.equal((await set(pinBody('142536'))).code, 0);
        assert.equal((await storedPin(platform, CARD))?.version, 1, 'the failures have no number');
      });
    }

  test('rule 9: the same PIN twice succeeds twice, looks unlike, and has two records', async () => {
    const stored = () =>
      platform.db.tuples<[number, Buffer, Buffer]>(
        'stored',
        'select pin_version, pin_prv, pin_salt from cards where pin_version > 0',
      );
    await set(pinBody('142536'));
    const [first] = await stored();
    assert.equal((await set(pinBody('142536'))).code, 0);
    const [second] = await stored();
    assert.ok(first && second && !first[1].equals(second[1]) && !first[2].equals(second[2]));
    assert.deepEqual([first[0], second[0], await (await storedPin(platform, CARD))?.is('142536')], [1, 2, true]);
    const versions = (await intactChain(platform.db, CARD)).map(({ details }) => details.version);
    assert.deepEqual(versions, [undefined, 1, 2]);
  });

  test("rule 10: a set clears the PIN's failed tries and its block", async () => {
    await set(pinBody('142536'));
    await platform.db.script(
      'update cards set pin_failed_tries = 3, pin_last_failure_at = now(), pin_blocked_at = now() where pin_version > 0',
    );
    assert.equal((await set(pinBody('', { pin: 'x' }))).code, 4016);
    const tries = () =>
      platform.db.tuples(
        'tries',
        'select pin_failed_tries, pin_last_failure_at is null, pin_blocked_at is null from cards where pin_version > 0',
      );
    assert.deepEqual(await tries(), [[3, false, false]], 'a refused set does not');
    await set(pinBody('142536'));
    assert.deepEqual(await tries(), [[0, true, true]]);
  });
});
