import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { KeyBlockError, type KeyBlockFault, type KeyBlockHeader, unwrapKeyBlock } from '../src/crypto/key-block.ts';
import { wrapKeyBlock } from './support/wrap-key-block.ts';

const HEADER: KeyBlockHeader = {
  version: 'D',
  usage: 'P0',
  algorithm: 'A',
  modeOfUse: 'D',
  keyVersion: '00',
  exportability: 'N',
  optionalBlocks: [],
};
const kbpk = randomBytes(32);

function refused(run: () => unknown, fault?: KeyBlockFault): void {
  assert.throws(run, (error) => error instanceof KeyBlockError && (fault === undefined || error.fault === fault));
}

test('a key of any length comes back, with its header, under a protection key of every length', () => {
  for (const [version, kbpkBytes] of [
    ['B', 16],
    ['B', 24],
    ['D', 16],
    ['D', 24],
    ['D', 32],
  ] as const) {
    const protection = randomBytes(kbpkBytes);
    for (const length of [1, 8, 16, 24, 32, 48]) {
      for (const optionalBlocks of [
        [],
        [{ id: 'KS', data: '00604B120F9292800000' }],
        [{ id: 'KV', data: 'x'.repeat(300) }],
      ]) {
        const key = randomBytes(length);
        const text = wrapKeyBlock(protection, { ...HEADER, version, optionalBlocks }, key, 32);
        const opened = unwrapKeyBlock(protection, text);
        assert.deepEqual(opened.key, key);
        const read = opened.header.optionalBlocks.filter(({ id }) => id !== 'PB');
        assert.deepEqual({ ...opened.header, optionalBlocks: read }, { ...HEADER, version, optionalBlocks });
      }
    }
  }
});

test('the padding hides how long the key is', () => {
  const lengths = [16, 24, 32].map((length) => wrapKeyBlock(kbpk, HEADER, randomBytes(length), 32).length);
  assert.equal(new Set(lengths).size, 1);
});

test('a block with any one character changed, cut off or added is refused', () => {
  const text = wrapKeyBlock(
    kbpk,
    { ...HEADER, optionalBlocks: [{ id: 'KS', data: '00604B120F9292800000' }] },
    randomBytes(32),
  );
  for (let i = 0; i < text.length; i++) {
    refused(() => unwrapKeyBlock(kbpk, text.slice(0, i)));
    for (const other of ['0', 'F', 'X'])
      if (text[i] !== other) refused(() => unwrapKeyBlock(kbpk, text.slice(0, i) + other + text.slice(i + 1)));
  }
  refused(() => unwrapKeyBlock(kbpk, `${text}00`), 'length');
  refused(() => unwrapKeyBlock(kbpk, text.toLowerCase()));
  refused(() => unwrapKeyBlock(randomBytes(32), text), 'MAC');
});

test('a header of the same length that says something else is refused by the MAC', () => {
  const text = wrapKeyBlock(kbpk, HEADER, randomBytes(32));
  const changed = text.replace('P0AD00N', 'K1AB00E');
  assert.notEqual(changed, text);
  refused(() => unwrapKeyBlock(kbpk, changed), 'MAC');
});

test('other versions, and protection keys of other lengths, are refused by name', () => {
  const text = wrapKeyBlock(kbpk, HEADER, randomBytes(32));
  for (const version of ['A', 'C', 'E', 'd', '0'])
    refused(() => unwrapKeyBlock(kbpk, version + text.slice(1)), 'version not supported');
  for (const bytes of [0, 8, 15, 31, 33, 64])
    refused(() => unwrapKeyBlock(randomBytes(bytes), text), 'key-block protection key');
  refused(
    () => unwrapKeyBlock(randomBytes(32), wrapKeyBlock(randomBytes(16), { ...HEADER, version: 'B' }, randomBytes(16))),
    'key-block protection key',
  );
  refused(() => wrapKeyBlock(kbpk, HEADER, Buffer.alloc(0)), 'key length');
  refused(() => wrapKeyBlock(kbpk, { ...HEADER, usage: 'P' }, randomBytes(32)));
  refused(() => wrapKeyBlock(kbpk, { ...HEADER, optionalBlocks: [{ id: 'k', data: '' }] }, randomBytes(32)));
});

test('any text is opened or refused with a KeyBlockError', () => {
  const good = wrapKeyBlock(kbpk, { ...HEADER, optionalBlocks: [{ id: 'KS', data: '0060' }] }, randomBytes(32));
  const spliced = fc
    .tuple(fc.nat(good.length), fc.nat(good.length), fc.string({ maxLength: 8 }))
    .map(([from, to, middle]) => good.slice(0, from) + middle + good.slice(to));
  const relabelled = spliced.map((text) => text[0] + String(text.length).padStart(4, '0') + text.slice(5)); // the length is right again
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), spliced, relabelled), (text) => {
      if (text === good) return;
      refused(() => unwrapKeyBlock(kbpk, text));
    }),
    { numRuns: 3_000 },
  );
});
