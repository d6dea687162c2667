/**
 * Measures pin/set against a bare handler, against itself without shared statements, and against pgbench running the same
 * statements one by one; each database in the same run, rounds alternated, medians taken. Prints a table of ratios
 * and writes bench/RESULTS.md. Absolute numbers are of one machine at one time; only the ratios mean something.
 *
 *   npm run bench                                  the embedded database
 *   BENCH_DATABASE_URL=postgres://... npm run bench  that server too (an empty database; it is filled)
 *   BENCH_ROUNDS=1 BENCH_SECONDS=2 npm run bench     a quick look
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import autocannon from 'autocannon';
import { readConfig } from '../server/src/config.ts';
import { openDatabase } from '../server/src/db/database.ts';
import { updateMerchant } from '../server/src/merchants/update-merchant.ts';
import { openPlatform, type Platform } from '../server/src/platform.ts';
import { resetSandbox } from '../server/src/sandbox/seed.ts';
import { SANDBOX_MERCHANT_NO } from '../server/src/sandbox/world.ts';
import { benchCards, fillWithCards, requestFor } from './cards.ts';
import { median, tableOf } from './figures.ts';
import { runPgbench } from './pgbench.ts';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const SECONDS = Number(process.env.BENCH_SECONDS ?? 5);
const CONNECTIONS = 64;
/** What `npm start` gives Node; the bare handler gets it too. */
const NODE_FLAGS = ['--max-semi-space-size=32'];
const LONE_REQUESTS = 2_000;

interface Variant {
  name: string;
  url: string;
}

interface Place {
  name: string;
  platform: Platform;
  databaseUrl: string;
  shared: Variant;
  alone: Variant;
}

const started: ChildProcess[] = [];
const opened: Platform[] = [];
const scratch = mkdtempSync(join(tmpdir(), 'pinward-bench-'));
chmodSync(scratch, 0o711); // as in demo/demo.ts

/** Starts a server as `npm start` does, its log in a file, and waits until it says where it listens. */
async function start(name: string, command: string[], env: Record<string, string>): Promise<Variant> {
  const logPath = join(scratch, `${name.replace(/\W+/g, '-')}.log`);
  const log = openSync(logPath, 'w');
  const child = spawn(process.execPath, [...NODE_FLAGS, ...command], {
    env: { ...process.env, ...env },
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  started.push(child);
  for (let tries = 0; tries < 200; tries++) {
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(readFileSync(logPath, 'utf8'))?.[0];
    if (url !== undefined) return { name, url };
    if (child.exitCode !== null) break;
    await sleep(50);
  }
  throw new Error(`${name} does not listen:\n${readFileSync(logPath, 'utf8')}`);
}

function startPlatform(name: string, env: Record<string, string>): Promise<Variant> {
  const limits = {
    LIMIT_CALLS_PER_CREDENTIAL_PER_MINUTE: '1000000000',
    LIMIT_PIN_SETS_PER_CARD_PER_MINUTE: '1000000000',
  };
  return start(name, ['server/dist/main.js', 'serve'], { PORT: '0', LOG_LEVEL: 'info', ...limits, ...env });
}

async function tokenOf(url: string): Promise<string> {
  const response = await fetch(`${url}/open-api/v1/merchant/token`, {
    headers: { 'Api-Key': 'sandbox_api_key', Timestamp: String(Date.now()) },
  });
  return ((await response.json()) as { data: { access_token: string } }).data.access_token;
}

/** Requests a second. Every connection walks through cards of its own, as different cardholders would. */
async function load(url: string, token: string, connections: number, amount?: number): Promise<autocannon.Result> {
  let connection = 0;
  const per = Math.floor(benchCards.length / connections);
  const result = await autocannon({
    url,
    connections,
    ...(amount === undefined ? { duration: SECONDS } : { amount }),
    setupClient: (client) => {
      const from = connection++ * per;
      client.setRequests(benchCards.slice(from, from + per).map((cardNo) => requestFor(cardNo, token)));
    },
  });
  if (result.non2xx > 0 || result.errors > 0)
    throw new Error(`${url}: ${result.non2xx} bad answers, ${result.errors} errors`);
  return result;
}

/** Loads a platform and makes sure that what it answered is in the database. */
async function loadPlatform(
  place: Place,
  variant: Variant,
  connections = CONNECTIONS,
  amount?: number,
): Promise<autocannon.Result> {
  const before = await setsIn(place);
  const result = await load(variant.url, await tokenOf(variant.url), connections, amount);
  const written = (await setsIn(place)) - before;
  if (written < result['2xx'])
    throw new Error(`${variant.name}: ${result['2xx']} answers, and only ${written} PINs were set`);
  return result;
}

async function setsIn({ platform }: Place): Promise<number> {
  const [row] = await platform.db.tuples<[number]>(
    'bench-count',
    "select count(*) from audit_records where action = 'pin_set'",
  );
  return row?.[0] ?? 0;
}

async function openPlace(name: string, env: Record<string, string>): Promise<Place> {
  const dataDir = join(scratch, name);
  const own = { PINWARD_DATA_DIR: dataDir, ...env };
  const platform = await openPlatform(readConfig(own));
  opened.push(platform);
  await resetSandbox(platform.db, platform.keys);
  await updateMerchant({ db: platform.db, now: Date.now }, SANDBOX_MERCHANT_NO, {
    callbackUrl: 'http://127.0.0.1:9/',
    callbackActions: ['Pin_set', 'Card_update'],
  });
  await fillWithCards(platform);
  // Both servers on one database; on the embedded one the second is given its address, as only one may serve on a data directory.
  const databaseUrl = platform.url.expose();
  const shared = await startPlatform(`${name}, shared`, { ...own, DATABASE_URL: databaseUrl });
  const alone = await startPlatform(`${name}, one by one`, {
    ...own,
    DATABASE_URL: databaseUrl,
    PINWARD_SHARED_WRITES: 'off',
  });
  return { name, platform, databaseUrl, shared, alone };
}

/** Numbers of a server that may lose what it answered would say nothing. */
async function requireDurable(url: string): Promise<void> {
  const db = openDatabase({ url, connections: 1 });
  try {
    for (const setting of ['fsync', 'synchronous_commit']) {
      const [[value] = []] = await db.tuples<[string]>(`show-${setting}`, `show ${setting}`);
      if (value !== 'on') throw new Error(`the server of BENCH_DATABASE_URL is not durable: ${setting} is ${value}`);
    }
  } finally {
    await db.close();
  }
}

const samples = new Map<string, number[]>();
const sample = (name: string, value: number): void => void samples.set(name, [...(samples.get(name) ?? []), value]);
const of = (name: string): number => median(samples.get(name) ?? [Number.NaN]);

try {
  if (process.env.BENCH_DATABASE_URL) await requireDurable(process.env.BENCH_DATABASE_URL);
  const bare = await start('bare', ['--import', 'tsx', 'bench/bare-server.ts'], {});
  const places = [await openPlace('embedded', {})];
  if (process.env.BENCH_DATABASE_URL)
    places.push(await openPlace('server', { DATABASE_URL: process.env.BENCH_DATABASE_URL }));
  const withPgbench = spawnSync('pgbench', ['--version']).status === 0;

  // Once around without counting: just-in-time compilers, prepared statements, first pages.
  for (const place of places)
    for (const variant of [place.shared, place.alone]) await loadPlatform(place, variant, CONNECTIONS, 20_000);
  await load(bare.url, '', CONNECTIONS, 50_000);

  for (let round = 1; round <= ROUNDS; round++) {
    console.log(`round ${round} of ${ROUNDS}`);
    sample('bare', (await load(bare.url, '', CONNECTIONS)).requests.average);
    for (const place of places) {
      for (const variant of round % 2 === 0 ? [place.alone, place.shared] : [place.shared, place.alone]) {
        const result = await loadPlatform(place, variant);
        sample(variant.name, result.requests.average);
        sample(`${variant.name} p99`, result.latency.p99);
      }
      for (const [name, ms] of await loneMediansMs(place)) sample(`${name} lone`, ms);
      if (withPgbench) sample(`${place.name}, pgbench`, await runPgbench(place.databaseUrl, SECONDS));
    }
  }
  report(places, withPgbench);
} finally {
  for (const child of started) child.kill('SIGTERM');
  for (const platform of opened) await platform.close();
  await sleep(1_000);
  rmSync(scratch, { recursive: true, force: true });
}

/**
 * The median times of requests that come one after another, in milliseconds, finer than a load generator tells them. To both servers by turns,
 * since what the database still has to do after the load is not theirs.
 */
async function loneMediansMs({ shared, alone }: Place): Promise<[name: string, ms: number][]> {
  const callers = [];
  for (const { name, url } of [shared, alone])
    callers.push({ name, url, token: await tokenOf(url), times: [] as number[] });
  for (let i = 0; i < LONE_REQUESTS; i++) {
    for (const { name, url, token, times } of i % 2 === 0 ? callers : callers.toReversed()) {
      const { path, ...request } = requestFor(benchCards[i % benchCards.length] as string, token);
      const from = performance.now();
      const response = await fetch(url + path, request);
      const { code } = (await response.json()) as { code: number };
      times.push(performance.now() - from);
      if (code !== 0) throw new Error(`${name}: a lone request answered ${code}`);
    }
  }
  return callers.map(({ name, times }) => [name, median(times)]);
}

function report(places: Place[], withPgbench: boolean): void {
  const rows: string[][] = [['bare Fastify handler, same schemas', of('bare').toFixed(0), '1.00', '', '', '', '']];
  const bars: string[] = [];
  for (const { name } of places) {
    const [shared, alone, pgbench] = [`${name}, shared`, `${name}, one by one`, `${name}, pgbench`];
    for (const variant of [shared, alone]) {
      rows.push([
        `pin/set on ${variant}`,
        of(variant).toFixed(0),
        (of(variant) / of('bare')).toFixed(2),
        withPgbench ? (of(variant) / of(pgbench)).toFixed(2) : '-',
        (of(variant) / of(alone)).toFixed(2),
        `${of(`${variant} p99`)} ms`,
        `${of(`${variant} lone`).toFixed(2)} ms`,
      ]);
    }
    if (withPgbench)
      rows.push([
        `pgbench on ${name}, 32 clients`,
        of(pgbench).toFixed(0),
        (of(pgbench) / of('bare')).toFixed(2),
        '1.00',
        '',
        '',
        '',
      ]);
    const judge = (what: string, value: number, bar: number, least: boolean): void => {
      bars.push(
        `${(least ? value >= bar : value <= bar) ? 'met   ' : 'MISSED'}  ${name}: ${what} ${value.toFixed(2)} (bar: ${least ? 'at least' : 'at most'} ${bar.toFixed(2)})`,
      );
    };
    judge('to the bare handler', of(shared) / of('bare'), 0.3, true);
    if (withPgbench) judge('to pgbench row by row', of(shared) / of(pgbench), 1.2, true);
    judge('lone request, shared to one by one', of(`${shared} lone`) / of(`${alone} lone`), 1.15, false);
  }
  const head = ['', 'per second', 'to bare', 'to pgbench', 'to one by one', 'p99 at 64', 'lone median'];
  const table = tableOf([head, ...rows]);
  console.log(`\n${table}\n\n${bars.join('\n')}\n`);
  writeFileSync(
    new URL('RESULTS.md', import.meta.url),
    `# Results\n\n${new Date().toISOString().slice(0, 10)}, Node ${process.version}, ${cpus().length} cores (${cpus()[0]?.model.trim()}). ` +
      `${CONNECTIONS} connections, medians of ${ROUNDS} alternated rounds of ${SECONDS} s; load generator, server and database share the cores. ` +
      'Compare inside the table alone. Every answer was checked to be in the database. Written by `npm run bench`.\n\n' +
      `${table}\n\n\`\`\`\n${bars.join('\n')}\n\`\`\`\n`,
  );
}
