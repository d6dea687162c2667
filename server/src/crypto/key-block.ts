import { createCipheriv, createDecipheriv, randomBytes, timingSafeEqual } from 'node:crypto';
import { aesCmac, tdesCmac } from './cmac.ts';
import { tdesCipher, tdesDecipher } from './tdes.ts';

/*
 * Key blocks of ANSI X9.143-2021 (TR-31:2018), versions B (TDES) and D (AES), by key derivation binding. All ASCII:
 *
 *   0      version          1 character: B or D (A and C, the variant binding, are refused)
 *   1-4    length           of the whole block in characters, decimal
 *   5-6    key usage        P0: PIN encryption, K0/K1: key encryption, B0: BDK, ...
 *   7      algorithm        of the wrapped key: T (TDES), A (AES), D, H, ...
 *   8      mode of use      E, D, B (both), N (no restriction), ...
 *   9-10   key version      00: none
 *   11     exportability    E, N or S
 *   12-13  optional blocks  how many, decimal
 *   14-15  reserved         00
 *   16-    optional blocks  each: ID (2), length with ID and length (2 hex; 00: extended), data
 *          enciphered key   hex: length in bits (2 bytes) ‖ key ‖ random padding, CBC, the MAC as IV
 *          MAC              hex: CMAC over header and *clear* key field, 8 bytes (B) or 16 (D)
 */

export interface KeyBlockHeader {
  version: 'B' | 'D';
  usage: string;
  algorithm: string;
  modeOfUse: string;
  keyVersion: string;
  exportability: string;
  optionalBlocks: { id: string; data: string }[];
}

export type KeyBlockFault =
  | 'version not supported'
  | 'length'
  | 'characters'
  | 'header'
  | 'optional block'
  | 'key-block protection key'
  | 'MAC'
  | 'key length';

/** The text is no key block of this protection key, or not one that the platform takes. Says nothing of a key. */
export class KeyBlockError extends Error {
  override readonly name = 'KeyBlockError';
  readonly fault: KeyBlockFault;
  constructor(fault: KeyBlockFault) {
    super(`no acceptable key block: ${fault}`);
    this.fault = fault;
  }
}

const HEADER_LENGTH = 16;
/** The length field has four digits. */
const MOST_CHARACTERS = 9_999;
const MOST_OPTIONAL_BLOCKS = 99;
const KEY_LENGTH_BYTES = 2;

interface Binding {
  blockBytes: 8 | 16;
  kbpkBytes: readonly number[];
  cmac: (key: Uint8Array, message: Uint8Array) => Buffer;
  /** The algorithm of the derived keys, by the protection key's length in bytes (X9.143, table of derivation data). */
  derived: Record<number, number>;
  encipher: (key: Uint8Array, iv: Uint8Array, clear: Uint8Array) => Buffer;
  decipher: (key: Uint8Array, iv: Uint8Array, text: Uint8Array) => Buffer;
}

const BINDINGS: Record<'B' | 'D', Binding> = {
  B: {
    blockBytes: 8,
    kbpkBytes: [16, 24],
    cmac: tdesCmac,
    derived: { 16: 0x0000, 24: 0x0001 },
    encipher: (key, iv, clear) => tdesCipher(key, iv).update(clear),
    decipher: (key, iv, text) => tdesDecipher(key, iv).update(text),
  },
  D: {
    blockBytes: 16,
    kbpkBytes: [16, 24, 32],
    cmac: aesCmac,
    derived: { 16: 0x0002, 24: 0x0003, 32: 0x0004 },
    encipher: (key, iv, clear) =>
      createCipheriv(`aes-${key.length * 8}-cbc`, key, iv)
        .setAutoPadding(false)
        .update(clear),
    decipher: (key, iv, text) =>
      createDecipheriv(`aes-${key.length * 8}-cbc`, key, iv)
        .setAutoPadding(false)
        .update(text),
  },
};

/** Opens a key block: its header, and the key, which the caller wipes. The MAC is compared before anything inside is looked at. */
export function unwrapKeyBlock(kbpk: Uint8Array, text: string): { header: KeyBlockHeader; key: Buffer } {
  const { header, headerText, binding } = parseHeader(text);
  const { blockBytes } = binding;
  requireKbpk(binding, kbpk);
  const body = text.slice(headerText.length);
  const macCharacters = 2 * blockBytes;
  const fieldCharacters = body.length - macCharacters;
  if (fieldCharacters < macCharacters || fieldCharacters % macCharacters !== 0) throw new KeyBlockError('length');
  if (!/^[0-9A-F]+$/.test(body)) throw new KeyBlockError('characters');
  const mac = Buffer.from(body.slice(fieldCharacters), 'hex');
  const encryptionKey = derive(binding, kbpk, 'encryption');
  const macKey = derive(binding, kbpk, 'mac');
  const field = binding.decipher(encryptionKey, mac, Buffer.from(body.slice(0, fieldCharacters), 'hex'));
  try {
    if (!timingSafeEqual(macOver(binding, macKey, headerText, field), mac)) throw new KeyBlockError('MAC');
    const bits = field.readUInt16BE();
    const bytes = bits / 8;
    if (bits === 0 || bits % 8 !== 0 || KEY_LENGTH_BYTES + bytes > field.length) throw new KeyBlockError('key length');
    return { header, key: Buffer.from(field.subarray(KEY_LENGTH_BYTES, KEY_LENGTH_BYTES + bytes)) };
  } finally {
    field.fill(0);
    encryptionKey.fill(0);
    macKey.fill(0);
  }
}

/**
 * Makes a key block. Padding is random, and hides the key's length up to `hideUpToBytes` (the longest key of its kind: 24 for
 * TDES, 32 for AES). A padding block is added to optional blocks where their length wants it.
 */
export function wrapKeyBlock(kbpk: Uint8Array, header: KeyBlockHeader, key: Uint8Array, hideUpToBytes = key.length): string {
  const binding = BINDINGS[header.version];
  if (binding === undefined) throw new KeyBlockError('version not supported');
  const { blockBytes } = binding;
  requireKbpk(binding, kbpk);
  if (key.length === 0) throw new KeyBlockError('key length');
  const wanted = KEY_LENGTH_BYTES + Math.max(key.length, hideUpToBytes);
  const fieldBytes = Math.ceil(wanted / blockBytes) * blockBytes;
  const { count, text: optional } = optionalText(header.optionalBlocks, blockBytes);
  const length = HEADER_LENGTH + optional.length + 2 * (fieldBytes + blockBytes);
  if (length > MOST_CHARACTERS) throw new KeyBlockError('length');
  const { version, usage, algorithm, modeOfUse, keyVersion, exportability } = header;
  const fixed = `${version}${String(length).padStart(4, '0')}${usage}${algorithm}${modeOfUse}${keyVersion}${exportability}`;
  const headerText = `${fixed}${String(count).padStart(2, '0')}00${optional}`;
  parseHeader(headerText.padEnd(length, '0')); // what we would not read we do not write

  const encryptionKey = derive(binding, kbpk, 'encryption');
  const macKey = derive(binding, kbpk, 'mac');
  const field = randomBytes(fieldBytes);
  try {
    field.writeUInt16BE(key.length * 8);
    field.set(key, KEY_LENGTH_BYTES);
    const mac = macOver(binding, macKey, headerText, field);
    return headerText + hexOf(binding.encipher(encryptionKey, mac, field)) + hexOf(mac);
  } finally {
    field.fill(0);
    encryptionKey.fill(0);
    macKey.fill(0);
  }
}

function parseHeader(text: string): { header: KeyBlockHeader; headerText: string; binding: Binding } {
  if (text.length < HEADER_LENGTH || text.length > MOST_CHARACTERS) throw new KeyBlockError('length');
  if (!/^[\x20-\x7e]*$/.test(text)) throw new KeyBlockError('characters');
  const version = text[0] as string;
  if (version !== 'B' && version !== 'D') throw new KeyBlockError('version not supported');
  const binding = BINDINGS[version];
  const match = /^.(\d{4})([0-9A-Z]{2})([0-9A-Z])([0-9A-Z])([0-9A-Za-z]{2})([ENS])(\d\d)00/.exec(text);
  if (match === null) throw new KeyBlockError('header');
  const [, length, usage, algorithm, modeOfUse, keyVersion, exportability, count] = match as unknown as [string, ...string[]];
  if (Number(length) !== text.length) throw new KeyBlockError('length');
  const optionalBlocks: KeyBlockHeader['optionalBlocks'] = [];
  let at = HEADER_LENGTH;
  for (let i = 0; i < Number(count); i++) {
    const one = readOptionalBlock(text, at);
    if (optionalBlocks.some(({ id }) => id === one.id)) throw new KeyBlockError('optional block');
    optionalBlocks.push({ id: one.id, data: one.data });
    at = one.end;
  }
  if ((at - HEADER_LENGTH) % binding.blockBytes !== 0) throw new KeyBlockError('optional block');
  const header = { version, usage, algorithm, modeOfUse, keyVersion, exportability, optionalBlocks } as KeyBlockHeader;
  return { header, headerText: text.slice(0, at), binding };
}

/** ID, length of the whole optional block in two hex digits, data; or ID, 00, length of the length, length, data. */
function readOptionalBlock(text: string, at: number): { id: string; data: string; end: number } {
  const start = /^([0-9A-Z]{2})([0-9A-F]{2})/.exec(text.slice(at, at + 4));
  if (start === null) throw new KeyBlockError('optional block');
  const [, id, short] = start as unknown as [string, string, string];
  let dataAt = at + 4;
  let length = Number.parseInt(short, 16);
  if (length === 0) {
    const digits = hexNumber(text.slice(dataAt, dataAt + 2), 2);
    if (digits === 0 || digits > 4) throw new KeyBlockError('optional block');
    length = hexNumber(text.slice(dataAt + 2, dataAt + 2 + digits), digits);
    dataAt += 2 + digits;
  }
  const end = at + length;
  if (end < dataAt || end > text.length) throw new KeyBlockError('optional block');
  return { id, data: text.slice(dataAt, end), end };
}

function hexNumber(text: string, digits: number): number {
  if (text.length !== digits || !/^[0-9A-F]+$/.test(text)) throw new KeyBlockError('optional block');
  return Number.parseInt(text, 16);
}

/** All optional blocks, filled up with a padding block `PB` to a multiple of the cipher's block. */
function optionalText(blocks: KeyBlockHeader['optionalBlocks'], blockBytes: number): { count: number; text: string } {
  let text = '';
  for (const { id, data } of blocks) {
    const short = 4 + data.length;
    text += short <= 0xff ? `${id}${hexOf(short, 2)}${data}` : `${id}0004${hexOf(10 + data.length, 4)}${data}`;
  }
  let count = blocks.length;
  if (text.length % blockBytes !== 0) {
    const short = blockBytes - (text.length % blockBytes);
    const whole = short < 4 ? short + blockBytes : short;
    text += `PB${hexOf(whole, 2)}${'0'.repeat(whole - 4)}`;
    count++;
  }
  if (count > MOST_OPTIONAL_BLOCKS) throw new KeyBlockError('optional block');
  return { count, text };
}

function requireKbpk({ kbpkBytes }: Binding, kbpk: Uint8Array): void {
  if (!kbpkBytes.includes(kbpk.length)) throw new KeyBlockError('key-block protection key');
}

/**
 * Derives the block's encryption or MAC key, as long as the protection key: CMACs under it over
 * counter (1) ‖ usage (2) ‖ 00 ‖ algorithm (2) ‖ length in bits (2), as many as are needed.
 */
function derive({ blockBytes, cmac, derived }: Binding, kbpk: Uint8Array, usage: 'encryption' | 'mac'): Buffer {
  const data = Buffer.alloc(8);
  data.writeUInt16BE(usage === 'mac' ? 1 : 0, 1);
  data.writeUInt16BE(derived[kbpk.length] as number, 4);
  data.writeUInt16BE(kbpk.length * 8, 6);
  const parts: Buffer[] = [];
  for (let counter = 1; (counter - 1) * blockBytes < kbpk.length; counter++) {
    data[0] = counter;
    parts.push(cmac(kbpk, data));
  }
  const key = Buffer.from(Buffer.concat(parts).subarray(0, kbpk.length));
  for (const part of parts) part.fill(0);
  return key;
}

function macOver({ cmac }: Binding, macKey: Uint8Array, headerText: string, field: Uint8Array): Buffer {
  const message = Buffer.concat([Buffer.from(headerText, 'latin1'), field]);
  const mac = cmac(macKey, message);
  message.fill(0);
  return mac;
}

function hexOf(value: Buffer): string;
function hexOf(value: number, digits: number): string;
function hexOf(value: Buffer | number, digits = 0): string {
  const text = typeof value === 'number' ? value.toString(16).padStart(digits, '0') : value.toString('hex');
  return text.toUpperCase();
}
