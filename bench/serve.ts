/** Starts platforms for the benches, and puts load on them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import autocannon from 'autocannon';
import { readConfig } from '../server/src/config.ts';
import { openPlatform } from '../server/src/platform.ts';
import { benchCards, fillWithCards, requestFor } from './cards.ts';

export interface RunningPlatform {
  url: string;
  stop(): Promise<void>;
}

/**
 * Starts a platform the way `npm start` does. It has the sandbox world, the bench's cards and its
 * own embedded database.
 */
export async function servePlatform(
  scratch: string,
  name: string,
  more: Record<string, string>,
): Promise<RunningPlatform> {
  const dataDir = join(scratch, name);
  const platform = await openPlatform(readConfig({ PINWARD_DATA_DIR: dataDir, ...more }));
  await fillWithCards(platform).finally(() => platform.close());
  if (platform.source.kind === 'hsm') await platform.source.hsm.close();

  const logPath = join(scratch, `${name}.log`);
  const log = openSync(logPath, 'w');
  const noLimit = '1000000000';
  const child = spawn(process.execPath, ['--max-semi-space-size=32', 'server/dist/main.js', 'serve'], {
    env: {
      ...process.env,
      PORT: '0',
      PINWARD_DATA_DIR: dataDir,
      LIMIT_CALLS_PER_CREDENTIAL_PER_MINUTE: noLimit,
      LIMIT_PIN_SETS_PER_CARD_PER_MINUTE: noLimit,
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
  throw new Error(`${name} did not start:\n${readFileSync(logPath, 'utf8')}`);
}

/** Waits until the process has ended. Its database has then ended too. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}

export async function tokenOf(url: string): Promise<string> {
  const headers = { 'Api-Key': 'sandbox_api_key', Timestamp: String(Date.now()) };
  const response = await fetch(`${url}/open-api/v1/merchant/token`, { headers });
  return ((await response.json()) as { data: { access_token: string } }).data.access_token;
}

export interface Load {
  url: string;
  requestOf(index: number): autocannon.Request;
  /** Every answer must contain this text. */
  expected: string;
  until: { duration: number; overallRate?: number } | { amount: number };
  connections: number;
  /** Number of different requests on each connection. */
  each: number;
}

/**
 * Puts load on a server. Each connection sends its own requests in turn, like a separate caller.
 * Throws if one answer is wrong.
 */
export async function load({ url, requestOf, expected, until, connections, each }: Load): Promise<autocannon.Result> {
  let connection = 0;
  const result = await autocannon({
    url,
    connections,
    ...until,
    verifyBody: (body) => String(body).includes(expected),
    setupClient: (client) => {
      const from = each * connection++;
      client.setRequests(Array.from({ length: each }, (_, i) => requestOf(from + i)));
    },
  });
  const { non2xx, errors, mismatches } = result;
  if (non2xx + errors + mismatches > 0)
    throw new Error(`${url}: ${non2xx} bad answers, ${errors} errors, ${mismatches} without ${expected}`);
  return result;
}

export const CONNECTIONS = 64;
const CARDS_PER_CONNECTION = 64;
export const EACH = { connections: CONNECTIONS, each: CARDS_PER_CONNECTION };
export const usedCards = benchCards.slice(0, CONNECTIONS * CARDS_PER_CONNECTION);

export async function setPins(url: string, until: Load['until']): Promise<autocannon.Result> {
  const token = await tokenOf(url);
  return load({
    url,
    requestOf: (i) => requestFor(usedCards[i] as string, token),
    expected: '"code":0',
    until,
    ...EACH,
  });
}
