import assert from 'node:assert/strict';
import { createSecretKey, type KeyObject } from 'node:crypto';
import { isAcceptablePin, type PinRuns } from '@pinward/contract/pin-rule';
import { aesCmac } from '../../src/crypto/cmac.ts';
import { cardVerificationValue } from '../../src/crypto/cvv.ts';
import { openEcb, sealEcb } from '../../src/crypto/ecb-envelope.ts';
import { unwrapKeyBlock } from '../../src/crypto/key-block.ts';
import { aesCheckValue, tdesCheckValue } from '../../src/crypto/key-check-value.ts';
import {
  decipherPinBlock,
  decipherPinBlock4,
  decodePinBlock0,
  decodePinBlock1,
  decodePinBlock3,
  decodePinField4,
  encipherPinBlock,
  encipherPinBlock4,
  encodePanField4,
  encodePinBlock0,
  encodePinBlock1,
  encodePinBlock3,
  encodePinField4,
  PinBlockError,
  type PinKey,
} from '../../src/crypto/pin-block.ts';

/**
 * A published vector. Its inputs are strings or numbers, named as in the description of the
 * vectors.
 */
export interface Vector {
  id: string;
  source: string;
  algorithm: string;
  expected: unknown;
  [input: string]: unknown;
}

/**
 * Checks for each algorithm. A check throws if the product gives another result than the vector.
 */
export const ALGORITHMS: Record<string, (vector: Vector) => void> = {
  'pinblock.iso0': gives((v) => encodePinBlock0(pin(v), pan(v))),
  'pinblock.iso0.decode-reject': refuses((v) => decodePinBlock0(bytes(v, 'pin_block'), pan(v))),
  'pinblock.iso0.tdes-ecb': (v) => {
    const block = encipherPinBlock(tdesKey(v), 0, pin(v), pan(v));
    assert.equal(shown(block), v.expected);
    assert.deepEqual(decipherPinBlock(tdesKey(v), 0, block, pan(v)), pin(v));
  },
  'pinblock.iso1': gives((v) => encodePinBlock1(pin(v), nibbles(v))),
  'pinblock.iso1.decode': givesPin((v) => decodePinBlock1(bytes(v, 'pin_block'))),
  'pinblock.iso1.decode-reject': refuses((v) => decodePinBlock1(bytes(v, 'pin_block'))),
  'pinblock.iso3': gives((v) => encodePinBlock3(pin(v), pan(v), nibbles(v))),
  'pinblock.iso3.decode': givesPin((v) => decodePinBlock3(bytes(v, 'pin_block'), pan(v))),
  'pinblock.iso3.decode-reject': refuses((v) => decodePinBlock3(bytes(v, 'pin_block'), pan(v))),
  'pinblock.iso4.pin-field': gives((v) => encodePinField4(pin(v), bytes(v, 'random_fill'))),
  'pinblock.iso4.pin-field-reject': refuses((v) => decodePinField4(bytes(v, 'pin_field'))),
  'pinblock.iso4.pan-field': gives((v) => encodePanField4(pan(v))),
  'pinblock.iso4.encipher': (v) => {
    const block = encipherPinBlock4(key(v), pin(v), pan(v), bytes(v, 'random_fill'));
    assert.equal(shown(block), v.expected);
    assert.deepEqual(decipherPinBlock4(key(v), block, pan(v)), pin(v));
  },
  'pinblock.iso4.decipher': givesPin((v) => decipherPinBlock4(key(v), bytes(v, 'pin_block'), pan(v))),
  'pinblock.iso4.decipher-reject': refuses((v) => decipherPinBlock4(key(v), bytes(v, 'pin_block'), pan(v))),
  cvv: (v) =>
    assert.equal(
      cardVerificationValue(bytes(v, 'cvk'), text(v, 'pan'), text(v, 'expiry'), text(v, 'service_code')),
      v.expected,
    ),
  'kcv.tdes': (v) => assert.equal(tdesCheckValue(bytes(v, 'key'), Number(v.bytes)), v.expected),
  'kcv.aes-cmac': (v) => assert.equal(aesCheckValue(bytes(v, 'key'), Number(v.bytes)), v.expected),
  'aes.ecb-block': (v) => {
    const { block, formFault } = openEcb(key(v), Buffer.from(text(v, 'expected'), 'hex').toString('base64'));
    assert.equal(formFault, 0);
    assert.equal(shown(block), v.plaintext);
  },
  'aes.cmac': gives((v) => aesCmac(bytes(v, 'key'), bytes(v, 'message'))),
  'tr31.unwrap': (v) => {
    const { header, key: unwrapped } = unwrapKeyBlock(bytes(v, 'kbpk'), text(v, 'key_block'));
    assert.equal(shown(unwrapped), v.expected);
    if (v.kcv === undefined) return;
    const checkValue = header.algorithm === 'A' ? aesCheckValue : tdesCheckValue;
    assert.equal(checkValue(unwrapped, text(v, 'kcv').length / 2), v.kcv);
  },
  'wire.aes-ecb-pkcs5-base64': (v) => {
    assert.equal(sealEcb(key(v), text(v, 'plaintext_ascii')), v.expected);
    assert.equal(openEcb(key(v), text(v, 'expected')).formFault, 0);
  },
  'wire.reject': (v) => {
    const { block, formFault } = openEcb(key(v), text(v, 'ciphertext_base64'));
    assert.ok(formFault === 1 || !isAcceptablePin(block, 'arithmetic'), 'the product accepts the envelope');
  },
  'pin-policy.base-rule': (v) => {
    const expected = v.expected as Record<PinRuns, string>;
    for (const reading of ['arithmetic', 'keypad'] as const)
      assert.equal(isAcceptablePin(clearBlock(text(v, 'pin')), reading), expected[reading] === 'accept', reading);
  },
  'pin-policy.base-rule.count': (v) => {
    const refused = { arithmetic: 0, keypad: 0 };
    for (let n = 0; n < Number(v.space); n++) {
      const block = clearBlock(String(n).padStart(6, '0'));
      for (const reading of ['arithmetic', 'keypad'] as const) if (!isAcceptablePin(block, reading)) refused[reading]++;
    }
    assert.deepEqual({ refused_arithmetic: refused.arithmetic, refused_keypad: refused.keypad }, v.expected);
  },
};

function gives(make: (vector: Vector) => Buffer): (vector: Vector) => void {
  return (vector) => assert.equal(shown(make(vector)), vector.expected);
}

function givesPin(read: (vector: Vector) => Buffer): (vector: Vector) => void {
  return (vector) => assert.equal(read(vector).toString('latin1'), vector.expected);
}

function refuses(read: (vector: Vector) => Buffer): (vector: Vector) => void {
  return (vector) => assert.throws(() => read(vector), PinBlockError);
}

/** Reads an input that the vector must have. A vector without it fails. */
function text(vector: Vector, name: string): string {
  const value = vector[name];
  assert.ok(typeof value === 'string', `${name} is missing`);
  return value;
}

function bytes(vector: Vector, name: string): Buffer {
  const hex = text(vector, name);
  assert.match(hex, /^([0-9A-Fa-f]{2})*$/, `${name} is not hex`);
  return Buffer.from(hex, 'hex');
}

const pin = (vector: Vector): Buffer => Buffer.from(text(vector, 'pin'), 'latin1');
const pan = (vector: Vector): Buffer => Buffer.from(text(vector, 'pan'), 'latin1');
const key = (vector: Vector): KeyObject => createSecretKey(bytes(vector, 'key'));
const shown = (value: Buffer): string => value.toString('hex').toUpperCase();
const nibbles = (vector: Vector): Buffer =>
  Buffer.from([...text(vector, 'fill_nibbles')].map((digit) => Number.parseInt(digit, 16)));

function tdesKey(vector: Vector): PinKey {
  const object = key(vector);
  return { algorithm: object.symmetricKeySize === 24 ? 'TDES-3' : 'TDES-2', key: object };
}

/** The clear block of one AES block: digits and PKCS padding, as a merchant's server makes it. */
function clearBlock(digits: string): Buffer {
  const block = Buffer.alloc(16, 16 - digits.length);
  block.write(digits, 'latin1');
  return block;
}
