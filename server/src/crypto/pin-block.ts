import { createCipheriv, createDecipheriv, type KeyObject, randomInt } from 'node:crypto';
import { xorInto } from './cmac.ts';
import type { KeyAlgorithm } from './key-check-value.ts';
import { randomBytesPooled } from './random.ts';
import { tdesCipher, tdesDecipher } from './tdes.ts';

/*
 * PIN blocks of ISO 9564-1:2017: the compact formats 0, 1 and 3 (9.3), 8 bytes under TDES, and the
 * extended format 4 (9.4), 16 bytes under AES. PINs and PANs are ASCII digits in Buffers, since
 * Buffers can be wiped. A PIN has 4 to 12 digits (8.1).
 *
 * Decoding is strict. It checks the control nibble, the length, every digit and every fill nibble,
 * so it detects a wrong PAN as far as the format allows.
 */

export type PinBlockFormat = 0 | 1 | 3 | 4;

export type PinBlockFault = 'block length' | 'control' | 'PIN length' | 'PIN digit' | 'fill' | 'PAN' | 'key';

/** The block, the PIN, the PAN or the key does not fit the format. Tells the fault and no value. */
export class PinBlockError extends Error {
  override readonly name = 'PinBlockError';
  readonly fault: PinBlockFault;
  constructor(fault: PinBlockFault) {
    super(`PIN block does not have this format: ${fault}`);
    this.fault = fault;
  }
}

/** A zone PIN key (ZPK). PIN blocks travel under it. */
export interface PinKey {
  algorithm: KeyAlgorithm;
  key: KeyObject;
}

const MIN_PIN_DIGITS = 4;
const MAX_PIN_DIGITS = 12;
const MAX_PAN_DIGITS = 19;
/** All formats over a PAN fill shorter digits with zeros on the left, up to this length. */
const PAN_FIELD_DIGITS = 12;
const COMPACT_BYTES = 8;
const EXTENDED_BYTES = 16;
const FILL_F = 0xf;
const FILL_A = 0xa;

/**
 * Makes a clear block and enciphers it. Formats 0, 1 and 3 take a TDES key, format 4 takes an AES
 * key. Throws PinBlockError for every other pairing, and for a PIN or PAN of another form.
 */
export function encipherPinBlock(
  { algorithm, key }: PinKey,
  format: PinBlockFormat,
  pin: Uint8Array,
  pan: Uint8Array,
): Buffer {
  requirePairing(algorithm, format);
  if (format === 4) return encipherPinBlock4(key, pin, pan);
  const clear =
    format === 0 ? encodePinBlock0(pin, pan) : format === 1 ? encodePinBlock1(pin) : encodePinBlock3(pin, pan);
  try {
    return tdesCipher(key).update(clear);
  } finally {
    clear.fill(0);
  }
}

/**
 * Deciphers a block and returns its PIN, which the caller wipes. Throws PinBlockError unless it is
 * a block of that format over that PAN.
 */
export function decipherPinBlock(
  { algorithm, key }: PinKey,
  format: PinBlockFormat,
  block: Uint8Array,
  pan: Uint8Array,
): Buffer {
  requirePairing(algorithm, format);
  if (format === 4) return decipherPinBlock4(key, block, pan);
  if (block.length !== COMPACT_BYTES) throw new PinBlockError('block length');
  const clear = tdesDecipher(key).update(block);
  try {
    return format === 0
      ? decodePinBlock0(clear, pan)
      : format === 1
        ? decodePinBlock1(clear)
        : decodePinBlock3(clear, pan);
  } finally {
    clear.fill(0);
  }
}

function requirePairing(algorithm: KeyAlgorithm, format: PinBlockFormat): void {
  const cipher = format === 4 ? 'AES' : 'TDES';
  if (!algorithm.startsWith(cipher)) throw new PinBlockError('key');
}

/**
 * Format 0 (9.3.2): PIN field XOR PAN field, in nibbles.
 * PIN field: `0 L P P P P p p p p p p p p F F`, L = PIN length, P = digit, p = digit or F.
 * PAN field: `0 0 0 0 A1 .. A12`, the 12 rightmost digits of the PAN without its check digit, with
 * zeros on the left if there are fewer.
 */
export function encodePinBlock0(pin: Uint8Array, pan: Uint8Array): Buffer {
  return overPan(
    pinField(COMPACT_BYTES, 0, pin, () => FILL_F),
    pan,
  );
}

export function decodePinBlock0(block: Uint8Array, pan: Uint8Array): Buffer {
  return withoutPan(block, pan, (field) => readPinField(field, 0, (fill) => fill === FILL_F));
}

/**
 * Format 1 (9.3.3): `1 L P P P P r r ... r`, r = further digit, or random or unique nibble. The
 * block contains no PAN, so it can be moved to another card.
 * @param fill the nibbles after the PIN, one in each byte; random if absent
 */
export function encodePinBlock1(pin: Uint8Array, fill?: Uint8Array): Buffer {
  return pinField(COMPACT_BYTES, 1, pin, (i) => fill?.[i] ?? randomInt(16));
}

export function decodePinBlock1(block: Uint8Array): Buffer {
  if (block.length !== COMPACT_BYTES) throw new PinBlockError('block length');
  return readPinField(block, 1, () => true);
}

/**
 * Format 3 (9.3.5): like format 0, with control nibble 3 and random fill nibbles from A to F, so
 * that two blocks of the same PIN and card differ.
 * @param fill the nibbles after the PIN, one in each byte; random if absent
 */
export function encodePinBlock3(pin: Uint8Array, pan: Uint8Array, fill?: Uint8Array): Buffer {
  return overPan(
    pinField(COMPACT_BYTES, 3, pin, (i) => fill?.[i] ?? randomInt(0xa, 0x10)),
    pan,
  );
}

export function decodePinBlock3(block: Uint8Array, pan: Uint8Array): Buffer {
  return withoutPan(block, pan, (field) => readPinField(field, 3, (fill) => fill >= FILL_A));
}

/**
 * Format 4 (9.4.2), AES. PIN field of 16 bytes: `4 L P P P P p p p p p p p p A A` in nibbles
 * (L = PIN length, P = digit, p = digit or A), then 8 random bytes. The field is enciphered, XORed
 * with the PAN field, and enciphered again under the same key.
 * @param random the last 8 bytes; random if absent
 */
export function encipherPinBlock4(key: KeyObject, pin: Uint8Array, pan: Uint8Array, random?: Uint8Array): Buffer {
  const field = encodePinField4(pin, random);
  try {
    const cipher = createCipheriv(ecbOf(key), key, null).setAutoPadding(false);
    const once = cipher.update(field);
    xorInto(once, encodePanField4(pan));
    return cipher.update(once);
  } finally {
    field.fill(0);
  }
}

export function decipherPinBlock4(key: KeyObject, block: Uint8Array, pan: Uint8Array): Buffer {
  if (block.length !== EXTENDED_BYTES) throw new PinBlockError('block length');
  const decipher = createDecipheriv(ecbOf(key), key, null).setAutoPadding(false);
  const once = decipher.update(block);
  xorInto(once, encodePanField4(pan));
  const field = decipher.update(once);
  try {
    return decodePinField4(field);
  } finally {
    field.fill(0);
  }
}

/** The clear PIN field of format 4, before it is enciphered. */
export function encodePinField4(pin: Uint8Array, random: Uint8Array = randomBytesPooled(EXTENDED_BYTES / 2)): Buffer {
  const field = pinField(EXTENDED_BYTES, 4, pin, () => FILL_A);
  field.set(random, EXTENDED_BYTES / 2);
  return field;
}

export function decodePinField4(field: Uint8Array): Buffer {
  if (field.length !== EXTENDED_BYTES) throw new PinBlockError('block length');
  return readPinField(field.subarray(0, EXTENDED_BYTES / 2), 4, (fill) => fill === FILL_A);
}

/**
 * The PAN field of format 4: nibble M = PAN length - 12 (0 for 12 digits and fewer), then the PAN
 * of 1 to 19 digits with its check digit. The PAN is filled with zeros on the left to 12 digits,
 * the field on the right to 16 bytes.
 */
export function encodePanField4(pan: Uint8Array): Buffer {
  requirePan(pan, 1);
  const digits = Buffer.from(pan).toString('latin1').padStart(PAN_FIELD_DIGITS, '0');
  return Buffer.from(`${Math.max(0, pan.length - PAN_FIELD_DIGITS)}${digits}`.padEnd(2 * EXTENDED_BYTES, '0'), 'hex');
}

function ecbOf(key: KeyObject): string {
  return `aes-${(key.symmetricKeySize ?? 0) * 8}-ecb`;
}

/**
 * Makes a PIN field of `bytes` bytes. Its first 8 hold the control nibble, the length nibble, the
 * digits, and `fill(i)` as the i-th nibble after the digits.
 */
function pinField(bytes: number, control: number, pin: Uint8Array, fill: (i: number) => number): Buffer {
  if (pin.length < MIN_PIN_DIGITS || pin.length > MAX_PIN_DIGITS) throw new PinBlockError('PIN length');
  for (const digit of pin) if (!isDigit(digit - 0x30)) throw new PinBlockError('PIN digit');
  const field = Buffer.alloc(bytes);
  field[0] = (control << 4) | pin.length;
  for (let i = 0; i < 2 * COMPACT_BYTES - 2; i++) {
    const nibble = i < pin.length ? (pin[i] as number) & 0xf : fill(i - pin.length) & 0xf;
    field[1 + (i >> 1)] = (field[1 + (i >> 1)] as number) | (i % 2 === 0 ? nibble << 4 : nibble);
  }
  return field;
}

/** Reads the PIN of the first 8 bytes of a field. Throws PinBlockError unless every nibble fits. */
function readPinField(field: Uint8Array, control: number, isFill: (nibble: number) => boolean): Buffer {
  const first = field[0] as number;
  const length = first & 0xf;
  if (first >> 4 !== control) throw new PinBlockError('control');
  if (length < MIN_PIN_DIGITS || length > MAX_PIN_DIGITS) throw new PinBlockError('PIN length');
  const pin = Buffer.alloc(length);
  for (let i = 0; i < 2 * COMPACT_BYTES - 2; i++) {
    const byte = field[1 + (i >> 1)] as number;
    const nibble = i % 2 === 0 ? byte >> 4 : byte & 0xf;
    if (i < length ? isDigit(nibble) : isFill(nibble)) {
      if (i < length) pin[i] = 0x30 + nibble;
      continue;
    }
    pin.fill(0);
    throw new PinBlockError(i < length ? 'PIN digit' : 'fill');
  }
  return pin;
}

function overPan(field: Buffer, pan: Uint8Array): Buffer {
  xorInto(field, compactPanField(pan));
  return field;
}

function withoutPan(block: Uint8Array, pan: Uint8Array, read: (field: Buffer) => Buffer): Buffer {
  if (block.length !== COMPACT_BYTES) throw new PinBlockError('block length');
  const field = Buffer.from(block);
  try {
    xorInto(field, compactPanField(pan));
    return read(field);
  } finally {
    field.fill(0);
  }
}

/**
 * `0 0 0 0 A1 .. A12` of formats 0 and 3 (9.3.2.3). Without its check digit, a PAN of 12 digits or
 * fewer has less than 12 digits: they are filled with zeros on the left.
 */
function compactPanField(pan: Uint8Array): Buffer {
  requirePan(pan, 2);
  const digits = Buffer.from(pan.subarray(-1 - PAN_FIELD_DIGITS, -1)).toString('latin1');
  return Buffer.from(digits.padStart(2 * COMPACT_BYTES, '0'), 'hex');
}

function requirePan(pan: Uint8Array, minDigits: number): void {
  if (pan.length < minDigits || pan.length > MAX_PAN_DIGITS || !pan.every((digit) => isDigit(digit - 0x30)))
    throw new PinBlockError('PAN');
}

function isDigit(value: number): boolean {
  return value >= 0 && value <= 9;
}
