import assert from 'node:assert/strict';
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  generateKeyPairSync,
  randomUUID,
} from 'node:crypto';
import { after, before, beforeEach, describe, mock, test } from 'node:test';
import type { PinEnvelope } from '@pinward/contract/pin-envelope';
import fc from 'fast-check';
import type { JWK } from 'jose';
import { openJwe } from '../src/crypto/jwe-envelope.ts';
import { setEnvelopes } from '../src/merchants/set-envelopes.ts';
import { boundKey } from '../src/pins/pin-envelope.ts';
import { validPin } from './support/calls.ts';
import { sealBound, sealJwe } from './support/envelopes.ts';
import {
  API_KEY,
  CARDHOLDER_NO,
  FIRST_CARD,
  pinBody,
  SANDBOX_SECRET,
  SECOND_CARDHOLDER_NO,
  SECOND_CARDHOLDERS_CARD,
  seal,
  VIRTUAL_CARD,
} from './support/sandbox.ts';
import { intactChain, storedPin } from './support/stored-pin.ts';
import { type Headers, type Merchant, merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

let platform: TestPlatform;
let merchant: Merchant;
let jwk: JWK;
before(async () => {
  platform = await startPlatform();
  merchant = merchantOf(platform);
  [jwk] = (await platform.app.inject('/.well-known/jwks.json')).json<{ keys: [JWK] }>().keys;
});
after(() => platform.close());

const set = (pin: string, headers: Headers = {}, more = {}) =>
  merchant.call('POST', '/card/pin/set', pinBody('142536', { pin, ...more }), headers);
const stamp = () => String(platform.clock.now);
const seconds = () => Math.floor(platform.clock.now / 1000);
const claims = (pin: string, more = {}) => ({
  pin,
  card_no: FIRST_CARD.cardNo,
  iat: seconds(),
  jti: randomUUID(),
  ...more,
});
/** The tag has 16 bytes, so four bits of its last letter count for nothing. */
const withStrayBits = (compact: string) =>
  compact.slice(0, -1) + String.fromCharCode((compact.at(-1) as string).charCodeAt(0) + 1);
const isSet = async (pin: string) => (await storedPin(platform, FIRST_CARD.cardNo))?.is(pin) ?? false;

async function demand(envelope: PinEnvelope, minimum: PinEnvelope): Promise<void> {
  await setEnvelopes({ db: platform.db, now: Date.now }, API_KEY, { envelope, minimum });
  await new Promise((resolve) => setTimeout(resolve, 300)); // every process asks five times a second
}

describe('bound:', () => {
  const bound = { 'pin-envelope': 'bound' };

  test('sets the PIN, in the same 24 characters, and the audit record names the envelope', async () => {
    const sealed = sealBound('902847', stamp());
    assert.equal(sealed.length, 24);
    assert.equal((await set(sealed, bound)).code, 0);
    assert.ok(await isSet('902847'));
    assert.equal((await intactChain(platform.db, FIRST_CARD.cardNo)).at(-1)?.details.envelope, 'bound');
  });

  test('a captured value is worth nothing on another card, for another cardholder, with another Timestamp, or as ecb', async () => {
    const sealed = sealBound('142536', stamp());
    assert.equal(
      (await set(sealBound('142536', stamp(), { cardNo: SECOND_CARDHOLDERS_CARD.cardNo }), bound)).code,
      4016,
    );
    assert.equal((await set(sealBound('142536', stamp(), { cardholderNo: SECOND_CARDHOLDER_NO }), bound)).code, 4016);
    platform.clock.now += 1;
    assert.equal((await set(sealed, bound)).code, 4016);
    assert.equal((await set(sealed, { timestamp: String(platform.clock.now - 1) })).code, 4016);
    assert.equal((await set(seal('142536'), bound)).code, 4016);
    assert.ok(await isSet('902847'));
  });
});

describe('jwe:', () => {
  const jwe = { 'pin-envelope': 'jwe' };

  test('the published key is a P-256 key for encryption, under its thumbprint, and nothing of it is private', () => {
    assert.deepEqual(Object.keys(jwk).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']);
    assert.deepEqual([jwk.kty, jwk.crv, jwk.use, jwk.alg], ['EC', 'P-256', 'enc', 'ECDH-ES+A256KW']);
    const { crv, kty, x, y } = jwk;
    assert.equal(jwk.kid, createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url'));
  });

  test('sets the PIN, once', async () => {
    const sealed = await sealJwe(jwk, claims('058291'));
    assert.equal((await set(sealed, jwe)).code, 0);
    assert.ok(await isSet('058291'));
    assert.equal((await set(sealed, jwe)).code, 4016, 'its jti is used up');
    assert.equal((await set(await sealJwe(jwk, claims('058291')), jwe)).code, 0, 'sealed anew it works');
  });

  test('of a hundred sets with one jti at once, on two processes, one works', async () => {
    const second = await startPlatform({}, { databaseUrl: platform.databaseUrl, clock: platform.clock });
    try {
      const other = merchantOf(second);
      const one = claims('385016');
      const sealed = await Promise.all(Array.from({ length: 100 }, () => sealJwe(jwk, one)));
      const start = (await storedPin(platform, FIRST_CARD.cardNo))?.version as number;
      const answers = await Promise.all(
        sealed.map((pin, i) =>
          (i % 2 === 0 ? merchant : other).call('POST', '/card/pin/set', pinBody('142536', { pin }), jwe),
        ),
      );
      assert.equal(answers.filter(({ code }) => code === 0).length, 1);
      assert.equal(answers.filter(({ code }) => code === 4016).length, 99);
      assert.equal((await storedPin(platform, FIRST_CARD.cardNo))?.version, start + 1);
      await intactChain(platform.db, FIRST_CARD.cardNo);
    } finally {
      await second.close();
    }
  });

  test('a set that is refused leaves its jti unused', async () => {
    const sealed = await sealJwe(jwk, claims('385016'));
    const status = (to: string) =>
      merchant.call('POST', '/card/status/update', { card_no: FIRST_CARD.cardNo, status: to });
    await status('Frozen');
    assert.equal((await set(sealed, jwe)).code, 4005);
    await status('Activated');
    assert.equal((await set(sealed, jwe)).code, 0);
  });

  const faults: [what: string, seal: () => Promise<string>][] = [
    ['for another card', () => sealJwe(jwk, claims('142536', { card_no: SECOND_CARDHOLDERS_CARD.cardNo }))],
    ['for no card', () => sealJwe(jwk, claims('142536', { card_no: undefined }))],
    ['ten minutes and a second old', () => sealJwe(jwk, claims('142536', { iat: seconds() - 601 }))],
    ['more than a minute ahead', () => sealJwe(jwk, claims('142536', { iat: seconds() + 62 }))],
    ['without iat', () => sealJwe(jwk, claims('142536', { iat: undefined }))],
    ['with an iat in words', () => sealJwe(jwk, claims('142536', { iat: String(seconds()) }))],
    ['without jti', () => sealJwe(jwk, claims('142536', { jti: undefined }))],
    ['with a jti that could be anything', () => sealJwe(jwk, claims('142536', { jti: `a'b,"c"{NULL}` }))],
    ['with five digits', () => sealJwe(jwk, claims('14253'))],
    ['with seven digits', () => sealJwe(jwk, claims('1425360'))],
    ['with a run', () => sealJwe(jwk, claims('111235'))],
    ['with letters', () => sealJwe(jwk, claims('14253a'))],
    ['with a number for a PIN', () => sealJwe(jwk, claims('', { pin: 142536 }))],
    [
      'with two PINs',
      () => sealJwe(jwk, {}, { payload: JSON.stringify(claims('142536')).replace('{', '{"pin":"902847",') }),
    ],
    [
      'with its PIN in another spelling',
      () => sealJwe(jwk, {}, { payload: JSON.stringify(claims('14253')).replace('"14253"', '"14253\\u0036"') }),
    ],
    ['with its PIN inside another member', () => sealJwe(jwk, claims('', { pin: undefined, more: { pin: '142536' } }))],
    ['with padding', async () => `${await sealJwe(jwk, claims('142536'))}==`],
    ['with stray bits in its last letter', async () => withStrayBits(await sealJwe(jwk, claims('142536')))],
    ['that holds no object', () => sealJwe(jwk, {}, { payload: '"pin"' })],
    ['that holds no JSON', () => sealJwe(jwk, {}, { payload: '{"pin":"142536"' })],
    ['to a key that is not published', () => sealJwe(newJwk('P-256'), claims('142536'))],
    ['to a key of another curve', () => sealJwe({ ...newJwk('P-384'), kid: jwk.kid as string }, claims('142536'))],
    ['by another algorithm', () => sealJwe(jwk, claims('142536'), { header: { alg: 'ECDH-ES' } })],
    ['under another cipher', () => sealJwe(jwk, claims('142536'), { header: { enc: 'A128CBC-HS256' } })],
    ['without a key id', () => sealJwe({ ...jwk, kid: undefined as never }, claims('142536'))],
    [
      'with a bit turned',
      async () =>
        (await sealJwe(jwk, claims('142536'))).replace(/(?<=\.).(?=[^.]*\.[^.]+$)/, (letter) =>
          letter === 'A' ? 'B' : 'A',
        ),
    ],
    ['cut short', async () => (await sealJwe(jwk, claims('142536'))).slice(0, -2)],
    ['that is an ecb', async () => seal('142536')],
    ['that is empty', async () => ''],
    ['of 5,000 characters', async () => 'a'.repeat(5_000)],
  ];
  for (const [what, sealed] of faults)
    test(`one ${what} is refused with 4016 and nothing else`, async () => {
      const { code, msg, data } = await set(await sealed(), jwe);
      assert.deepEqual([code, msg, data], [4016, 'PIN does not meet the requirements', undefined]);
    });

  test('any other text in its place is refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ maxLength: 300 }), async (text) => {
        assert.equal(await openJwe(platform.keys.jwe, text), undefined);
      }),
    );
  });

  function newJwk(namedCurve: string): JWK {
    return {
      ...generateKeyPairSync('ec', { namedCurve }).publicKey.export({ format: 'jwk' }),
      kid: 'no-such-key',
    } as JWK;
  }
});

describe('of ecb and bound,', () => {
  /**
   * What a merchant's server might have enciphered, right or wrong, as it would come in each
   * envelope.
   */
  const contents: [what: string, digits: string, padded: boolean][] = [
    ['a good PIN', '142536', true],
    ['a run', '111235', true],
    ['a letter', '14253a', true],
    ['five digits', '14253', true],
    ['seven digits', '1425361', true],
    ['no padding', '1425361425361425', false],
    ['wrong padding', '142536\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b', false],
  ];

  for (const envelope of ['ecb', 'bound'] as const)
    test(`${envelope} takes the same steps whatever is inside: one block is deciphered, and every byte of it judged`, async () => {
      const prototype = Object.getPrototypeOf(createDecipheriv('aes-256-ecb', SANDBOX_SECRET, null));
      const { update } = prototype;
      const secret = createSecretKey(Buffer.from(SANDBOX_SECRET));
      const steps = new Map<string, string>();
      for (const [what, text, padded] of contents) {
        const timestamp = stamp();
        const key =
          envelope === 'ecb'
            ? secret
            : boundKey(secret, { cardNo: FIRST_CARD.cardNo, cardholderNo: CARDHOLDER_NO, timestamp });
        const cipher = createCipheriv('aes-256-ecb', key, null).setAutoPadding(padded);
        const pin = Buffer.concat([cipher.update(text, 'latin1'), cipher.final()]).toString('base64');
        const seen: string[] = [];
        const watched = mock.method(prototype, 'update', function (this: unknown, ...given: unknown[]) {
          const block = update.apply(this, given) as Buffer;
          if (seen.length > 0) return block; // the PAN, of a PIN that was good
          seen.push('decipher');
          return new Proxy(block, {
            get(target, property) {
              if (/^\d+$/.test(String(property))) seen.push(String(property));
              const value = Reflect.get(target, property, target) as unknown;
              return typeof value === 'function' ? value.bind(target) : value;
            },
          });
        });
        try {
          const { code } = await set(pin, { 'pin-envelope': envelope, timestamp });
          assert.equal(code, what === 'a good PIN' ? 0 : 4016, what);
        } finally {
          watched.mock.restore();
        }
        steps.set(what, seen.join(' '));
      }
      const [good, ...others] = [...steps.values()];
      assert.ok((good as string).split(' ').length > 16);
      for (const one of others) assert.equal(one, good);
    });
});

describe('which envelope it is', () => {
  beforeEach(() => demand('ecb', 'ecb'));

  test('is named by the header and never guessed: an unknown name answers 1004', async () => {
    for (const name of ['ECB', 'rsa', 'ecb, jwe'])
      assert.equal((await set(seal('142536'), { 'pin-envelope': name })).msg, 'Pin-Envelope invalid parameter');
    assert.equal((await set(seal('142536'), { 'pin-envelope': '' })).code, 0);
  });

  test("is the credential's setting if the header is absent", async () => {
    await demand('bound', 'ecb');
    assert.equal((await set(sealBound('142536', stamp()))).code, 0);
    assert.equal((await set(seal('142536'))).code, 4016);
    assert.equal((await set(seal('142536'), { 'pin-envelope': 'ecb' })).code, 0);
  });

  test('is never weaker than the credential demands: a weaker one answers 1004 on the pin, before the card is looked up', async () => {
    await demand('jwe', 'bound');
    const weak = await set(seal('142536'), { 'pin-envelope': 'ecb' }, { card_no: VIRTUAL_CARD.cardNo });
    assert.deepEqual([weak.code, weak.msg], [1004, 'pin invalid parameter']);
    assert.equal((await set(sealBound('142536', stamp()), { 'pin-envelope': 'bound' })).code, 0);
    assert.equal((await set(await sealJwe(jwk, claims(validPin(17))))).code, 0);
  });

  test('a setting below the minimum is refused, and changes nothing', async () => {
    const change = setEnvelopes({ db: platform.db, now: Date.now }, API_KEY, { minimum: 'jwe' });
    await assert.rejects(change, /weaker than the minimum/);
    assert.equal((await set(seal('142536'))).code, 0);
  });
});
