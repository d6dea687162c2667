import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { openGcm, sealGcm } from '../src/crypto/aes-gcm.ts';
import { aesCmac, tdesCmac } from '../src/crypto/cmac.ts';
import { cardVerificationValue } from '../src/crypto/cvv.ts';
import { encodeFields } from '../src/crypto/encode.ts';
import { randomBytesPooled } from '../src/crypto/random.ts';

const hex = (text: string) => Buffer.from(text, 'hex');

test('card verification values are refused for a key, PAN, expiry or service code of another form', () => {
  const good: [Buffer, string, string, string] = [Buffer.alloc(16), '9999990000000014', '3012', '000'];
  assert.match(cardVerificationValue(...good), /^\d{3}$/);
  for (const [at, wrong] of [
    [0, Buffer.alloc(8)],
    [1, '99999900'],
    [1, '9999990000000014x'],
    [2, '312'],
    [3, '00'],
  ] as const) {
    const args = [...good] as Parameters<typeof cardVerificationValue>;
    args[at] = wrong as never;
    assert.throws(() => cardVerificationValue(...args), RangeError);
  }
});

test('AES-CMAC is that of RFC 4493', () => {
  // Section 4, examples 3 and 4; the others are among the published vectors.
  const key = hex('2b7e151628aed2a6abf7158809cf4f3c');
  const message = hex(
    '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710',
  );
  assert.equal(aesCmac(key, message.subarray(0, 40)).toString('hex'), 'dfa66747de9ae63030ca32611497c827');
  assert.equal(aesCmac(key, message).toString('hex'), '51f0bebf7e3b9d92fc49741779363cfe');
});

test('TDES-CMAC is that of SP 800-38B', () => {
  // NIST's published examples for TDEA, keys of three and of two parts.
  const message = hex('6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51');
  const three = hex('8aa83bf8cbda10620bc1bf19fbb6cd58bc313d4a371ca8b5');
  const two = hex('4cf15134a2850dd58a3d10ba80570d38');
  for (const [key, bytes, mac] of [
    [three, 0, 'b7a688e122ffaf95'],
    [three, 8, '8e8f293136283797'],
    [three, 20, '743ddbe0ce2dc2ed'],
    [three, 32, '33e6b1092400eae5'],
    [two, 0, 'bd2ebf9a3ba00361'],
    [two, 8, '4ff2ab813c53ce83'],
    [two, 20, '62dd1b471902bd4e'],
    [two, 32, '31b1e431dabc4eb8'],
  ] as const)
    assert.equal(tdesCmac(key, message.subarray(0, bytes)).toString('hex'), mac, `${key.length} ${bytes}`);
});

describe('a sealed value', () => {
  const key = createSecretKey(Buffer.alloc(32, 7));

  test('opens to what was sealed, under the same key and identity', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.string(), (plain, identity) => {
        assert.deepEqual(openGcm(key, sealGcm(key, plain, identity), identity), Buffer.from(plain));
      }),
    );
  });

  test('does not open if a byte was changed or cut off, or under another identity', () => {
    const sealed = sealGcm(key, Buffer.from('nine digits'), 'row 1');
    const refused = (bytes: Buffer, identity = 'row 1', under = key) =>
      assert.throws(() => openGcm(under, bytes, identity), /does not open/);
    for (let i = 0; i < sealed.length; i++) {
      const altered = Buffer.from(sealed);
      altered[i] = (altered[i] as number) ^ 1;
      refused(altered);
      refused(sealed.subarray(0, i));
    }
    refused(sealed, 'row 2');
    refused(sealed, 'row 1', createSecretKey(Buffer.alloc(32, 8)));
    assert.equal(openGcm(key, sealed, 'row 1').toString(), 'nine digits');
  });

  test('is different each time', () => {
    const many = new Set(Array.from({ length: 1_000 }, () => sealGcm(key, Buffer.from('x'), '').toString('hex')));
    assert.equal(many.size, 1_000);
  });
});

test('two lists of fields encode alike only if they are the same list', () => {
  const field = fc.oneof(
    fc.string({ maxLength: 5 }),
    fc.uint8Array({ maxLength: 5 }).map((bytes) => Buffer.from(bytes)),
    fc.maxSafeInteger(),
  );
  const fields = fc.array(field, { maxLength: 4 });
  const bytesOf = (one: string | Buffer | number) => {
    if (typeof one !== 'number') return Buffer.from(one as string);
    const eight = Buffer.alloc(8);
    eight.writeBigInt64BE(BigInt(one));
    return eight;
  };
  const canonical = (list: (string | Buffer | number)[]) =>
    JSON.stringify(list.map((one) => bytesOf(one).toString('hex')));
  fc.assert(
    fc.property(fields, fields, (a, b) =>
      assert.equal(encodeFields(a).equals(encodeFields(b)), canonical(a) === canonical(b)),
    ),
    { numRuns: 3_000 },
  );
  assert.notDeepEqual(encodeFields(['ab', 'c']), encodeFields(['a', 'bc']));
  assert.equal(encodeFields(['é', 1]).toString('hex'), '00000002c3a9000000080000000000000001');
});

test('random bytes come in the size that was asked for, and do not come again', () => {
  const seen = new Set(Array.from({ length: 10_000 }, () => randomBytesPooled(16).toString('hex')));
  assert.equal(seen.size, 10_000);
  for (const size of [1, 12, 64]) assert.equal(randomBytesPooled(size).length, size);
  for (const size of [0, 65, 1.5, Number.NaN]) assert.throws(() => randomBytesPooled(size), RangeError);
});
