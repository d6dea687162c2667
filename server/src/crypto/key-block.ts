import { createDecipheriv, timingSafeEqual } from 'node:crypto';
import { aesCmac, tdesCmac } from './cmac.ts';
import { tdesDecipher } from './tdes.ts';

/*
 * Key blocks of ANSI X9.143-2021 (TR-31:2018), by key derivation binding: version B under TDES and
 * version D under AES. Versions A and C, by variant binding, are refused. A block is ASCII:
 *
 *   0      version          1 character: B or D
 *   1-4    length           of the whole block in characters, decimal
 *   5-6    key usage        P0: PIN encryption, K0/K1: key encryption, B0: BDK, ...
 *   7      algorithm        of the wrapped key: T (TDES), A (AES), D, H, ...
 *   8      mode of use      E, D, B (both), N (no restriction), ...
 *   9-10   key version      00: none
 *   11     exportability    E, N or S
 *   12-13  optional blocks  how many, decimal
 *   14-15  reserved         00
 *   16-    optional blocks  each: ID (2), length with ID and length (2 hex; 00: extended), data
 *          enciphered key   hex: length in bits (2 bytes) ‖ key ‖ random padding, in CBC, MAC as IV
 *          MAC              hex: CMAC over header and *clear* key field, 8 bytes (B) or 16 (D)
 */

export type KeyBlockVersion = 'B' | 'D';

export interface KeyBlockHeader {
  version: KeyBlockVersion;
  usage: string;
  algorithm: string;
  modeOfUse: string;
  keyVersion: string;
  exportability: string;
  optionalBlocks: OptionalBlock[];
}

export interface OptionalBlock {
  id: string;
  data: string;
}

export type KeyBlockFault =
  | 'version not supported'
  | 'length'
  | 'characters'
  | 'header'
  | 'optional block'
  | 'key-block protection key'
  | 'MAC'
  | 'key length'
  | 'published key';

/**
 * The text is not a key block under this protection key, or is one that the platform does not take.
 * The fault does not tell anything about a key.
 */
export class KeyBlockError extends Error {
  override readonly name = 'KeyBlockError';
  readonly fault: KeyBlockFault;
  constructor(fault: KeyBlockFault) {
    super(`key block is not acceptable: ${fault}`);
    this.fault = fault;
  }
}

const HEADER_LENGTH = 16;
/** The length field has four digits. */
const LENGTH_LIMIT = 9_999;
/** The field that gives the length of the key in bits, before the key itself. */
export const KEY_LENGTH_BYTES = 2;

interface Binding {
  /** Of the cipher and of the MAC. */
  blockBytes: 8 | 16;
  cmac: (key: Uint8Array, message: Uint8Array) => Buffer;
  decipher: (key: Uint8Array, iv: Uint8Array, text: Uint8Array) => Buffer;
  /**
   * The algorithm of the derived keys, by the length of the protection key in bytes (X9.143, table
   * of derivation data). A protection key of another length is refused.
   */
  derivedAlgorithms: Readonly<Record<number, number>>;
}

const BINDINGS: Record<KeyBlockVersion, Binding> = {
  B: {
    blockBytes: 8,
    cmac: tdesCmac,
    decipher: (key, iv, text) => tdesDecipher(key, iv).update(text),
    derivedAlgorithms: { 16: 0x0000, 24: 0x0001 },
  },
  D: {
    blockBytes: 16,
    cmac: aesCmac,
    decipher: (key, iv, text) =>
      createDecipheriv(`aes-${key.length * 8}-cbc`, key, iv)
        .setAutoPadding(false)
        .update(text),
    derivedAlgorithms: { 16: 0x0002, 24: 0x0003, 32: 0x0004 },
  },
};

/**
 * Opens a key block under its protection key (KBPK). Returns the header, and the key, which the
 * caller wipes. Compares the MAC before it reads anything inside. Throws KeyBlockError.
 */
export function unwrapKeyBlock(kbpk: Uint8Array, text: string): { header: KeyBlockHeader; key: Buffer } {
  const { header, headerText } = parseHeader(text);
  const { blockBytes, decipher, derivedAlgorithms } = BINDINGS[header.version];
  if (!(kbpk.length in derivedAlgorithms)) throw new KeyBlockError('key-block protection key');
  const body = text.slice(headerText.length);
  const macCharacters = 2 * blockBytes;
  const fieldCharacters = body.length - macCharacters;
  if (fieldCharacters < macCharacters || fieldCharacters % macCharacters !== 0) throw new KeyBlockError('length');
  if (!/^[0-9A-F]+$/.test(body)) throw new KeyBlockError('characters');
  const mac = Buffer.from(body.slice(fieldCharacters), 'hex');
  const { encryptionKey, macKey } = deriveBlockKeys(header.version, kbpk);
  const field = decipher(encryptionKey, mac, Buffer.from(body.slice(0, fieldCharacters), 'hex'));
  try {
    const expected = keyBlockMac(header.version, macKey, headerText, field);
    if (!timingSafeEqual(expected, mac)) throw new KeyBlockError('MAC');
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

function parseHeader(text: string): { header: KeyBlockHeader; headerText: string } {
  if (text.length < HEADER_LENGTH || text.length > LENGTH_LIMIT) throw new KeyBlockError('length');
  if (!/^[\x20-\x7e]*$/.test(text)) throw new KeyBlockError('characters');
  const version = text[0];
  if (version !== 'B' && version !== 'D') throw new KeyBlockError('version not supported');
  const match = /^.(\d{4})([0-9A-Z]{2})([0-9A-Z])([0-9A-Z])([0-9A-Za-z]{2})([ENS])(\d\d)00/.exec(text);
  if (match === null) throw new KeyBlockError('header');
  const [, length, usage, algorithm, modeOfUse, keyVersion, exportability, count] = match as unknown as [
    string,
    ...string[],
  ];
  if (Number(length) !== text.length) throw new KeyBlockError('length');
  const { optionalBlocks, end } = readOptionalBlocks(text, Number(count));
  if ((end - HEADER_LENGTH) % BINDINGS[version].blockBytes !== 0) throw new KeyBlockError('optional block');
  const header = { version, usage, algorithm, modeOfUse, keyVersion, exportability, optionalBlocks } as KeyBlockHeader;
  return { header, headerText: text.slice(0, end) };
}

function readOptionalBlocks(text: string, count: number): { optionalBlocks: OptionalBlock[]; end: number } {
  const optionalBlocks: OptionalBlock[] = [];
  let at = HEADER_LENGTH;
  for (let i = 0; i < count; i++) {
    const { id, data, end } = readOptionalBlock(text, at);
    if (optionalBlocks.some((earlier) => earlier.id === id)) throw new KeyBlockError('optional block');
    optionalBlocks.push({ id, data });
    at = end;
  }
  return { optionalBlocks, end: at };
}

/**
 * Reads ID, length of the whole optional block in two hex digits, and data. In the extended form:
 * ID, 00, number of length digits in two hex digits, length, data.
 */
function readOptionalBlock(text: string, at: number): OptionalBlock & { end: number } {
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

/**
 * Derives the two keys of a block, each as long as the protection key. The caller checks that
 * length first, and wipes the keys.
 */
export function deriveBlockKeys(version: KeyBlockVersion, kbpk: Uint8Array): { encryptionKey: Buffer; macKey: Buffer } {
  return { encryptionKey: derive(BINDINGS[version], kbpk, 0), macKey: derive(BINDINGS[version], kbpk, 1) };
}

/**
 * CMACs under the protection key, as many as are needed, over
 * counter (1) ‖ usage (2; 0: encryption, 1: MAC) ‖ 00 ‖ algorithm (2) ‖ length in bits (2).
 */
function derive({ blockBytes, cmac, derivedAlgorithms }: Binding, kbpk: Uint8Array, usage: 0 | 1): Buffer {
  const data = Buffer.alloc(8);
  data.writeUInt16BE(usage, 1);
  data.writeUInt16BE(derivedAlgorithms[kbpk.length] as number, 4);
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

/** The MAC of a block: over its header, optional blocks included, and its clear key field. */
export function keyBlockMac(
  version: KeyBlockVersion,
  macKey: Uint8Array,
  headerText: string,
  field: Uint8Array,
): Buffer {
  const message = Buffer.concat([Buffer.from(headerText, 'latin1'), field]);
  const mac = BINDINGS[version].cmac(macKey, message);
  message.fill(0);
  return mac;
}
