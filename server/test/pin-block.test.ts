import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import type { KeyAlgorithm } from '../src/crypto/key-check-value.ts';
import {
  decipherPinBlock,
  decodePinBlock0,
  decodePinBlock1,
  decodePinBlock3,
  decodePinField4,
  encipherPinBlock,
  encodePanField4,
  encodePinBlock0,
  encodePinBlock3,
  PinBlockError,
  type PinBlockFault,
  type PinBlockFormat,
  type PinKey,
} from '../src/crypto/pin-block.ts';

const FORMATS: PinBlockFormat[] = [0, 1, 3, 4];
const BYTES = { 'TDES-2': 16, 'TDES-3': 24, 'AES-128': 16, 'AES-192': 24, 'AES-256': 32 } as const;
const KEYS = Object.entries(BYTES).map(([algorithm, bytes]): PinKey => {
  return { algorithm: algorithm as KeyAlgorithm, key: createSecretKey(randomBytes(bytes)) };
});
const digits = (text: string) => Buffer.from(text, 'latin1');
const takes = ({ algorithm }: PinKey, format: PinBlockFormat) => algorithm.startsWith(format === 4 ? 'AES' : 'TDES');

function refused(run: () => unknown, fault?: PinBlockFault): void {
  assert.throws(run, (error) => error instanceof PinBlockError && (fault === undefined || error.fault === fault));
}

const someDigits = (least: number, most: number) =>
  fc.array(fc.integer({ min: 0, max: 9 }), { minLength: least, maxLength: most }).map((list) => digits(list.join('')));

test('a PIN of every length comes back from every format, over a PAN of every length, under a key of every length', () => {
  let trips = 0;
  for (const format of FORMATS) {
    for (const key of KEYS.filter((one) => takes(one, format))) {
      for (let pinLength = 4; pinLength <= 12; pinLength++) {
        for (let panLength = format === 4 ? 1 : 2; panLength <= 19; panLength++) {
          const pin = digits('907314285560'.slice(0, pinLength));
          const pan = digits('9876543210987654321'.slice(0, panLength));
          const block = encipherPinBlock(key, format, pin, pan);
          assert.equal(block.length, format === 4 ? 16 : 8);
          assert.deepEqual(decipherPinBlock(key, format, block, pan), pin);
          trips++;
        }
      }
    }
  }
  assert.equal(trips, 9 * (3 * 2 * 18 + 3 * 19));
});

test('any PIN comes back over any PAN', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...FORMATS),
      fc.constantFrom(...KEYS),
      someDigits(4, 12),
      someDigits(12, 19),
      (format, key, pin, pan) => {
        fc.pre(takes(key, format));
        assert.deepEqual(decipherPinBlock(key, format, encipherPinBlock(key, format, pin, pan), pan), pin);
      },
    ),
  );
});

test('formats 0, 1 and 3 are refused under AES, and format 4 under TDES', () => {
  const pan = digits('9999990000000014');
  for (const format of FORMATS) {
    for (const key of KEYS.filter((one) => !takes(one, format))) {
      refused(() => encipherPinBlock(key, format, digits('1425'), pan), 'key');
      refused(() => decipherPinBlock(key, format, Buffer.alloc(format === 4 ? 16 : 8), pan), 'key');
    }
  }
});

test('PINs and PANs of other lengths or with other characters are refused', () => {
  const pan = digits('9999990000000014');
  for (const format of FORMATS) {
    const key = KEYS.find((one) => takes(one, format)) as PinKey;
    for (const pin of ['', '142', '1425361425361'])
      refused(() => encipherPinBlock(key, format, digits(pin), pan), 'PIN length');
    for (const pin of ['142a', ' 1425', '14/5', '14:5'])
      refused(() => encipherPinBlock(key, format, digits(pin), pan), 'PIN digit');
    if (format === 1) continue;
    for (const wrong of ['', '12345678901234567890', '99999900000000x4', ...(format === 4 ? [] : ['1'])]) {
      refused(() => encipherPinBlock(key, format, digits('1425'), digits(wrong)), 'PAN');
      refused(() => decipherPinBlock(key, format, Buffer.alloc(format === 4 ? 16 : 8), digits(wrong)), 'PAN');
    }
  }
  assert.equal(encodePanField4(digits('1234567890123456789')).toString('hex'), '71234567890123456789000000000000');
});

test('a PAN of 12 digits is padded with zeros on the left in formats 0 and 3, and not in format 4', () => {
  const pan = digits('987654321094');
  // PIN field 041234FFFFFFFFFF over PAN field 0000098765432109 (ISO 9564-1, 9.3.2.3).
  assert.equal(encodePinBlock0(digits('1234'), pan).toString('hex'), '04123d789abcdef6');
  assert.equal(encodePanField4(pan).toString('hex'), `0987654321094${'0'.repeat(19)}`);
});

test('a block that is short, long, of another format or with a changed nibble is refused, for what is wrong with it', () => {
  const pan = digits('5555555551234567');
  const hex = (text: string) => Buffer.from(text, 'hex');
  const good = encodePinBlock0(digits('1234'), pan);
  for (const length of [0, 7, 9, 16]) {
    const block = Buffer.alloc(length, good);
    refused(() => decodePinBlock0(block, pan), 'block length');
    refused(() => decodePinBlock1(block), 'block length');
    refused(() => decodePinBlock3(block, pan), 'block length');
    if (length !== 16) refused(() => decodePinField4(block), 'block length');
    for (const key of KEYS) {
      const format = takes(key, 4) ? 4 : 0;
      if (length !== 16 || format === 0) refused(() => decipherPinBlock(key, format, block, pan), 'block length');
    }
  }
  for (const control of [1, 2, 3, 4, 8, 15])
    refused(() => decodePinBlock0(hex(`${control.toString(16)}${good.toString('hex').slice(1)}`), pan), 'control');
  for (const length of [0, 3, 13, 15])
    refused(() => decodePinBlock0(hex(`0${length.toString(16)}${good.toString('hex').slice(2)}`), pan), 'PIN length');
  // A claimed length beside the true one makes a fill out of a digit, or a digit out of a fill.
  refused(() => decodePinBlock0(hex(`05${good.toString('hex').slice(2)}`), pan), 'PIN digit');
  refused(() => decodePinBlock0(encodePinBlock0(digits('12345'), pan).fill(0x04, 0, 1), pan), 'fill');
});

test('formats 0 and 3 refuse a block over another PAN unless only PIN digits differ; format 1 cannot tell', () => {
  const pan = digits('5555555551234567');
  const other = digits('5555555551234667'); // differs under the fill
  for (const block of [
    encodePinBlock0(digits('1234'), pan),
    encodePinBlock3(digits('1234'), pan, Buffer.alloc(10, 0xa)),
  ]) {
    const decode = block[0] === 0x04 ? decodePinBlock0 : decodePinBlock3;
    assert.equal(decode(block, pan).toString(), '1234');
    refused(() => decode(block, digits('1111111111111111')));
  }
  refused(() => decodePinBlock0(encodePinBlock0(digits('1234'), pan), other), 'fill');
});

test('under another key, or over another PAN, format 4 gives no PIN', () => {
  const [a, b] = [0, 1].map((): PinKey => ({ algorithm: 'AES-256', key: createSecretKey(randomBytes(32)) })) as [
    PinKey,
    PinKey,
  ];
  const pan = digits('9999990000000014');
  let taken = 0;
  for (let i = 0; i < 300; i++) {
    const block = encipherPinBlock(a, 4, digits('142536'), pan);
    for (const [key, over] of [[b, pan] as const, [a, digits('9999990000000022')] as const]) {
      try {
        decipherPinBlock(key, 4, block, over);
        taken++;
      } catch (error) {
        assert.ok(error instanceof PinBlockError);
      }
    }
  }
  assert.equal(taken, 0); // by chance once in some ten million
});

test('no two blocks of one PIN are alike in formats 1, 3 and 4', () => {
  for (const format of [1, 3, 4] as const) {
    const key = KEYS.find((one) => takes(one, format)) as PinKey;
    const seen = new Set(
      Array.from({ length: 100 }, () =>
        encipherPinBlock(key, format, digits('1425'), digits('9999990000000014')).toString('hex'),
      ),
    );
    assert.equal(seen.size, 100);
  }
});

test('for any bytes, decoders give a PIN or their own error', () => {
  const bytes = fc.uint8Array({ maxLength: 20 });
  const eight = fc.uint8Array({ minLength: 8, maxLength: 8 });
  const sixteen = fc.uint8Array({ minLength: 16, maxLength: 16 });
  const anyPan = fc.oneof(
    someDigits(0, 25),
    bytes.map((one) => Buffer.from(one)),
  );
  const mayRefuse = (decode: () => Buffer): void => {
    try {
      assert.match(decode().toString('latin1'), /^\d{4,12}$/);
    } catch (error) {
      assert.ok(error instanceof PinBlockError, String(error));
    }
  };
  fc.assert(
    fc.property(
      fc.oneof(bytes, eight, sixteen),
      anyPan,
      fc.constantFrom(...KEYS),
      fc.constantFrom(...FORMATS),
      (block, pan, key, format) => {
        mayRefuse(() => decodePinBlock0(block, pan));
        mayRefuse(() => decodePinBlock1(block));
        mayRefuse(() => decodePinBlock3(block, pan));
        mayRefuse(() => decodePinField4(block));
        mayRefuse(() => decipherPinBlock(key, format, block, pan));
      },
    ),
    { numRuns: 3_000 },
  );
});
