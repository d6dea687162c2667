/**
 * Measures a merchant's other calls on a database of a million cards: lists (first page, filtered,
 * last page), detail and apply. Prints a table with ratios to the bare handler and writes
 * bench/CALLS.md.
 *
 *   npm run bench:calls
 *   BENCH_CARDS=20000 BENCH_SECONDS=1 npm run bench:calls     a quick look
 */
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type autocannon from 'autocannon';
import { readConfig } from '../server/src/config.ts';
import { openPlatform } from '../server/src/platform.ts';
import { CARD_BIN, MAIN_CREDENTIAL } from '../server/src/sandbox/world.ts';
import { machineAndDate, median, tableOf } from './figures.ts';
import { load, servePlatform, tokenOf } from './serve.ts';

const CARDS = Number(process.env.BENCH_CARDS ?? 1_000_000);
const SECONDS = Number(process.env.BENCH_SECONDS ?? 5);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3);
const CONNECTIONS = 16;
const EACH = 64;
const APPLICATIONS = 3_200;
const PAGE = 100;
const RANGE = { start_time: '2026-01-01', end_time: '2026-03-31' };

const scratch = mkdtempSync(join(tmpdir(), 'pinward-bench-'));
chmodSync(scratch, 0o711); // run by root, PostgreSQL has its own user, who must reach the folders below

/** Fills in one merchant's cards: ten per cardholder, over the longest range that a list takes. */
async function fill(dataDir: string): Promise<void> {
  const platform = await openPlatform(readConfig({ PINWARD_DATA_DIR: dataDir }));
  try {
    await platform.db.session((session) =>
      session.script(`
        insert into cardholders (merchant_id, cardholder_no, cardholder_unique_no, status)
        select 1, 'UB' || n, 'UB' || n, 'Approved' from generate_series(0, ${Math.floor(CARDS / 10)}) n;
        insert into cards (merchant_id, card_no, card_unique_no, cardholder_no, card_type, status,
                           organization, card_bin_no, pan_last_four, created_at)
        select 1, 'CB' || n, 'unique-' || n, 'UB' || n / 10, 'Physical', 'Activated',
               'Sandbox', '${CARD_BIN.cardBinNo}', '0000',
               '2026-01-01Z'::timestamptz + n * interval '89 days' / ${CARDS}
          from generate_series(0, ${CARDS - 1}) n;`),
    );
    await platform.db.session((session) => session.script('vacuum analyze'));
  } finally {
    await platform.close();
  }
}

type Call = (index: number) => { method: 'GET' | 'POST'; path: string; body?: object };
const anyCard = (index: number): number => (index * 7_919) % CARDS;
const list = (more: (index: number) => object): Call => {
  return (index) => ({ method: 'POST', path: '/card/list', body: { ...RANGE, ...more(index) } });
};
let applications = 0;
const calls: [name: string, call: Call][] = [
  ['list, first page of 10', list(() => ({}))],
  [`list, first page of ${PAGE}`, list(() => ({ size: PAGE }))],
  ['list, one cardholder', list((i) => ({ cardholder_no: `UB${Math.floor(anyCard(i) / 10)}` }))],
  ['list, by unique number', list((i) => ({ card_unique_no: `unique-${anyCard(i)}` }))],
  [`list, last page of ${PAGE}`, list(() => ({ size: PAGE, page: Math.floor(CARDS / PAGE) - 1 }))],
  ['detail', (i) => ({ method: 'GET', path: `/card/CB${anyCard(i)}/detail` })],
  [
    'apply',
    (i) => ({
      method: 'POST',
      path: '/card/apply',
      body: {
        card_bin_no: CARD_BIN.cardBinNo,
        cardholder_no: `UB${i % Math.floor(CARDS / 10)}`,
        card_unique_no: `applied-${applications++}`,
        card_type: 'Virtual',
      },
    }),
  ],
];

async function measure(
  url: string,
  call: Call,
  until: { duration: number } | { amount: number },
  each = EACH,
): Promise<autocannon.Result> {
  const token = await tokenOf(url);
  const requestOf = (index: number): autocannon.Request => {
    const { method, path, body } = call(index);
    const headers = {
      'Api-Key': MAIN_CREDENTIAL.apiKey,
      Timestamp: String(Date.now()),
      'Access-Token': token,
      ...(body !== undefined && { 'Content-Type': 'application/json' }),
    };
    return { method, path: `/open-api/v1${path}`, headers, ...(body !== undefined && { body: JSON.stringify(body) }) };
  };
  return load({ url, requestOf, expected: '"code":0', until, connections: CONNECTIONS, each });
}

async function startBare(): Promise<{ url: string; stop(): void }> {
  const child = spawn(process.execPath, ['--import', 'tsx', 'bench/bare-server.ts'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await new Promise<string[]>((resolve) =>
    child.stdout.once('data', (text) => resolve(String(text).split('\n'))),
  );
  return { url: String(line).trim(), stop: () => void child.kill() };
}

const bareCall: Call = () => ({
  method: 'POST',
  path: '/card/pin/set',
  body: { card_no: 'C1', cardholder_no: 'U1', pin: 'x' },
});
async function measureBare(url: string): Promise<number> {
  const { method, path, body } = bareCall(0);
  const request = {
    method,
    path: `/open-api/v1${path}`,
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  };
  const until = { duration: SECONDS };
  return (await load({ url, requestOf: () => request, expected: '"code":0', until, connections: CONNECTIONS, each: 1 }))
    .requests.average;
}

const platform = await servePlatform(scratch, 'calls', { SANDBOX_ISSUE_DELAY_MS: '86400000' });
const bare = await startBare();
try {
  console.log(`filling in ${CARDS} cards`);
  await fill(join(scratch, 'calls'));
  const rates = new Map<string, number[]>();
  const add = (name: string, value: number): void => void rates.set(name, [...(rates.get(name) ?? []), value]);
  for (let round = 0; round <= ROUNDS; round++) {
    console.log(round === 0 ? 'warm-up' : `round ${round} of ${ROUNDS}`);
    const bareRate = await measureBare(bare.url);
    if (round > 0) add('bare', bareRate);
    for (const [name, call] of calls) {
      const applying = name === 'apply';
      const until = applying ? { amount: APPLICATIONS } : { duration: SECONDS };
      const { requests, latency, duration } = await measure(
        platform.url,
        call,
        until,
        applying ? APPLICATIONS / CONNECTIONS : EACH,
      );
      if (round === 0) continue;
      add(name, applying ? APPLICATIONS / duration : requests.average);
      add(`${name} p50`, latency.p50);
      add(`${name} p99`, latency.p99);
    }
  }
  const of = (name: string): number => median(rates.get(name) ?? []);
  const rows = [
    ['', 'per second', 'to bare', 'p50', 'p99'],
    ['bare Fastify handler', of('bare').toFixed(0), '1.00', '', ''],
    ...calls.map(([name]) => [
      name,
      of(name).toFixed(0),
      (of(name) / of('bare')).toFixed(3),
      `${of(`${name} p50`)} ms`,
      `${of(`${name} p99`)} ms`,
    ]),
  ];
  console.log(`\n${tableOf(rows)}\n`);
  writeFileSync(
    new URL('CALLS.md', import.meta.url),
    `# Calls\n\n${machineAndDate()}. ${CARDS.toLocaleString('en')} cards of one merchant on the embedded database, ` +
      `${CONNECTIONS} connections, medians of ${ROUNDS} rounds of ${SECONDS} s (apply: ${APPLICATIONS} calls). ` +
      'Load generator, platform and database share the cores, so compare figures only within the table. ' +
      `Written by \`npm run bench:calls\`.\n\n${tableOf(rows)}\n`,
  );
} finally {
  bare.stop();
  await platform.stop();
  rmSync(scratch, { recursive: true, force: true });
}
