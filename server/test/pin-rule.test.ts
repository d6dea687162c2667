import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { describe, test } from 'node:test';
import { isAcceptablePin, judgeRuns, type PinRuns } from '@pinward/contract/pin-rule';
import fc from 'fast-check';
import { openEcb, sealEcb } from '../src/crypto/ecb-envelope.ts';

const READINGS: PinRuns[] = ['arithmetic', 'keypad'];

/** The clear block of a PIN: its digits and ten bytes of padding. */
function blockOf(pin: string): Buffer {
  return Buffer.concat([Buffer.from(pin, 'latin1'), Buffer.alloc(16 - pin.length, 16 - pin.length)]);
}

/** The rule in its plainest words, to hold the branch-free one against. */
function hasRun(pin: string, runs: PinRuns): boolean {
  const orders = ['0123456789', '9876543210', ...(runs === 'keypad' ? ['1234567890', '0987654321'] : [])];
  for (let i = 0; i + 3 <= pin.length; i++) {
    const three = pin.slice(i, i + 3);
    if (/^(.)\1\1$/.test(three) || orders.some((order) => order.includes(three))) return true;
  }
  return false;
}

/** The whole judgement of a block in the same plain words. */
function isGood(block: Buffer, runs: PinRuns): boolean {
  const text = block.toString('latin1');
  return /^[0-9]{6}\n{10}$/.test(text) && !hasRun(text.slice(0, 6), runs);
}

describe('rule 3: of the 1,000,000 PINs exactly those are refused that the plain rule refuses', () => {
  for (const [runs, refused] of [
    ['arithmetic', 95_272],
    ['keypad', 102_422],
  ] as const) {
    test(`${refused} under ${runs}`, () => {
      let count = 0;
      const digits = Buffer.alloc(6);
      for (let n = 0; n < 1_000_000; n++) {
        const pin = String(n).padStart(6, '0');
        digits.write(pin, 'latin1');
        const bad = judgeRuns(digits, runs) !== 0;
        if (bad !== hasRun(pin, runs)) assert.fail(`${pin} is judged otherwise by the plain rule`);
        if (bad) count++;
      }
      assert.equal(count, refused);
    });
  }
});

test('for any fault of a block, the same bytes are read in the same order', () => {
  const blocks = {
    'a good PIN': blockOf('142536'),
    'a run': blockOf('111111'),
    'a letter': blockOf('14253a'),
    'a short PIN': blockOf('1425'),
    'a long PIN': blockOf('14253647'),
    'padding that is broken': Buffer.concat([Buffer.from('142536'), Buffer.alloc(10, 11)]),
    zeros: Buffer.alloc(16),
    noise: Buffer.alloc(16, 0xff),
  };
  for (const runs of READINGS) {
    const traces = Object.values(blocks).map((block) => {
      const reads: string[] = [];
      const watched = new Proxy(block, {
        get(target, property) {
          reads.push(String(property));
          return Reflect.get(target, property, target) as unknown;
        },
      });
      isAcceptablePin(watched, runs);
      return reads.join(' ');
    });
    assert.ok((traces[0] as string).split(' ').length >= 16, 'every byte is read');
    assert.equal(new Set(traces).size, 1);
  }
});

test('a block that differs from a PIN in a few bytes is judged as the plain rule judges it', () => {
  const changes = fc.array(fc.tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 0, max: 255 })), {
    maxLength: 3,
  });
  fc.assert(
    fc.property(fc.stringMatching(/^[0-9]{6}$/), changes, (pin, changed) => {
      const block = blockOf(pin);
      for (const [at, byte] of changed) block[at] = byte;
      for (const runs of READINGS) assert.equal(isAcceptablePin(block, runs), isGood(block, runs));
    }),
    { numRuns: 5_000 },
  );
});

test('of the 256 values of each byte only a digit, or the padding, is accepted in its place', () => {
  for (let at = 0; at < 16; at++) {
    for (let byte = 0; byte < 256; byte++) {
      const block = blockOf('142536');
      block[at] = byte;
      for (const runs of READINGS)
        assert.equal(isAcceptablePin(block, runs), isGood(block, runs), `${byte} at ${at} under ${runs}`);
    }
  }
});

describe('the envelope', () => {
  const key = createSecretKey(Buffer.from('property-test-secret-0123456789a'));

  test('opens what it sealed, and accepts exactly six digits without a run', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[0-9]{0,15}$/), (digits) => {
        const { block, formFault } = openEcb(key, sealEcb(key, digits));
        assert.equal(formFault, 0);
        for (const runs of READINGS)
          assert.equal(isAcceptablePin(block, runs), digits.length === 6 && !hasRun(digits, runs));
      }),
      { numRuns: 2_000 },
    );
  });

  test('accepts any text without throwing, and reports a form fault for all but the canonical Base64 of one block', () => {
    const anything = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary' }),
      fc.base64String(),
      fc.uint8Array({ minLength: 15, maxLength: 17 }).map((bytes) => Buffer.from(bytes).toString('base64')),
    );
    fc.assert(
      fc.property(anything, (text) => {
        const { block, formFault } = openEcb(key, text);
        assert.equal(block.length, 16);
        const bytes = Buffer.from(text, 'base64');
        assert.equal(formFault === 0, bytes.length === 16 && bytes.toString('base64') === text);
      }),
      { numRuns: 5_000 },
    );
  });

  test('with any bits of its ciphertext flipped, opens without throwing and is judged by what came out', () => {
    const digits = fc.stringMatching(/^[0-9]{6}$/);
    const bits = fc.uniqueArray(fc.integer({ min: 0, max: 127 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(digits, bits, (pin, flips) => {
        const sealed = Buffer.from(sealEcb(key, pin), 'base64');
        for (const bit of flips) sealed[bit >> 3] = (sealed[bit >> 3] as number) ^ (1 << (bit & 7));
        const { block, formFault } = openEcb(key, sealed.toString('base64'));
        assert.equal(formFault, 0);
        for (const runs of READINGS) assert.equal(isAcceptablePin(block, runs), isGood(block, runs));
      }),
      { numRuns: 2_000 },
    );
  });
});
