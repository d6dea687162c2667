/**
 * Runs a file of published vectors: `npm run vectors -- FILE.json [--skip ALGORITHM ...]`. A line
 * for each algorithm, and at the end `N passed, M failed`; status 1 on a failure. An algorithm that
 * the product does not have has failed, unless skipped by name.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { ALGORITHMS, type Vector } from './support/vector-algorithms.ts';

function readVectors(file: string): Vector[] {
  const vectors = JSON.parse(readFileSync(file, 'utf8')) as Vector[];
  const whole =
    Array.isArray(vectors) && vectors.length > 0 && vectors.every((one) => typeof one?.algorithm === 'string');
  if (!whole) throw new Error('a list of vectors is wanted, each with its algorithm');
  return vectors;
}

/** What is wrong, or undefined. */
function faultOf(vector: Vector): string | undefined {
  const check = ALGORITHMS[vector.algorithm];
  if (check === undefined) return 'the product does not have this algorithm';
  try {
    check(vector);
    return undefined;
  } catch (error) {
    return (error as Error).message.split('\n').join(' ');
  }
}

const { values, positionals } = parseArgs({
  options: { skip: { type: 'string', multiple: true } },
  allowPositionals: true,
});
const file = positionals.find((word) => word.endsWith('.json')) ?? positionals[0];
const skipped = new Set([...(values.skip ?? []), ...positionals.filter((word) => word !== file)]);

let passed = 0;
let failed = 0;
try {
  if (file === undefined) throw new Error('usage: npm run vectors -- FILE.json [--skip ALGORITHM ...]');
  const byAlgorithm = new Map<string, Vector[]>();
  for (const vector of readVectors(file))
    byAlgorithm.set(vector.algorithm, [...(byAlgorithm.get(vector.algorithm) ?? []), vector]);
  const width = Math.max(...[...byAlgorithm.keys()].map(({ length }) => length));
  for (const [algorithm, vectors] of byAlgorithm) {
    const name = algorithm.padEnd(width);
    if (skipped.has(algorithm)) {
      console.log(`${name}  ${vectors.length} skipped`);
      continue;
    }
    const faults = vectors.flatMap((vector) => {
      const fault = faultOf(vector);
      return fault === undefined ? [] : [`  ${vector.id ?? '(no id)'}: ${fault}`];
    });
    passed += vectors.length - faults.length;
    failed += faults.length;
    console.log(`${name}  ${vectors.length - faults.length} passed, ${faults.length} failed`);
    for (const fault of faults) console.log(fault);
  }
} catch (error) {
  console.log((error as Error).message);
  failed++;
}
console.log(`${passed} passed, ${failed} failed`);
if (failed > 0 || passed === 0) process.exitCode = 1;
