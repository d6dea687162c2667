import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { createRateLimit } from '../src/rate-limit.ts';
import { send } from './support/requests.ts';
import {
  API_KEY,
  DISABLED_API_KEY,
  ELSEWHERE_API_KEY,
  EXPIRED_API_KEY,
  FIRST_CARD,
  FROZEN_CARD,
  OTHER_API_KEY,
  OTHER_MERCHANTS_CARD,
  pinBody,
  SECOND_CARDHOLDER_NO,
  SECOND_CARDHOLDERS_CARD,
  SUSPENDED_API_KEY,
  wireNamesOf,
} from './support/sandbox.ts';
import { type Headers, merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

const NOW = 1_780_000_000_000;
const DETAIL = `/card/${FIRST_CARD.cardNo}/detail`;

describe('a limit', () => {
  test('allows its number at once, and then one per interval', () => {
    const limit = createRateLimit(6);
    const takes = Array.from({ length: 8 }, () => limit.take('a', NOW));
    assert.deepEqual(takes, [0, 0, 0, 0, 0, 0, 10, 10]);
    assert.equal(limit.take('a', NOW + 9_999), 1);
    assert.equal(limit.take('a', NOW + 10_000), 0);
    assert.equal(limit.take('a', NOW + 10_000), 10);
    assert.equal(limit.take('b', NOW), 0, 'another key has its own count');
  });

  test('lets exactly its number through at once, be it small or large', () => {
    for (const perMinute of [1, 2, 7, 60, 106, 700, 999, 7_000, 59_999, 600_000]) {
      const limit = createRateLimit(perMinute);
      let passed = 0;
      while (passed <= perMinute && limit.take('a', NOW) === 0) passed++;
      assert.equal(passed, perMinute);
    }
  });

  test('asks for a wait of at most a minute, even after the clock is put back', () => {
    const limit = createRateLimit(2);
    for (let i = 0; i < 3; i++) limit.take('a', NOW);
    assert.ok(limit.waitSeconds('a', NOW - 3_600_000) <= 60);
    assert.equal(limit.take('a', NOW - 3_600_000 + 60_000), 0);
  });

  test('gives a wait that is long enough and not too long, after any calls', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 700 }),
        fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 200 }),
        (perMinute, gaps) => {
          const limit = createRateLimit(perMinute);
          let now = NOW;
          let passed = 0;
          for (const gap of gaps) {
            now += gap;
            if (limit.take('a', now) === 0) passed++;
          }
          assert.ok(passed <= perMinute + ((now - NOW) * perMinute) / 60_000 + 1);
          const wait = limit.waitSeconds('a', now);
          if (wait > 1) assert.notEqual(limit.waitSeconds('a', now + (wait - 1) * 1000 - 1), 0);
          assert.equal(limit.take('a', now + wait * 1000), 0);
        },
      ),
    );
  });

  test('forgets the oldest keys, so it does not grow without limit', () => {
    const limit = createRateLimit(1);
    for (let i = 0; i < 250_000; i++) limit.take(`k${i}`, NOW);
    assert.equal(limit.take('k249999', NOW), 60);
    assert.equal(limit.take('k0', NOW), 0);
  });
});

async function withPlatform(
  env: Record<string, string>,
  work: (platform: TestPlatform) => Promise<void>,
): Promise<void> {
  const platform = await startPlatform(env);
  try {
    await work(platform);
  } finally {
    await platform.close();
  }
}

test('after too many failed authentications an address gets 1009 for each further one, and is let in with a correct key', () =>
  withPlatform({ LIMIT_FAILED_AUTH_PER_MINUTE: '3' }, async (platform) => {
    const from = (address: string, apiKey: string) => {
      const headers = { 'api-key': apiKey, timestamp: String(platform.clock.now) };
      return send(platform, { path: '/open-api/v1/merchant/token', headers, from: address });
    };
    for (let i = 0; i < 3; i++) assert.equal((await from('127.0.0.5', 'nobodys_api_key')).code, 1008);
    for (const apiKey of ['nobodys_api_key', '', DISABLED_API_KEY, ELSEWHERE_API_KEY]) {
      const refused = await from('127.0.0.5', apiKey);
      assert.deepEqual([refused.code, refused.headers['retry-after']], [1009, '20'], apiKey);
    }
    assert.equal((await from('127.0.0.5', API_KEY)).code, 0, 'a neighbour behind the same address');
    assert.equal((await from('127.0.0.6', 'nobodys_api_key')).code, 1008, 'another address');
    assert.equal((await from('::ffff:127.0.0.5', 'nobodys_api_key')).code, 1009, 'the address in another notation');
    platform.clock.now += 20_000;
    assert.equal((await from('127.0.0.5', 'nobodys_api_key')).code, 1008);

    for (let i = 0; i < 3; i++) await from(`2001:db8:1:2::${i}`, 'nobodys_api_key');
    assert.equal(
      (await from('2001:db8:1:2:ffff::9', 'nobodys_api_key')).code,
      1009,
      'a whole /64 counts as one address',
    );
    assert.equal((await from('2001:db8:1:3::9', 'nobodys_api_key')).code, 1008);
  }));

test('every refusal of the gate counts as a failed authentication, and no other refusal does', () =>
  withPlatform({ LIMIT_FAILED_AUTH_PER_MINUTE: '8' }, async (platform) => {
    const merchant = merchantOf(platform);
    const call = async (path: string, headers: Headers = {}) =>
      (await merchant.call('GET', path, undefined, headers)).code;
    for (let i = 0; i < 10; i++) assert.equal(await call('/card/C000000000000/detail'), 4001);
    for (let i = 0; i < 10; i++) assert.equal(await call('/card/%20/detail'), 1004);
    const codes: number[] = [];
    const failures: Headers[] = [
      { 'api-key': undefined },
      ...['nobodys_api_key', DISABLED_API_KEY, EXPIRED_API_KEY, SUSPENDED_API_KEY, ELSEWHERE_API_KEY].map((apiKey) => ({
        'api-key': apiKey,
      })),
      { timestamp: '0' },
      { 'access-token': 'x' },
      { timestamp: '0' },
    ];
    for (const headers of failures) codes.push(await call(DETAIL, headers));
    assert.deepEqual(codes, [1002, 1008, 1010, 1011, 1022, 1003, 1005, 1007, 1009]);
  }));

test('behind a trusted proxy, a failed authentication counts against the caller and not the proxy', () =>
  withPlatform({ LIMIT_FAILED_AUTH_PER_MINUTE: '3', TRUST_PROXY: '10.0.0.1' }, async (platform) => {
    const via = async (forwarded: string, apiKey: string) => {
      const headers = { 'api-key': apiKey, timestamp: String(platform.clock.now), 'x-forwarded-for': forwarded };
      return (await send(platform, { path: '/open-api/v1/merchant/token', headers, from: '10.0.0.1' })).code;
    };
    for (let i = 0; i < 3; i++) assert.equal(await via(`192.0.2.${i}, 127.0.0.5`, 'nobodys_api_key'), 1008);
    for (const port of [1, 2, 3]) assert.equal(await via(`127.0.0.5:${port}`, 'nobodys_api_key'), 1009);
    assert.equal(await via('127.0.0.5', API_KEY), 0);
    assert.equal(await via('127.0.0.6', 'nobodys_api_key'), 1008);
  }));

test('no more guesses of an Api-Key than the limit get 1008, of 30 at once from one address', () =>
  withPlatform({ LIMIT_FAILED_AUTH_PER_MINUTE: '3' }, async (platform) => {
    const guess = (_: unknown, number: number) => {
      const headers = { 'api-key': `guess-${number}`, timestamp: String(platform.clock.now) };
      return send(platform, { path: '/open-api/v1/merchant/token', headers });
    };
    const codes = (await Promise.all(Array.from({ length: 30 }, guess))).map(({ code }) => code);
    assert.deepEqual(
      [1008, 1009].map((code) => codes.filter((one) => one === code).length),
      [3, 27],
    );
  }));

test('a credential with too many calls answers 1009, and 1007 comes first', () =>
  withPlatform({ LIMIT_CALLS_PER_CREDENTIAL_PER_MINUTE: '4' }, async (platform) => {
    const merchant = merchantOf(platform); // its token is the first of the four
    for (let i = 0; i < 3; i++) assert.equal((await merchant.call('GET', DETAIL)).code, 0);
    const refused = await merchant.call('GET', DETAIL);
    assert.deepEqual([refused.code, refused.headers['retry-after']], [1009, '15']);
    assert.equal((await merchant.call('GET', DETAIL, undefined, { 'access-token': 'x' })).code, 1007);
    assert.equal(
      (await merchantOf(platform, OTHER_API_KEY).call('GET', `/card/${OTHER_MERCHANTS_CARD.cardNo}/detail`)).code,
      0,
    );
  }));

test('a card with too many PIN sets answers 1009, after 4005 and before 4016; only calls of its merchant count', () =>
  withPlatform({ LIMIT_PIN_SETS_PER_CARD_PER_MINUTE: '2' }, async (platform) => {
    const merchant = merchantOf(platform);
    const set = (body: object) => merchant.call('POST', '/card/pin/set', body);
    const stranger = merchantOf(platform, OTHER_API_KEY);
    for (let i = 0; i < 5; i++)
      assert.equal((await stranger.call('POST', '/card/pin/set', pinBody('142536'))).code, 4001);
    for (let i = 0; i < 5; i++)
      assert.equal((await set(pinBody('142536', { cardholder_no: SECOND_CARDHOLDER_NO }))).code, 4001);
    for (let i = 0; i < 5; i++) assert.equal((await set(pinBody('142536', wireNamesOf(FROZEN_CARD)))).code, 4005);

    assert.equal((await set(pinBody('111111'))).code, 4016, 'a refused PIN counts');
    assert.equal((await set(pinBody('142536'))).code, 0);
    const refused = await set(pinBody('111111'));
    assert.deepEqual([refused.code, refused.headers['retry-after']], [1009, '30']);
    const other = wireNamesOf(SECOND_CARDHOLDERS_CARD);
    assert.equal((await set(pinBody('142536', other))).code, 0, 'another card has its own count');
    platform.clock.now += 30_000;
    assert.equal((await set(pinBody('142536'))).code, 0);
  }));
