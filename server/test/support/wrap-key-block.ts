import { createCipheriv, randomBytes } from 'node:crypto';
import {
  deriveBlockKeys,
  KEY_LENGTH_BYTES,
  type KeyBlockHeader,
  keyBlockMac,
  type OptionalBlock,
  unwrapKeyBlock,
} from '../../src/crypto/key-block.ts';
import { tdesCipher } from '../../src/crypto/tdes.ts';

const HEADER_LENGTH = 16;

/**
 * Makes a key block, as an issuer's HSM does (the format is in crypto/key-block.ts). The padding is
 * random and hides the length of a key of up to `hideUpToBytes` bytes: the longest key of its kind,
 * 24 for TDES and 32 for AES. Adds a padding block to the optional blocks if their length needs
 * one. Throws KeyBlockError for a block that the platform cannot read.
 */
export function wrapKeyBlock(
  kbpk: Uint8Array,
  header: KeyBlockHeader,
  key: Uint8Array,
  hideUpToBytes = key.length,
): string {
  const { version, usage, algorithm, modeOfUse, keyVersion, exportability } = header;
  const blockBytes = version === 'B' ? 8 : 16;
  const neededBytes = KEY_LENGTH_BYTES + Math.max(key.length, hideUpToBytes);
  const fieldBytes = Math.ceil(neededBytes / blockBytes) * blockBytes;
  const { count, text: optional } = optionalText(header.optionalBlocks, blockBytes);
  const length = HEADER_LENGTH + optional.length + 2 * (fieldBytes + blockBytes);
  const start = `${version}${String(length).padStart(4, '0')}${usage}${algorithm}${modeOfUse}`;
  const headerText = `${start}${keyVersion}${exportability}${String(count).padStart(2, '0')}00${optional}`;

  const { encryptionKey, macKey } = deriveBlockKeys(version, kbpk);
  const field = randomBytes(fieldBytes);
  field.writeUInt16BE(key.length * 8);
  field.set(key, KEY_LENGTH_BYTES);
  const mac = keyBlockMac(version, macKey, headerText, field);
  const cipher =
    version === 'B'
      ? tdesCipher(encryptionKey, mac)
      : createCipheriv(`aes-${encryptionKey.length * 8}-cbc`, encryptionKey, mac).setAutoPadding(false);
  const block = headerText + hexOf(cipher.update(field)) + hexOf(mac);
  unwrapKeyBlock(kbpk, block);
  return block;
}

/** All optional blocks. A padding block `PB` fills them up to a multiple of the cipher's block. */
function optionalText(blocks: OptionalBlock[], blockBytes: number): { count: number; text: string } {
  let text = '';
  for (const { id, data } of blocks) {
    const short = 4 + data.length;
    text += short <= 0xff ? `${id}${hexOf(short, 2)}${data}` : `${id}0004${hexOf(10 + data.length, 4)}${data}`;
  }
  if (text.length % blockBytes === 0) return { count: blocks.length, text };
  const missing = blockBytes - (text.length % blockBytes);
  const length = missing < 4 ? missing + blockBytes : missing;
  return { count: blocks.length + 1, text: `${text}PB${hexOf(length, 2)}${'0'.repeat(length - 4)}` };
}

function hexOf(value: Buffer | number, digits = 0): string {
  const text = typeof value === 'number' ? value.toString(16).padStart(digits, '0') : value.toString('hex');
  return text.toUpperCase();
}
