/**
 * Measures PIN sets and verifications of this build: against an earlier build, a bare Fastify
 * handler with the same schemas, and pgbench running the same statements row by row. All in one
 * run, rounds alternated, medians taken. Prints a table of ratios and writes bench/RESULTS.md.
 * Figures are those of one machine at one time: only the ratios in one table say something.
 *
 * npm run bench BENCH_AGAINST=v0.2.0 npm run bench against another commit (default 0fadfe3)
 * BENCH_ROUNDS=1 BENCH_SECONDS=2 npm run bench a quick look
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildOf, THIS_BUILD } from './builds.ts';
import { cpuOf, cpuOfFolder, cpuOfMachine } from './cpu.ts';
import { median, tableOf } from './figures.ts';
import {
  clearBacklog,
  countRecords,
  type Installation,
  setRequests,
  startInstallation,
  startServer,
  tokenOf,
  verifyRequests,
} from './installation.ts';
import { GENERATOR, type LoadResult, load, type Request } from './load.ts';
import { runPgbench } from './pgbench.ts';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 9);
const SECONDS = Number(process.env.BENCH_SECONDS ?? 5);
const AGAINST = process.env.BENCH_AGAINST ?? '0fadfe3';
const CONNECTIONS = 64;

const scratch = mkdtempSync(join(tmpdir(), 'pinward-bench-'));
chmodSync(scratch, 0o711); // as root, PostgreSQL's user must reach what is below

/** What one round measures. */
interface Case {
  name: string;
  run(): Promise<Sample>;
}

interface Sample {
  perSecond: number;
  p99Ms?: number;
  /** CPU of one request, microseconds. */
  nodeUs?: number;
  postgresUs?: number;
  /** CPU of everything that is not measured here, as a part of the machine's. */
  foreign?: number;
}

const stops: (() => Promise<void>)[] = [];
try {
  const cases = await makeCases();
  const samples = new Map<string, Sample[]>(cases.map(({ name }) => [name, []]));
  for (let round = 0; round <= ROUNDS; round++) {
    console.log(round === 0 ? 'warm-up' : `round ${round} of ${ROUNDS}`);
    // Each round begins with another case, so that none always runs after the same one.
    for (let i = 0; i < cases.length; i++) {
      const { name, run } = cases[(i + round) % cases.length] as Case;
      const sample = await run();
      if (round > 0) samples.get(name)?.push(sample);
    }
  }
  report(samples);
} finally {
  for (const stop of stops) await stop();
  rmSync(scratch, { recursive: true, force: true });
}

async function makeCases(): Promise<Case[]> {
  const bare = await startServer('bare', ['--import', 'tsx', 'bench/bare-server.ts'], scratch);
  stops.push(bare.stop);
  const now = await startInstallation('this build', THIS_BUILD, scratch);
  stops.push(now.stop);
  const cases: Case[] = [
    { name: 'bare handler', run: async () => put(bare.url, setRequests('')) },
    { name: 'pin/set', run: () => measure(now, 'pin_set') },
    { name: 'pin/verify', run: () => measure(now, 'pin_verified') },
  ];
  const earlier = buildOf(AGAINST, scratch);
  if (earlier === undefined) console.log(`${AGAINST} is not a commit of this checkout: nothing to compare with`);
  else {
    const before = await startInstallation(AGAINST, earlier, scratch);
    stops.push(before.stop);
    cases.push({ name: `pin/set of ${AGAINST}`, run: () => measure(before, 'pin_set') });
    cases.push({ name: `pin/verify of ${AGAINST}`, run: () => measure(before, 'pin_verified') });
  }
  if (spawnSync('pgbench', ['--version']).status === 0)
    cases.push({
      name: 'pgbench, row by row',
      run: async () => ({ perSecond: await runPgbench(now.databaseUrl, SECONDS) }),
    });
  return cases;
}

function put(url: string, requests: Request[]): Promise<LoadResult> {
  return load({ url, requests, connections: CONNECTIONS, seconds: SECONDS }, scratch);
}

/**
 * Loads an installation, measures its CPU, and makes sure that what it answered is in the database.
 */
async function measure(installation: Installation, action: 'pin_set' | 'pin_verified'): Promise<Sample> {
  const { url, pid, postgresFolder } = installation;
  await clearBacklog(installation);
  const requests = action === 'pin_set' ? setRequests(await tokenOf(url)) : verifyRequests();
  const recordsBefore = await countRecords(installation, action);
  const before = { node: cpuOf(pid), postgres: cpuOfFolder(postgresFolder), own: ownCpu(), machine: cpuOfMachine() };
  const startedAt = performance.now();
  const result = await put(url, requests);
  const elapsedMs = performance.now() - startedAt;
  const after = { node: cpuOf(pid), postgres: cpuOfFolder(postgresFolder), own: ownCpu(), machine: cpuOfMachine() };
  const written = (await countRecords(installation, action)) - recordsBefore;
  if (written < result.answers)
    throw new Error(`${installation.name}: ${result.answers} answers, and only ${written} records`);
  const [node, postgres] = [after.node - before.node, after.postgres - before.postgres];
  const all = after.machine - before.machine;
  return {
    ...result,
    nodeUs: node / result.answers,
    postgresUs: postgres / result.answers,
    foreign: Math.max(0, all - node - postgres - (after.own - before.own)) / (elapsedMs * cpus().length * 1e3),
  };
}

/** CPU of this process and of its ended children, the load generator among them. */
function ownCpu(): number {
  return cpuOf(process.pid);
}

function report(samples: Map<string, Sample[]>): void {
  const of = (name: string, figure: keyof Sample): number =>
    median((samples.get(name) ?? []).map((one) => one[figure] ?? Number.NaN));
  const shown = (value: number, digits: number, unit = ''): string =>
    Number.isNaN(value) ? '' : `${value.toFixed(digits)}${unit}`;
  const rows = [...samples.keys()].map((name) => [
    name,
    shown(of(name, 'perSecond'), 0),
    shown(of(name, 'perSecond') / of('bare handler', 'perSecond'), 2),
    shown(of(name, 'p99Ms'), 1, ' ms'),
    shown(of(name, 'nodeUs'), 0, ' us'),
    shown(of(name, 'postgresUs'), 0, ' us'),
    shown(of(name, 'foreign') * 100, 0, ' %'),
  ]);
  const head = ['', 'a second', 'to bare', 'p99', 'CPU of Node', 'CPU of PostgreSQL', 'foreign CPU'];
  const table = tableOf([head, ...rows]);
  const ratios = ratiosOf(of);
  console.log(`\n${table}\n\n${ratios.join('\n')}\n`);
  const where = `Node ${process.version}, ${cpus().length} cores (${cpus()[0]?.model.trim()}), load by ${GENERATOR}`;
  writeFileSync(
    new URL('RESULTS.md', import.meta.url),
    `# Results\n\n${new Date().toISOString().slice(0, 10)}, ${where}. ${CONNECTIONS} connections, medians of ${ROUNDS} alternated ` +
      `rounds of ${SECONDS} s; load generator, server and database share the cores. Compare inside the table alone. Every answer ` +
      `was checked to be in the database. Written by \`npm run bench\`.\n\n${table}\n\n\`\`\`\n${ratios.join('\n')}\n\`\`\`\n`,
  );
}

function ratiosOf(of: (name: string, figure: keyof Sample) => number): string[] {
  const cpu = (name: string): number => of(name, 'nodeUs') + of(name, 'postgresUs');
  const ratios: [what: string, value: number][] = [
    [`pin/set to ${AGAINST}`, of('pin/set', 'perSecond') / of(`pin/set of ${AGAINST}`, 'perSecond')],
    [`CPU of a set to ${AGAINST}`, cpu('pin/set') / cpu(`pin/set of ${AGAINST}`)],
    ['pin/verify to pin/set', of('pin/verify', 'perSecond') / of('pin/set', 'perSecond')],
    ['pin/set to pgbench', of('pin/set', 'perSecond') / of('pgbench, row by row', 'perSecond')],
  ];
  return ratios.filter(([, value]) => !Number.isNaN(value)).map(([what, value]) => `${what}: ${value.toFixed(2)}`);
}
