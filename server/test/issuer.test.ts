import assert from 'node:assert/strict';
import { createHash, createSecretKey, randomBytes } from 'node:crypto';
import { after, before, beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import { unwrapPersonal } from '../src/cardholders/personal.ts';
import { type KeyAlgorithm, keyCheckValue } from '../src/crypto/key-check-value.ts';
import type { PinBlockFormat } from '../src/crypto/pin-block.ts';
import { createIssuer } from '../src/issuers/create-issuer.ts';
import { disableIssuer } from '../src/issuers/disable-issuer.ts';
import { updateMerchant } from '../src/merchants/update-merchant.ts';
import { ISSUER } from '../src/sandbox/world.ts';
import { validPin } from './support/calls.ts';
import { type IssuerHost, issuerOf, panOf, pinBlock } from './support/issuer.ts';
import {
  API_KEY,
  CARDHOLDER_NO,
  FIRST_CARD,
  FROZEN_CARD,
  MERCHANT_NO,
  OTHER_MERCHANT_NO,
  OTHER_MERCHANTS_CARD,
  PROTECTION_KEY,
  pinBody,
  SECOND_CARDHOLDERS_CARD,
  ZONE_KEY,
} from './support/sandbox.ts';
import { until } from './support/server-process.ts';
import { intactChain } from './support/stored-pin.ts';
import { type Merchant, merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';
import { wrapKeyBlock } from './support/wrap-key-block.ts';

let platform: TestPlatform;
let merchant: Merchant;
let issuer: IssuerHost;
before(async () => {
  platform = await startPlatform({ TRUST_PROXY: '10.1.1.1' });
  merchant = merchantOf(platform);
  issuer = issuerOf(platform);
});
after(() => platform.close());

const CARD = FIRST_CARD.cardNo;
const KBPK = Buffer.from(ISSUER.keys[1].bytes, 'hex');
const setPin = async (pin: string) =>
  assert.equal((await merchant.call('POST', '/card/pin/set', pinBody(pin))).code, 0);
const status = async (cardNo = CARD) => (await issuer.call('GET', `/pin/${cardNo}`)).data as Record<string, unknown>;
const verifyBlock = (pin_block: string, more = {}) =>
  issuer.call('POST', '/pin/verify', { card_no: CARD, pin_block, format: 4, zone_key: ZONE_KEY, ...more });
const forgetMalformed = () =>
  platform.db.script('update cards set malformed_since = null, malformed_blocks = 0; delete from pin_block_counts');

describe('a PIN that was set', () => {
  beforeEach(() => setPin('142536'));

  test('matches; a wrong PIN costs a try, the third one blocks, and a match before that clears the count', async () => {
    assert.deepEqual((await issuer.verify('142536')).data, { result: 'match' });
    assert.deepEqual((await issuer.verify('142537')).data, { result: 'mismatch', tries_left: 2 });
    assert.deepEqual((await issuer.verify('142536')).data, { result: 'match' });
    for (const tries_left of [2, 1, 0])
      assert.deepEqual((await issuer.verify('902847')).data, { result: 'mismatch', tries_left });
    assert.deepEqual((await issuer.verify('142536')).data, { result: 'blocked' }, 'the right one too');
    assert.deepEqual(await status(), { status: 'BLOCKED', tries_left: 0, set_at: platform.clock.now, envelope: 'ecb' });
  });

  test('is unblocked by the issuer, and is still the same', async () => {
    for (let i = 0; i < 3; i++) await issuer.verify('902847');
    assert.deepEqual((await issuer.call('POST', '/pin/unblock', { card_no: CARD })).data, { result: true });
    assert.equal((await status()).status, 'OK');
    assert.deepEqual((await issuer.verify('142536')).data, { result: 'match' });
  });

  test('is unblocked with a record of what was cleared, also if a try was written meanwhile', async () => {
    const unblocked = await platform.db.transaction(async (tx) => {
      await tx.tuples(
        'hold',
        `update cards set pin_failed_tries = 3, pin_blocked_at = now() where card_no = '${CARD}'`,
      );
      const answer = issuer.call('POST', '/pin/unblock', { card_no: CARD });
      await until('it waits for the card', async () => {
        const [[waiting] = [0]] = await platform.db.tuples<[number]>(
          'waiting',
          `select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        );
        return waiting > 0;
      });
      return { answer };
    });
    assert.equal((await unblocked.answer).code, 0);
    const [[details] = ['']] = await platform.db.tuples<[string]>(
      'unblocked',
      `select details from audit_records where subject = '${CARD}' and action = 'pin_unblocked' order by seq desc limit 1`,
    );
    const { blocked, failed_tries } = JSON.parse(details);
    assert.deepEqual({ blocked, failed_tries }, { blocked: true, failed_tries: 3 });
    assert.equal((await status()).status, 'OK');
  });

  test('is unblocked by setting it again', async () => {
    for (let i = 0; i < 3; i++) await issuer.verify('902847');
    await setPin('058291');
    assert.deepEqual((await issuer.verify('058291')).data, { result: 'match' });
    assert.deepEqual((await issuer.verify('142536')).data, { result: 'mismatch', tries_left: 2 });
  });

  test('is found by the PAN as by the card number', async () => {
    const body = { pin_block: pinBlock('142536'), format: 4, zone_key: ZONE_KEY };
    assert.deepEqual((await issuer.call('POST', '/pin/verify', { ...body, pan: panOf(CARD) })).data, {
      result: 'match',
    });
    assert.equal((await issuer.call('POST', '/pin/verify', { ...body, pan: '9999990000099999' })).code, 4001);
    for (const both of [{}, { pan: panOf(CARD), card_no: CARD }])
      assert.equal((await issuer.call('POST', '/pin/verify', { ...body, ...both })).msg, 'card_no invalid parameter');
  });

  test('of another length never matches', async () => {
    for (const pin of ['1425', '14253', '1425361', '142536142536']) {
      await issuer.call('POST', '/pin/unblock', { card_no: CARD });
      assert.equal(((await issuer.verify(pin)).data as { result: string }).result, 'mismatch');
    }
  });

  test('is audited at every try, with the result and the tries left, and the chain stays unbroken', async () => {
    const start = (await intactChain(platform.db, CARD)).length;
    await issuer.verify('902847');
    await issuer.verify('142536');
    await verifyBlock('00'.repeat(16));
    await issuer.call('POST', '/pin/unblock', { card_no: CARD });
    const records = (await intactChain(platform.db, CARD)).slice(start);
    assert.deepEqual(
      records.map(({ action, details }) => [action, details.result, details.tries_left, details.issuer]),
      [
        ['pin_verified', 'mismatch', 2, ISSUER.issuerNo],
        ['pin_verified', 'match', 3, ISSUER.issuerNo],
        ['pin_verified', 'malformed', undefined, ISSUER.issuerNo],
        ['pin_unblocked', undefined, undefined, ISSUER.issuerNo],
      ],
    );
    await forgetMalformed();
  });
});

describe('parallel guesses', () => {
  test('never get more answers than there are tries: of 200 at once on two processes three are answered', async () => {
    const second = await startPlatform({}, { databaseUrl: platform.databaseUrl, clock: platform.clock });
    try {
      await setPin('142536');
      const hosts = [issuer, issuerOf(second)];
      const answers = await Promise.all(
        Array.from({ length: 200 }, (_, i) => (hosts[i % 2] as IssuerHost).verify(validPin(500 + i))),
      );
      const told = answers.map(({ data }) => data as { result: string; tries_left?: number });
      assert.deepEqual(
        told
          .filter(({ result }) => result === 'mismatch')
          .map((one) => one.tries_left)
          .sort(),
        [0, 1, 2],
      );
      assert.equal(told.filter(({ result }) => result === 'blocked').length, 197);
      await intactChain(platform.db, CARD);
    } finally {
      await second.close();
    }
  });

  test('that include the right PIN find it within the tries or not at all', async () => {
    for (let round = 0; round < 5; round++) {
      await setPin('142536');
      const pins = Array.from({ length: 40 }, (_, i) => (i === 20 ? '142536' : validPin(600 + i)));
      const told = (await Promise.all(pins.map((pin) => issuer.verify(pin)))).map(
        ({ data }) => (data as { result: string }).result,
      );
      const mismatches = told.filter((result) => result === 'mismatch').length;
      const matched = told[20] === 'match';
      // A match clears the count, so that three more may follow it; never more before it than would
      // have blocked.
      assert.ok(mismatches >= 3 && mismatches <= (matched ? 5 : 3), `${mismatches} told, ${matched}`);
    }
  });

  test('and a set at the same time leave the block or the new PIN, and an unbroken chain', async () => {
    await setPin('142536');
    await Promise.all([...Array.from({ length: 30 }, (_, i) => issuer.verify(validPin(700 + i))), setPin('058291')]);
    assert.ok(['OK', 'BLOCKED'].includes((await status()).status as string));
    await intactChain(platform.db, CARD);
  });
});

describe('a malformed block', () => {
  beforeEach(async () => {
    await setPin('142536');
    await forgetMalformed();
  });

  const good = () => pinBlock('142536');
  const malformed: [what: string, block: () => string][] = [
    ['of zeros', () => '00'.repeat(16)],
    ['too short', () => good().slice(0, 30)],
    ['too long', () => `${good()}00`],
    ['of one byte', () => '00'],
    ['over another PAN', () => pinBlock('142536', SECOND_CARDHOLDERS_CARD.cardNo)],
    [
      'under another key',
      () => pinBlock('142536', CARD, { algorithm: 'AES-256', key: createSecretKey(Buffer.alloc(32, 7)) }),
    ],
    ['with a bit turned', () => good().replace(/.$/, (digit) => (Number.parseInt(digit, 16) ^ 1).toString(16))],
  ];
  for (const [what, block] of malformed)
    test(`${what} is malformed, and costs no try`, async () => {
      assert.deepEqual((await verifyBlock(block())).data, { result: 'malformed' });
      assert.equal((await status()).tries_left, 3);
    });

  test('is reported ten times an hour on one card; then any block answers 1009 until the hour is over', async () => {
    for (let i = 0; i < 10; i++) assert.deepEqual((await verifyBlock('00'.repeat(16))).data, { result: 'malformed' });
    for (const block of ['00'.repeat(16), good()]) {
      const answer = await verifyBlock(block);
      assert.deepEqual([answer.code, answer.msg], [1009, 'card Operation too frequent, please try again later']);
      assert.ok(Number(answer.headers['retry-after']) > 3500);
    }
    platform.clock.now += 3_600_001;
    assert.deepEqual((await verifyBlock(good())).data, { result: 'match' });
  });

  test('sent fifty times at once is reported at most ten times', async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, () => verifyBlock('00'.repeat(16))));
    assert.equal(answers.filter(({ code }) => code === 0).length, 10);
    assert.equal(answers.filter(({ code }) => code === 1009).length, 40);
    await intactChain(platform.db, CARD);
  });

  test('whatever its bytes are, is malformed or a mismatch and never a fault', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 32 }), async (bytes) => {
        await forgetMalformed();
        const { code, data } = await verifyBlock(Buffer.from(bytes).toString('hex'));
        assert.equal(code, 0);
        assert.ok(['malformed', 'mismatch', 'blocked'].includes((data as { result: string }).result));
      }),
      { numRuns: 40 },
    );
  });

  for (const pin_block of ['', 'zz', '0', '00'.repeat(33), 17, null])
    test(`${JSON.stringify(pin_block)} is no hex of a block: 1004`, async () => {
      assert.equal((await verifyBlock(pin_block as string)).msg, 'pin_block invalid parameter');
    });
});

describe('verifying is refused', () => {
  test("on a card that is not activated (4005), and on another issuer's card as on a missing one (4001)", async () => {
    assert.equal((await issuer.verify('142536', FROZEN_CARD.cardNo)).code, 4005);
    const { secret } = await createIssuer(
      { db: platform.db, now: Date.now },
      { name: 'Elsewhere', merchants: [OTHER_MERCHANT_NO], ipAllowlist: ['127.0.0.1'] },
    );
    const other = issuerOf(platform, secret.expose());
    const foreign = await other.call('POST', '/pin/unblock', { card_no: CARD });
    const none = await other.call('POST', '/pin/unblock', { card_no: 'C000000000000' });
    assert.deepEqual([foreign.code, foreign.text], [4001, none.text]);
    assert.equal(
      (await other.call('GET', '/pin/C202605220006')).code,
      4001,
      "its merchant's, but of another issuer's BIN",
    );
    await platform.db.script(`update cards set card_bin_no = null where card_no = 'C202605220006'`);
    assert.equal((await other.call('GET', '/pin/C202605220006')).code, 0);
    assert.equal((await other.call('GET', `/pin/${CARD}`)).code, 4001);
    const ownCard = { card_no: OTHER_MERCHANTS_CARD.cardNo, pin_block: '00'.repeat(16), format: 4, zone_key: ZONE_KEY };
    assert.equal(
      (await other.call('POST', '/pin/verify', ownCard)).code,
      5002,
      "another issuer's zone key is as good as none",
    );
  });

  test('without a PIN, with a result that says so, and unblocking answers 4018', async () => {
    assert.deepEqual((await issuer.verify('142536', SECOND_CARDHOLDERS_CARD.cardNo)).data, { result: 'not_set' });
    assert.deepEqual(await status(SECOND_CARDHOLDERS_CARD.cardNo), { status: 'NOT_SET' });
    assert.equal((await issuer.call('POST', '/pin/unblock', { card_no: SECOND_CARDHOLDERS_CARD.cardNo })).code, 4018);
  });

  test('in a format that does not fit the zone key: 1004', async () => {
    for (const format of [0, 1, 3])
      assert.equal((await verifyBlock('00'.repeat(8), { format })).msg, 'format invalid parameter');
    for (const format of [2, 5, '4']) assert.equal((await verifyBlock('00'.repeat(16), { format })).code, 1004);
  });
});

describe('the gate of the issuer', () => {
  test('answers 5001 to a caller without a secret, with a wrong one, or with a disabled one', async () => {
    const { issuerNo, secret } = await createIssuer(
      { db: platform.db, now: Date.now },
      { name: 'Short-lived', merchants: [MERCHANT_NO], ipAllowlist: ['127.0.0.0/8'] },
    );
    const ended = issuerOf(platform, secret.expose());
    assert.equal((await ended.call('GET', '/zone-keys')).code, 0);
    await disableIssuer({ db: platform.db, now: Date.now }, issuerNo);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const answers = [
      await ended.call('GET', `/pin/${CARD}`),
      await issuer.call('GET', `/pin/${CARD}`, undefined, { authorization: undefined }),
      await issuer.call('GET', `/pin/${CARD}`, undefined, { authorization: 'Bearer nobody' }),
      await issuer.call('GET', `/pin/${CARD}`, undefined, { authorization: `Basic ${ISSUER.secret}` }),
      await issuer.call('GET', `/pin/${CARD}`, undefined, { authorization: undefined, 'api-key': API_KEY }),
    ];
    for (const { code, text } of answers) assert.deepEqual([code, text], [5001, answers[0]?.text]);
  });

  test("refuses addresses that are not allowed, and an issuer in a merchant's calls", async () => {
    const answer = await platform.app.inject({
      url: `/issuer/v1/pin/${CARD}`,
      headers: { authorization: `Bearer ${ISSUER.secret}` },
      remoteAddress: '192.0.2.1',
    });
    assert.equal(answer.json<{ code: number }>().code, 1003);
    const into = await platform.app.inject({
      url: `/open-api/v1/card/${CARD}/detail`,
      headers: { authorization: `Bearer ${ISSUER.secret}` },
    });
    assert.equal(into.json<{ code: number }>().code, 1002);
  });

  test('requires the client certificate if the credential demands it, and trusts only the proxy to report it', async () => {
    const der = randomBytes(300);
    const { secret } = await createIssuer(
      { db: platform.db, now: Date.now },
      {
        name: 'With certificate',
        merchants: [MERCHANT_NO],
        ipAllowlist: ['203.0.113.7'],
        clientCert: createHash('sha256').update(der).digest('hex'),
      },
    );
    const ask = async (remoteAddress: string, cert?: Buffer) => {
      const headers = {
        authorization: `Bearer ${secret.expose()}`,
        'x-forwarded-for': '203.0.113.7',
        ...(cert && { 'client-cert': `:${cert.toString('base64')}:` }),
      };
      return (await platform.app.inject({ url: '/issuer/v1/zone-keys', headers, remoteAddress })).json<{
        code: number;
      }>().code;
    };
    assert.equal(await ask('10.1.1.1', der), 0);
    assert.equal(await ask('10.1.1.1', randomBytes(300)), 5001);
    assert.equal(await ask('10.1.1.1'), 5001);
    assert.equal(await ask('203.0.113.7', der), 5001, 'who calls without the proxy may say what he likes');
  });
});

describe('zone keys', () => {
  const header = {
    version: 'D',
    usage: 'P0',
    algorithm: 'A',
    modeOfUse: 'D',
    keyVersion: '00',
    exportability: 'N',
    optionalBlocks: [],
  } as const;
  const importKey = (label: string, key_block: string, kbpk = PROTECTION_KEY) =>
    issuer.call('POST', '/zone-keys', { label, kbpk, key_block });
  let number = 0;
  const newLabel = () => `zone-${number++}`;

  for (const [algorithm, letter, format] of [
    ['AES-128', 'A', 4],
    ['AES-192', 'A', 4],
    ['AES-256', 'A', 4],
    ['TDES-2', 'T', 0],
    ['TDES-2', 'T', 1],
    ['TDES-3', 'T', 3],
  ] as [KeyAlgorithm, string, PinBlockFormat][])
    test(`of ${algorithm} come in a key block, and PIN blocks of format ${format} under them are verified`, async () => {
      await setPin('142536');
      await forgetMalformed();
      const key = randomBytes(
        { 'AES-128': 16, 'AES-192': 24, 'AES-256': 32, 'TDES-2': 16, 'TDES-3': 24, 'HMAC-SHA-256': 32 }[algorithm],
      );
      const label = newLabel();
      const data = (
        await importKey(label, wrapKeyBlock(KBPK, { ...header, optionalBlocks: [], algorithm: letter }, key, 32))
      ).data as {
        kcv: string;
      };
      assert.deepEqual(data, { label, algorithm, kcv: keyCheckValue(algorithm, key) });
      const block = pinBlock('142536', CARD, { algorithm, key: createSecretKey(key) }, format);
      assert.deepEqual((await verifyBlock(block, { format, zone_key: label })).data, { result: 'match' });
      const { data: list } = await issuer.call('GET', '/zone-keys');
      assert.ok(
        (list as { list: { label: string; kcv: string }[] }).list.some(
          (one) => one.label === label && one.kcv === data.kcv,
        ),
      );
    });

  const refused: [what: string, block: () => string][] = [
    ['for another use', () => wrapKeyBlock(KBPK, { ...header, optionalBlocks: [], usage: 'B0' }, randomBytes(32))],
    [
      'that may only encipher',
      () => wrapKeyBlock(KBPK, { ...header, optionalBlocks: [], modeOfUse: 'E' }, randomBytes(32)),
    ],
    [
      'of another algorithm',
      () => wrapKeyBlock(KBPK, { ...header, optionalBlocks: [], algorithm: 'H' }, randomBytes(32)),
    ],
    ['of a length that AES has not', () => wrapKeyBlock(KBPK, { ...header, optionalBlocks: [] }, randomBytes(20))],
    [
      'of a length that TDES has not',
      () => wrapKeyBlock(KBPK, { ...header, optionalBlocks: [], algorithm: 'T' }, randomBytes(8)),
    ],
    [
      'under another protection key',
      () => wrapKeyBlock(randomBytes(32), { ...header, optionalBlocks: [] }, randomBytes(32)),
    ],
    [
      'of version B under an AES key',
      () =>
        wrapKeyBlock(randomBytes(24), { ...header, optionalBlocks: [], version: 'B', algorithm: 'T' }, randomBytes(16)),
    ],
    ['of version A', () => `A${wrapKeyBlock(KBPK, { ...header, optionalBlocks: [] }, randomBytes(32)).slice(1)}`],
    ['that is none', () => 'D0016P0AD00N0000'],
    ['cut short', () => wrapKeyBlock(KBPK, { ...header, optionalBlocks: [] }, randomBytes(32)).slice(0, -2)],
    [
      'with a letter changed',
      () => wrapKeyBlock(KBPK, { ...header, optionalBlocks: [] }, randomBytes(32)).replace('P0AD', 'P0AN'),
    ],
  ];
  for (const [what, block] of refused)
    test(`in a block ${what} are refused, with one and the same answer`, async () => {
      const { code, msg } = await importKey(newLabel(), block());
      assert.deepEqual([code, msg], [5003, 'Key block is not acceptable']);
    });

  test('keep their label for ever: a label that is or was in use is refused', async () => {
    const label = newLabel();
    const block = () => wrapKeyBlock(KBPK, { ...header, optionalBlocks: [] }, randomBytes(32));
    assert.equal((await importKey(label, block())).code, 0);
    assert.equal((await importKey(label, block())).code, 5004);
    assert.equal((await issuer.call('DELETE', `/zone-keys/${label}`)).code, 0);
    assert.equal((await importKey(label, block())).code, 5004);
    for (const type of [
      undefined,
      '',
      'application/json',
      'application/x-www-form-urlencoded',
      'text/plain; charset=gbk',
    ])
      assert.equal(
        (await issuer.call('DELETE', `/zone-keys/${label}`, undefined, { 'content-type': type })).code,
        5002,
      );
    assert.equal((await importKey(newLabel(), block(), 'no_such_kbpk')).code, 5002);
  });

  test('that are unknown, destroyed, or a protection key verify nothing, at once and on every process', async () => {
    await setPin('142536');
    const key = randomBytes(32);
    const label = newLabel();
    await importKey(label, wrapKeyBlock(KBPK, { ...header, optionalBlocks: [] }, key));
    const block = pinBlock('142536', CARD, { algorithm: 'AES-256', key: createSecretKey(key) });
    assert.deepEqual((await verifyBlock(block, { zone_key: label })).data, { result: 'match' });
    await issuer.call('DELETE', `/zone-keys/${label}`);
    assert.equal((await verifyBlock(block, { zone_key: label })).code, 5002);
    assert.equal((await verifyBlock(block, { zone_key: 'no_such_key' })).code, 5002);
    assert.equal((await verifyBlock(block, { zone_key: PROTECTION_KEY })).code, 5002);
  });
});

test('the merchant gets events of a block and its end, if they are set for it', async () => {
  await updateMerchant({ db: platform.db, now: Date.now }, MERCHANT_NO, {
    callbackUrl: 'http://127.0.0.1:9/',
    callbackActions: ['Pin_blocked', 'Pin_unblocked'],
  });
  await setPin('142536');
  for (let i = 0; i < 3; i++) await issuer.verify('902847');
  await issuer.call('POST', '/pin/unblock', { card_no: CARD });
  const events = await platform.db.tuples<[string, string]>(
    'events',
    'select action, data from callback_events order by event_id',
  );
  const data = { card_no: CARD, cardholder_no: CARDHOLDER_NO, time: platform.clock.now };
  assert.deepEqual(
    events.map(([action, text]) => [action, JSON.parse(text)]),
    [
      ['Pin_blocked', data],
      ['Pin_unblocked', data],
    ],
  );
});

test('birth date and phone are kept wrapped, replaced whole, and belong to cardholders of the issuer’s merchants', async () => {
  const supply = (body: object) =>
    issuer.call('POST', '/cardholder/personal', { cardholder_no: CARDHOLDER_NO, ...body });
  assert.equal((await supply({ birth_date: '1990-05-14', phone: '8613800138000' })).code, 0);
  const [row] = await platform.db.tuples<[Buffer]>(
    'personal',
    `select personal_wrapped from cardholders where cardholder_no = 'U202605220001'`,
  );
  assert.ok(row?.[0] && !row[0].includes('13800138000') && !row[0].includes('1990'));
  assert.equal((await supply({ birth_date: '1990-02-30' })).msg, 'birth_date invalid parameter');
  assert.equal((await supply({ phone: '+86138' })).msg, 'phone invalid parameter');
  assert.equal((await supply({ phone: '+86 (138) 0013-80.00' })).code, 0);
  const [spelled] = await platform.db.query<{ wrapped: Buffer }>(
    'spelled',
    `select personal_wrapped as wrapped from cardholders where cardholder_no = 'U202605220001'`,
  );
  const { phone } = unwrapPersonal(platform.keys, CARDHOLDER_NO, spelled?.wrapped as Buffer);
  assert.equal(phone, '8613800138000', 'its digits alone');
  assert.equal((await supply({ cardholder_no: 'U000000000000', phone: '8613800138000' })).code, 2002);
  assert.equal((await supply({})).code, 0);
  const [none] = await platform.db.tuples<[Buffer | null]>(
    'personal',
    `select personal_wrapped from cardholders where cardholder_no = 'U202605220001'`,
  );
  assert.equal(none?.[0], null);
});
