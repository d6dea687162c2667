import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import type { KeyAlgorithm } from '../src/crypto/key-check-value.ts';
import { luhnDigit } from '../src/crypto/luhn.ts';
import { encipherPinBlock, type PinBlockFormat, type PinKey } from '../src/crypto/pin-block.ts';
import { createBin } from '../src/products/create-bin.ts';
import { ISSUER } from '../src/sandbox/world.ts';
import { type IssuerHost, issuerOf } from './support/issuer.ts';
import { ISSUER_NO, MERCHANT_NO, PROTECTION_KEY, pinBody } from './support/sandbox.ts';
import { merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';
import { wrapKeyBlock } from './support/wrap-key-block.ts';

let platform: TestPlatform;
let issuer: IssuerHost;
let tdes: PinKey;
let aes: PinKey;
before(async () => {
  platform = await startPlatform({ LIMIT_MALFORMED_BLOCKS_PER_HOUR: '1000' });
  issuer = issuerOf(platform);
  tdes = await importZoneKey('zone-tdes', 'TDES-3', 24);
  aes = await importZoneKey('zone-aes', 'AES-256', 32);
});
after(() => platform.close());

async function importZoneKey(label: string, algorithm: KeyAlgorithm, bytes: number): Promise<PinKey> {
  const key = randomBytes(bytes);
  const header = { version: 'D', usage: 'P0', algorithm: algorithm.slice(0, 1), modeOfUse: 'D' } as const;
  const more = { keyVersion: '00', exportability: 'N', optionalBlocks: [] };
  const block = wrapKeyBlock(Buffer.from(ISSUER.keys[1].bytes, 'hex'), { ...header, ...more }, key, 32);
  const body = { label, kbpk: PROTECTION_KEY, key_block: block };
  assert.equal((await issuer.call('POST', '/zone-keys', body)).code, 0);
  return { algorithm, key: createSecretKey(key) };
}

/** Brings an activated physical card with this PAN, as an issuer that moves its cards here. */
async function importCard(cardNo: string, pan: string): Promise<string> {
  const imported = await issuer.call('POST', '/card/import', {
    merchant_no: MERCHANT_NO,
    card_no: cardNo,
    card_unique_no: `unique-${cardNo}`,
    cardholder_unique_no: `holder-${cardNo}`,
    card_type: 'Physical',
    status: 'Activated',
    pan,
    expiry: '3105',
  });
  assert.equal(imported.code, 0, imported.msg);
  const [row] = await platform.db.query<{ cardholderNo: string }>(
    'holder-of-card',
    'select cardholder_no as "cardholderNo" from cards where card_no = $1',
    [cardNo],
  );
  return row?.cardholderNo as string;
}

for (let panDigits = 12; panDigits <= 19; panDigits++)
  test(`a card with a PAN of ${panDigits} digits is verified by blocks of every format`, async () => {
    const bin = `98765${panDigits}`;
    const operator = { db: platform.db, now: Date.now };
    const product = { organization: 'Test', cardTypes: ['Physical' as const], currencies: ['USD'] };
    await createBin(operator, { ...product, issuerNo: ISSUER_NO, bin, panDigits });
    const body = bin.padEnd(panDigits - 1, '4');
    const pan = body + luhnDigit(body);
    const cardNo = `C-pan-${panDigits}`;
    const cardholderNo = await importCard(cardNo, pan);
    const set = pinBody('142536', { card_no: cardNo, cardholder_no: cardholderNo });
    assert.equal((await merchantOf(platform).call('POST', '/card/pin/set', set)).code, 0);

    const result = async (format: PinBlockFormat, pin: string, over = pan): Promise<unknown> => {
      const key = format === 4 ? aes : tdes;
      const block = encipherPinBlock(key, format, Buffer.from(pin), Buffer.from(over)).toString('hex');
      const named = { card_no: cardNo, zone_key: format === 4 ? 'zone-aes' : 'zone-tdes' };
      const answer = await issuer.call('POST', '/pin/verify', { ...named, pin_block: block, format });
      return (answer.data as { result: string } | undefined)?.result ?? answer.code;
    };
    for (const format of [0, 1, 3, 4] as const) {
      assert.equal(await result(format, '142536'), 'match', `format ${format}`);
      assert.equal(await result(format, '142537'), 'mismatch', `format ${format}`);
      assert.equal(await result(format, '142536'), 'match', 'the tries are whole again');
    }
    const others = `${pan.slice(0, -2)}${(Number(pan.at(-2)) + 5) % 10}${pan.slice(-1)}`;
    for (const format of [0, 3, 4] as const) assert.notEqual(await result(format, '142536', others), 'match');
  });
