import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import {
  digitsOf,
  isWeakBy,
  PIN_POLICY_NAMES,
  type PinPolicy,
  type PolicyMode,
  type PolicySettings,
} from '@pinward/contract/pin-policies';
import { explainPolicies } from '../src/commands/policy.ts';
import { updateMerchant } from '../src/merchants/update-merchant.ts';
import { deleteUnneededHistory } from '../src/pins/store.ts';
import { issuerOf, panOf } from './support/issuer.ts';
import { CARDHOLDER_NO, FIRST_CARD, MERCHANT_NO, pinBody } from './support/sandbox.ts';
import { install } from './support/server-process.ts';
import { storedPin } from './support/stored-pin.ts';
import { merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

const BORN = '1990-05-14';
const PHONE = '8613912340572';
const PAN = panOf(FIRST_CARD.cardNo);
const about = { birthDate: digitsOf(BORN.replaceAll('-', '')), phone: digitsOf(PHONE), pan: digitsOf(PAN) };

const all = Array.from({ length: 1_000_000 }, (_, n) => String(n).padStart(6, '0'));

/** Each policy's PINs, made rather than judged: by another way to the same million verdicts. */
const made: Record<Exclude<PinPolicy, 'history'>, () => Set<string>> = {
  repeats: () =>
    new Set(all.filter((pin) => /^(..)\1\1$/.test(pin) || /^(...)\1$/.test(pin) || /^(.)\1(.)\2(.)\3$/.test(pin))),
  steps() {
    const pins = new Set<string>();
    for (let first = 0; first < 10; first++)
      for (let second = 0; second < 10; second++)
        for (let step = 0; step < 10; step++) {
          pins.add([0, 1, 2, 3, 4, 5].map((i) => (first + i * step) % 10).join(''));
          pins.add([0, 1, 2].map((i) => `${(first + i * step) % 10}${(second + i * step) % 10}`).join(''));
        }
    return pins;
  },
  keypad() {
    const rows = ['123', '456', '789', ' 0 '];
    const keyAt = (x: number, y: number) => (rows[y]?.[x] ?? ' ').trim();
    const places = rows.flatMap((row, y) => [...row].flatMap((key, x) => (key === ' ' ? [] : [{ key, x, y }])));
    const pins = new Set<string>();
    const walk = (pin: string, x: number, y: number, length: number): void => {
      if (pin.length === 6) return void pins.add(pin);
      for (const [dx, dy] of [
        [length, 0],
        [-length, 0],
        [0, length],
        [0, -length],
      ] as const) {
        const key = keyAt(x + dx, y + dy);
        if (key !== '') walk(pin + key, x + dx, y + dy, length);
      }
    };
    for (const { key, x, y } of places) for (const length of [1, 2]) walk(key, x, y, length);
    const strokes: string[] = [];
    for (const { key, x, y } of places)
      for (let dx = -2; dx <= 2; dx++)
        for (let dy = -3; dy <= 3; dy++) {
          const [second, third] = [keyAt(x + dx, y + dy), keyAt(x + 2 * dx, y + 2 * dy)];
          if ((dx !== 0 || dy !== 0) && second !== '' && third !== '') strokes.push(key + second + third);
        }
    for (const first of strokes) for (const second of strokes) pins.add(first + second);
    return pins;
  },
  dates() {
    const pins = new Set<string>();
    const two = (value: number) => String(value).padStart(2, '0');
    for (let day = new Date(Date.UTC(1950, 0, 1)); day.getUTCFullYear() < 2050; day.setUTCDate(day.getUTCDate() + 1)) {
      const [y, m, d] = [two(day.getUTCFullYear() % 100), two(day.getUTCMonth() + 1), two(day.getUTCDate())];
      for (const pin of [d + m + y, m + d + y, y + m + d]) pins.add(pin);
    }
    for (let year = 1900; year < 2100; year++)
      for (let month = 1; month <= 12; month++)
        for (const pin of [`${year}${two(month)}`, `${two(month)}${year}`]) pins.add(pin);
    return pins;
  },
  'birth-date': () => new Set(all.filter((pin) => ['1990', '0514', '1405'].some((part) => pin.includes(part)))),
  phone: () => new Set(all.filter((pin) => pin.includes(PHONE.slice(-4)) || PHONE.includes(pin))),
  'pan-tail': () => new Set(all.filter((pin) => pin.includes(PAN.slice(-4)) || PAN.includes(pin))),
};

describe('of the million PINs', () => {
  const explained = explainPolicies(about);
  for (const [name, make] of Object.entries(made) as [keyof typeof made, () => Set<string>][])
    test(`${name} refuses exactly those that it is for, and policy explain counts them`, () => {
      const wanted = make();
      const judged = all.filter((pin) => isWeakBy(name, digitsOf(pin), about));
      assert.equal(judged.length, wanted.size);
      for (const pin of judged) assert.ok(wanted.has(pin), pin);
      assert.equal(explained.find((one) => one.name === name)?.refused, wanted.size);
    });

  test("the contract's rule refuses the known number of PINs in both readings", () => {
    assert.deepEqual(
      explained.slice(0, 2).map(({ refused }) => refused),
      [95_272, 102_422],
    );
  });

  test('an unknown birth date or phone refuses no PIN', () => {
    for (const name of ['birth-date', 'phone', 'pan-tail'] as const)
      assert.ok(!all.some((pin) => isWeakBy(name, digitsOf(pin), {})));
  });
});

test('policy explain prints the share of each', async (t) => {
  const { status, stdout } = await install(t).run(['policy', 'explain']);
  assert.equal(status, 0);
  assert.match(stdout, /^the rule \(arithmetic\) +always +95272 +9\.527 %/m);
  for (const name of PIN_POLICY_NAMES) assert.match(stdout, new RegExp(`^${name} +if set +`, 'm'));
});

describe('a merchant’s policy', () => {
  let platform: TestPlatform;
  before(async () => {
    platform = await startPlatform();
    const personal = { cardholder_no: CARDHOLDER_NO, birth_date: BORN, phone: PHONE };
    assert.equal((await issuerOf(platform).call('POST', '/cardholder/personal', personal)).code, 0);
  });
  after(() => platform.close());

  async function demand(pinPolicies: PolicySettings, pinHistory = 0): Promise<void> {
    const off = Object.fromEntries(PIN_POLICY_NAMES.map((name) => [name, 'off'])) as PolicySettings;
    await updateMerchant({ db: platform.db, now: Date.now }, MERCHANT_NO, {
      pinPolicies: { ...off, ...pinPolicies },
      pinHistory,
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  const set = (pin: string, headers = {}) => merchantOf(platform).call('POST', '/card/pin/set', pinBody(pin), headers);
  const isSet = async (pin: string) => (await storedPin(platform, FIRST_CARD.cardNo))?.is(pin) ?? false;
  beforeEach(() => demand({}));

  const weak: Record<Exclude<PinPolicy, 'history'>, { pin: string; reason: string }> = {
    repeats: { pin: '272727', reason: 'it repeats itself' },
    steps: { pin: '135791', reason: 'its digits follow one another in even steps' },
    keypad: { pin: '159357', reason: 'it is a shape on the keypad' },
    dates: { pin: '280276', reason: 'it is a date' },
    'birth-date': { pin: '051477', reason: "it holds the cardholder's birth date" },
    phone: { pin: '057284', reason: "it is part of the cardholder's phone number" },
    'pan-tail': { pin: '730014', reason: 'it is part of the card number' },
  };
  for (const [name, { pin, reason }] of Object.entries(weak))
    test(`${name} is off, warns in a header, or refuses with its reason`, async () => {
      for (const mode of ['off', 'warn'] as PolicyMode[]) {
        await demand({ [name]: mode });
        const { code, headers } = await set(pin);
        assert.deepEqual([code, headers['pin-warning']], [0, mode === 'warn' ? name : undefined]);
      }
      await set('902846');
      await demand({ [name]: 'refuse' });
      const refused = await set(pin);
      assert.deepEqual([refused.code, refused.msg], [4016, `PIN does not meet the requirements: ${reason}`]);
      const inChinese = await set(pin, { language: 'zh_CN' });
      assert.match(inChinese.msg, /^PIN 不符合要求：\p{Script=Han}+$/u);
      assert.ok(await isSet('902846'), 'the PIN is as it was');
      assert.equal((await set('902846')).code, 0);
      assert.ok(!platform.logLines.some((line) => line.includes(pin) || line.includes(reason)));
    });

  test("the contract's rule comes first, and its refusal gives no reason", async () => {
    await demand({ repeats: 'refuse' });
    assert.equal((await set('111111')).msg, 'PIN does not meet the requirements');
  });

  test('several policies can warn at once, and one that refuses decides', async () => {
    await demand({ repeats: 'warn', dates: 'warn' });
    assert.equal((await set('121212')).headers['pin-warning'], 'repeats, dates');
    await demand({ repeats: 'warn', dates: 'refuse' });
    assert.match((await set('121212')).msg, /a date$/);
  });

  test('history refuses as many last PINs as it is set to, under any key version', async () => {
    await demand({ history: 'refuse' }, 3);
    for (const pin of ['902846', '385017', '617204', '249058']) assert.equal((await set(pin)).code, 0);
    for (const pin of ['385017', '617204', '249058']) assert.match((await set(pin)).msg, /it was used before$/);
    assert.equal((await set('902846')).code, 0, 'the fourth last is forgotten');
    assert.match((await set('902846')).msg, /it was used before$/);
    const [row] = await platform.db.tuples<[number]>(
      'kept',
      `select count(*) from pin_history where card_no = 'C202605220001'`,
    );
    assert.equal(row?.[0], 3, 'no more is kept than is looked at');
    await demand({ history: 'off' });
    assert.equal((await set('902846')).code, 0);
  });

  test('history includes the PIN that the card had when it was switched on, and no more PINs than it is set to', async () => {
    const kept = async () =>
      (
        await platform.db.tuples<[number]>(
          'versions-kept',
          `select version from pin_history where card_no = 'C202605220001' order by 1`,
        )
      ).length;
    await platform.db.script('delete from pin_history');
    for (const pin of ['730581', '461927']) assert.equal((await set(pin)).code, 0);
    assert.equal(await kept(), 0, 'nothing is remembered that no policy asks for');
    await demand({ history: 'refuse' }, 2);
    assert.equal((await set('249058')).code, 0);
    assert.match((await set('461927')).msg, /it was used before$/);
    assert.equal(await kept(), 2);
    await demand({ history: 'refuse' }, 1);
    assert.equal((await set('385017')).code, 0);
    assert.equal(await kept(), 1, 'the one that is replaced is not among the last one');
    assert.equal((await set('461927')).code, 0);
  });

  test('history accepts one of five sets of one PIN at once, on two processes, and refuses four', async () => {
    await demand({ history: 'refuse' }, 5);
    const second = await startPlatform({}, { databaseUrl: platform.databaseUrl, clock: platform.clock });
    try {
      const merchants = [merchantOf(platform), merchantOf(second)];
      for (const { call } of merchants) await call('GET', `/card/${FIRST_CARD.cardNo}/detail`);
      for (const pin of ['730581', '617204', '385017', '249058', '902846']) {
        const answers = await Promise.all(
          [0, 1, 0, 1, 0].map((i) => merchants[i]?.call('POST', '/card/pin/set', pinBody(pin))),
        );
        assert.deepEqual(answers.map((answer) => answer?.code).sort(), [0, 4016, 4016, 4016, 4016]);
        assert.ok(await isSet(pin));
      }
      // Five different PINs at once, all of them remembered: not one of them gets through.
      const remembered = ['730581', '617204', '385017', '249058', '902846'];
      const answers = await Promise.all(
        remembered.map((pin, i) => merchants[i % 2]?.call('POST', '/card/pin/set', pinBody(pin))),
      );
      assert.deepEqual(
        answers.map((answer) => answer?.code),
        [4016, 4016, 4016, 4016, 4016],
      );
    } finally {
      await second.close();
    }
  });

  test("housekeeping deletes a merchant's history once it is switched off, and keeps that of others", async () => {
    await demand({ history: 'refuse' }, 2);
    for (const pin of ['730581', '617204']) assert.equal((await set(pin)).code, 0);
    assert.equal(await deleteUnneededHistory(platform.db), 0);
    await platform.db.script(`insert into pin_history select 2, card_no, version, prv, salt, key_version from pin_history;
      update merchants set pin_history = 3 where merchant_id = 2`);
    await demand({ history: 'off' });
    assert.equal(await deleteUnneededHistory(platform.db), 2);
    assert.equal(await deleteUnneededHistory(platform.db), 0);
    assert.deepEqual(await platform.db.tuples('left', 'select distinct merchant_id from pin_history'), [[2]]);
  });
});
