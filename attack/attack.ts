/**
 * Attacks a sandbox of its own, and says what held: `npm run attack`. attack/README.md describes
 * the attacks and their options. Ends with status 1 if something did not hold.
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { durability } from './durability.ts';
import { flood } from './flood.ts';
import { fuzz } from './fuzz.ts';
import { guesses } from './guesses.ts';
import { jwe } from './jwe.ts';
import type { Attack, AttackOptions } from './sandbox.ts';
import { timing } from './timing.ts';

/** All attacks. A new one is a file that exports an `Attack`, and a place in this list. */
const ATTACKS: Attack[] = [guesses, durability, jwe, timing, flood, fuzz];
const ATTACK_LIMIT_MS = 15 * 60_000;
/** A fuzz run may be as long as the operator asks for. */
const MS_PER_REQUEST = 20;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    requests: { type: 'string', default: '5000' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    help: { type: 'boolean', default: false },
  },
});
const options: AttackOptions = { requests: Number(values.requests), seed: Number(values.seed) };
const unknown = positionals.filter((name) => !ATTACKS.some((attack) => attack.name === name));
if (values.help || unknown.length > 0 || !(options.requests > 0) || !Number.isInteger(options.seed)) {
  print('npm run attack -- [attack ...] [--requests N] [--seed N]');
  for (const { name, promise } of ATTACKS) print(`  ${name.padEnd(12)}${promise}`);
  process.exit(values.help ? 0 : 2);
}

print(`seed ${options.seed}`);
const chosen = ATTACKS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
const rows: { attack: string; held: string; seconds: number; found: string }[] = [];
for (const attack of chosen) {
  print(`${attack.name}: ${attack.promise}`);
  const beganAtMs = performance.now();
  const { held, found } = await run(attack);
  const seconds = Math.round((performance.now() - beganAtMs) / 1000);
  print(`  ${held ? 'held' : 'DID NOT HOLD'}: ${found}`);
  rows.push({ attack: attack.name, held: held ? 'yes' : 'NO', seconds, found });
}
print(`\n${'attack'.padEnd(12)}${'held'.padEnd(6)}${'s'.padStart(5)}  found`);
for (const { attack, held, seconds, found } of rows)
  print(`${attack.padEnd(12)}${held.padEnd(6)}${String(seconds).padStart(5)}  ${found}`);
process.exit(rows.every(({ held }) => held === 'yes') ? 0 : 1);

/** Runs one attack within its time, and takes away what it started. */
async function run(attack: Attack): Promise<{ held: boolean; found: string }> {
  const ends: (() => Promise<void>)[] = [];
  const scope = { after: (work: () => Promise<void>) => void ends.push(work) };
  let timer: NodeJS.Timeout | undefined;
  const limitMs = ATTACK_LIMIT_MS + (attack === fuzz ? options.requests * MS_PER_REQUEST : 0);
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it took longer than ${limitMs / 1000} s`)), limitMs);
  });
  try {
    return await Promise.race([attack.run(scope, options), late]);
  } catch (error) {
    return { held: false, found: (error as Error).message };
  } finally {
    clearTimeout(timer);
    for (const end of ends.toReversed()) await end();
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
