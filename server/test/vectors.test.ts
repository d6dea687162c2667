import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { KeyBlockError, unwrapKeyBlock } from '../src/crypto/key-block.ts';
import type { Vector } from './support/vector-algorithms.ts';

const published = new URL('../../contract/vectors/pin-vectors.json', import.meta.url).pathname;
const vectors = JSON.parse(readFileSync(published, 'utf8')) as Vector[];
const scratch = mkdtempSync(join(tmpdir(), 'pinward-vectors-'));
after(() => rmSync(scratch, { recursive: true }));

function run(...words: string[]): { status: number | null; lines: string[] } {
  const runner = new URL('vectors.ts', import.meta.url).pathname;
  const { status, stdout } = spawnSync(process.execPath, ['--import', 'tsx', runner, ...words], { encoding: 'utf8' });
  return { status, lines: stdout.trimEnd().split('\n') };
}

function fileOf(content: unknown): string {
  const path = join(scratch, 'some.json');
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

test('every published vector holds, except the key blocks of versions A and C', () => {
  const { status, lines } = run(published, '--skip', 'tr31.unwrap-legacy');
  assert.equal(lines.at(-1), '147 passed, 0 failed', lines.join('\n'));
  assert.equal(status, 0);
  assert.equal(vectors.length, 147 + 9);
});

test('key blocks of versions A and C are refused by name', () => {
  const legacy = vectors.filter(({ algorithm }) => algorithm === 'tr31.unwrap-legacy') as unknown as {
    kbpk: string;
    key_block: string;
  }[];
  assert.equal(legacy.length, 9);
  for (const { kbpk, key_block } of legacy)
    assert.throws(
      () => unwrapKeyBlock(Buffer.from(kbpk, 'hex'), key_block),
      (error) => error instanceof KeyBlockError && error.fault === 'version not supported',
    );
});

test('the runner fails for a wrong value, a missing input, an algorithm that we do not have, and a file without vectors', () => {
  const of = (algorithm: string) => vectors.find((vector) => vector.algorithm === algorithm) as Vector;
  const { pan: _, ...withoutPan } = of('pinblock.iso0');
  const taken = {
    ...of('pinblock.iso0'),
    algorithm: 'pinblock.iso0.decode-reject',
    pin_block: of('pinblock.iso0').expected,
  };
  for (const [content, last] of [
    [[{ ...of('pinblock.iso0'), expected: '041261AAAAEDCBA8' }, of('cvv')], '1 passed, 1 failed'],
    [[withoutPan], '0 passed, 1 failed'],
    [[taken], '0 passed, 1 failed'],
    [[{ id: 'v1', algorithm: 'pvv', expected: '1234' }, of('cvv')], '1 passed, 1 failed'],
    [[], '0 passed, 1 failed'],
    ['{', '0 passed, 1 failed'],
  ] as const) {
    const { status, lines } = run(fileOf(content));
    assert.deepEqual([status, lines.at(-1)], [1, last]);
  }
  assert.deepEqual(run(fileOf([{ id: 'v1', algorithm: 'pvv' }, of('cvv')]), '--skip', 'pvv', 'other').lines, [
    'pvv  1 skipped',
    'cvv  1 passed, 0 failed',
    '1 passed, 0 failed',
  ]);
});
