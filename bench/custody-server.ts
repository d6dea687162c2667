/** The part of bench/custody.ts that asks a running platform: verification, and the health check beside a load of PIN sets. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import autocannon from 'autocannon';
import { readConfig } from '../server/src/config.ts';
import { encipherPinBlock } from '../server/src/crypto/pin-block.ts';
import { openPlatform } from '../server/src/platform.ts';
import { ISSUER, sandboxPan } from '../server/src/sandbox/world.ts';
import { SANDBOX_ZPK } from '../server/test/support/issuer.ts';
import { benchCards, fillWithCards, requestFor } from './cards.ts';
import { quantile } from './custody-crypto.ts';

export const CONNECTIONS = 64;
const CARDS_PER_CONNECTION = 64;
const WARM_UP_SECONDS = 2;
/** What bench/cards.ts sets. */
const PIN = Buffer.from('142536');
const usedCards = benchCards.slice(0, CONNECTIONS * CARDS_PER_CONNECTION);

export interface RunningPlatform {
  url: string;
  stop(): Promise<void>;
}

/** A platform with the sandbox's world, the bench's cards and its own embedded database, started as `npm start` does. */
export async function servePlatform(scratch: string, name: string, more: Record<string, string>): Promise<RunningPlatform> {
  const dataDir = join(scratch, name);
  const platform = await openPlatform(readConfig({ PINWARD_DATA_DIR: dataDir, ...more }));
  await fillWithCards(platform).finally(() => platform.close());
  if (platform.source.kind === 'hsm') await platform.source.hsm.close();

  const logPath = join(scratch, `${name}.log`);
  const log = openSync(logPath, 'w');
  const most = '1000000000';
  const child = spawn(process.execPath, ['--max-semi-space-size=32', 'server/dist/main.js', 'serve'], {
    env: {
      ...process.env,
      PORT: '0',
      PINWARD_DATA_DIR: dataDir,
      LIMIT_CALLS_PER_CREDENTIAL_PER_MINUTE: most,
      LIMIT_PIN_SETS_PER_CARD_PER_MINUTE: most,
      ...more,
    },
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  const stop = () => end(child);
  for (let tries = 0; tries < 400 && child.exitCode === null; tries++) {
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(readFileSync(logPath, 'utf8'))?.[0];
    if (url !== undefined) return { url, stop };
    await sleep(50);
  }
  await stop();
  throw new Error(`${name} does not listen:\n${readFileSync(logPath, 'utf8')}`);
}

/** Waits until it is gone, and with it its database. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}

async function tokenOf(url: string): Promise<string> {
  const headers = { 'Api-Key': 'sandbox_api_key', Timestamp: String(Date.now()) };
  const response = await fetch(`${url}/open-api/v1/merchant/token`, { headers });
  return ((await response.json()) as { data: { access_token: string } }).data.access_token;
}

interface Load {
  url: string;
  requestOf(index: number): autocannon.Request;
  /** What every answer is to hold. */
  expected: string;
  until: { duration: number } | { amount: number };
}

/** Every connection walks through cards of its own, as different cardholders would. One answer that is wrong fails the bench. */
async function load({ url, requestOf, expected, until }: Load): Promise<autocannon.Result> {
  let connection = 0;
  const result = await autocannon({
    url,
    connections: CONNECTIONS,
    ...until,
    verifyBody: (body) => String(body).includes(expected),
    setupClient: (client) => {
      const from = CARDS_PER_CONNECTION * connection++;
      client.setRequests(Array.from({ length: CARDS_PER_CONNECTION }, (_, i) => requestOf(from + i)));
    },
  });
  const { non2xx, errors, mismatches } = result;
  if (non2xx + errors + mismatches > 0)
    throw new Error(`${url}: ${non2xx} bad answers, ${errors} errors, ${mismatches} without ${expected}`);
  return result;
}

async function setPins(url: string, until: Load['until']): Promise<autocannon.Result> {
  const token = await tokenOf(url);
  return load({ url, requestOf: (i) => requestFor(usedCards[i] as string, token), expected: '"code":0', until });
}

function verifyRequest(index: number): autocannon.Request {
  const pinBlock = encipherPinBlock(SANDBOX_ZPK, 4, PIN, Buffer.from(sandboxPan(1_000 + index))).toString('hex');
  return {
    method: 'POST',
    path: '/issuer/v1/pin/verify',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${ISSUER.secret}` },
    body: JSON.stringify({ card_no: usedCards[index], pin_block: pinBlock, format: 4, zone_key: 'sandbox_zpk' }),
  };
}

/** Matching PIN blocks, on cards that were all set a PIN just before. */
export async function measureVerify({ url }: RunningPlatform, seconds: number): Promise<{ perSecond: number; p99: number }> {
  await setPins(url, { amount: usedCards.length });
  const run = (duration: number) => load({ url, requestOf: verifyRequest, expected: '"result":"match"', until: { duration } });
  await run(WARM_UP_SECONDS);
  const { requests, latency } = await run(seconds);
  return { perSecond: requests.average, p99: latency.p99 };
}

/** The p99 of /healthz in milliseconds, while nothing else is asked or while PINs are set on all connections. */
export async function measureHealth({ url }: RunningPlatform, seconds: number, loaded: boolean): Promise<{ p99: number; sets: number }> {
  if (!loaded) return { p99: await probe(url, seconds), sets: 0 };
  await setPins(url, { duration: WARM_UP_SECONDS });
  // The load begins before the probe and outlasts it.
  const sets = setPins(url, { duration: seconds + 2 * WARM_UP_SECONDS });
  const [{ requests }, p99] = await Promise.all([sets, sleep(WARM_UP_SECONDS * 500).then(() => probe(url, seconds))]);
  return { p99, sets: requests.average };
}

async function probe(url: string, seconds: number): Promise<number> {
  const command = ['--import', 'tsx', 'bench/health-probe.ts', url, String(seconds)];
  const { stdout } = await promisify(execFile)(process.execPath, command, { maxBuffer: 2 ** 26 });
  return quantile(JSON.parse(stdout) as number[], 0.99);
}
