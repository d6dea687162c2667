/**
 * Measures how much the delivery of callbacks slows PIN sets. One process sends 1,000 events a
 * second over 2,000 cards to a receiver on this machine, and sets 1,500 PINs a second over 64
 * connections. That rate leaves CPU free: at full load the result would only show how the processes
 * share the cores. Rounds with and without callbacks alternate. Takes medians, prints a table and
 * writes bench/CALLBACKS.md.
 *
 *   npm run bench:callbacks
 *   BENCH_ROUNDS=1 BENCH_SECONDS=3 npm run bench:callbacks     a quick look
 */
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { configureCallbacks } from '../server/src/callbacks/configure-callbacks.ts';
import { readConfig } from '../server/src/config.ts';
import type { Database } from '../server/src/db/database.ts';
import { openPlatform } from '../server/src/platform.ts';
import { MAIN_CREDENTIAL } from '../server/src/sandbox/world.ts';
import { machineAndDate, median, tableOf } from './figures.ts';
import { CONNECTIONS, servePlatform, setPins } from './serve.ts';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const SECONDS = Number(process.env.BENCH_SECONDS ?? 12);
const EVENTS_PER_SECOND = 1_000;
const SETS_PER_SECOND = 1_500;
const EVENT_CARDS = 2_000;
const FEED_EVERY_MS = 50;
const WARM_UP_SECONDS = 2;
const GROWTH_BAR = 1.5;
const RATE_BAR = 0.95 * EVENTS_PER_SECOND;

interface Round {
  p99: number;
  /** PIN sets per second. */
  sets: number;
  /** Callbacks delivered per second. */
  delivered: number;
  /** Callbacks that are due when the round ends. */
  waiting: number;
}

const scratch = mkdtempSync(join(tmpdir(), 'pinward-callbacks-'));
chmodSync(scratch, 0o711); // run by root, PostgreSQL has its own user, who must reach the folders below
const receiver = spawn(process.execPath, ['--import', 'tsx', 'bench/callback-receiver.ts'], {
  stdio: ['ignore', 'pipe', 'inherit'],
});

try {
  const url = await new Promise<string>((resolve) =>
    receiver.stdout.once('data', (chunk) => resolve(String(chunk).trim())),
  );
  const server = await servePlatform(scratch, 'platform', {});
  const platform = await openPlatform(readConfig({ PINWARD_DATA_DIR: join(scratch, 'platform') }));
  try {
    const to = { url, apiKey: MAIN_CREDENTIAL.apiKey };
    await configureCallbacks({ db: platform.db, now: Date.now }, 'sandbox', MAIN_CREDENTIAL.merchantNo, to);
    await setPins(server.url, { duration: WARM_UP_SECONDS });
    await measure(platform.db, server.url, true, WARM_UP_SECONDS);
    const alone: Round[] = [];
    const beside: Round[] = [];
    for (let round = 1; round <= ROUNDS; round++) {
      console.log(`round ${round} of ${ROUNDS}`);
      for (const withCallbacks of round % 2 === 0 ? [true, false] : [false, true])
        (withCallbacks ? beside : alone).push(await measure(platform.db, server.url, withCallbacks, SECONDS));
    }
    report(alone, beside);
  } finally {
    await platform.close();
    await server.stop();
  }
} finally {
  receiver.kill('SIGTERM');
  rmSync(scratch, { recursive: true, force: true });
}

/**
 * Sets PINs for `seconds`. With callbacks, events are written and sent at the same time. Returns
 * when all of them are delivered, so that none is left for the next round.
 */
async function measure(db: Database, url: string, withCallbacks: boolean, seconds: number): Promise<Round> {
  const feeding = withCallbacks ? feed(db) : undefined;
  await sleep(500); // until the sender has reached a steady rate
  const before = await count(db, 'delivered_at');
  const from = performance.now();
  const { latency, requests } = await setPins(url, { duration: seconds, overallRate: SETS_PER_SECOND });
  const delivered = ((await count(db, 'delivered_at')) - before) / ((performance.now() - from) / 1_000);
  await feeding?.stop();
  const waiting = await count(db, 'due_at');
  while ((await count(db, 'due_at')) > 0) await sleep(50);
  return { p99: latency.p99, sets: requests.average, delivered, waiting };
}

async function count(db: Database, column: 'delivered_at' | 'due_at'): Promise<number> {
  const [row] = await db.tuples<[number]>(
    `bench-${column}`,
    `select count(*) from callback_events where ${column} is not null`,
  );
  return row?.[0] ?? 0;
}

/** Writes EVENTS_PER_SECOND events a second, for the cards in turn: each gets one every 2 s. */
function feed(db: Database): { stop(): Promise<void> } {
  const from = performance.now();
  let written = 0;
  let stopping = false;
  const feeding = (async () => {
    for (; !stopping; await sleep(FEED_EVERY_MS)) {
      const owed = Math.floor(((performance.now() - from) / 1_000) * EVENTS_PER_SECOND) - written;
      await db.tuples(
        'bench-feed',
        `insert into callback_events (merchant_id, card_no, action, data, created_at, due_at)
         select 1, card_no, 'Card_update',
                json_build_object('card_no', card_no, 'before_status', 'Activated',
                  'after_status', 'Frozen', 'reason', '', 'time', $3::bigint)::text,
                to_timestamp($3::bigint / 1000.0), to_timestamp($3::bigint / 1000.0)
           from (select 'EVENT' || (i % $4) as card_no from generate_series($1::int, $2::int) i) t`,
        [written, written + owed - 1, Date.now(), EVENT_CARDS],
      );
      written += owed;
    }
  })();
  return {
    async stop() {
      stopping = true;
      await feeding;
    },
  };
}

function report(alone: Round[], beside: Round[]): void {
  const of = (rounds: Round[], what: keyof Round) => median(rounds.map((round) => round[what]));
  const row = (name: string, rounds: Round[]) => [
    name,
    `${of(rounds, 'p99')} ms`,
    of(rounds, 'sets').toFixed(0),
    of(rounds, 'delivered').toFixed(0),
    of(rounds, 'waiting').toFixed(0),
  ];
  const rows = [
    ['', 'p99 of pin/set', 'sets per second', 'delivered per second', 'waiting at the end'],
    row('PIN sets alone', alone),
    row(`with ${EVENTS_PER_SECOND} callbacks per second`, beside),
  ];
  const table = tableOf(rows);
  const growth = of(beside, 'p99') / of(alone, 'p99');
  const delivered = of(beside, 'delivered');
  const bars = [
    `${growth < GROWTH_BAR ? 'met   ' : 'MISSED'}  p99 of pin/set with callbacks, to alone: ` +
      `${growth.toFixed(2)} (bar: below ${GROWTH_BAR.toFixed(2)})`,
    `${delivered >= RATE_BAR ? 'met   ' : 'MISSED'}  delivered per second: ` +
      `${delivered.toFixed(0)} (bar: at least ${RATE_BAR})`,
  ].join('\n');
  console.log(`\n${table}\n\n${bars}\n`);
  writeFileSync(
    new URL('CALLBACKS.md', import.meta.url),
    `# Callbacks\n\n${machineAndDate()}. One process sends ${EVENTS_PER_SECOND} events a second over ` +
      `${EVENT_CARDS} cards and sets ${SETS_PER_SECOND} PINs a second over ${CONNECTIONS} connections. ` +
      `Medians of ${ROUNDS} rounds of ${SECONDS} s, with and without callbacks in turn. Load generator, receiver, ` +
      'platform and database share the cores. Written by `npm run bench:callbacks`.\n\n' +
      `${table}\n\n\`\`\`\n${bars}\n\`\`\`\n`,
  );
}
