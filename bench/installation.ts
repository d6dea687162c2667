/**
 * Installations to measure. Each is one build of the server with its own data directory and many
 * cards. The build's own commands set it up, so that an earlier build can be measured too.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createSecretKey } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { sealEcb } from '../server/src/crypto/ecb-envelope.ts';
import { encipherPinBlock } from '../server/src/crypto/pin-block.ts';
import { type Database, openDatabase } from '../server/src/db/database.ts';
import { openEmbedded } from '../server/src/db/embedded.ts';
import { ISSUER, MAIN_CREDENTIAL, sandboxPan } from '../server/src/sandbox/world.ts';
import type { Request } from './load.ts';

export const CARDS = 20_000;
const CARDHOLDER_NO = 'U202605220001';
const PIN = '142536';
const NO_LIMIT = '1000000000';
/** What `npm start` gives Node. */
const NODE_FLAGS = ['--max-semi-space-size=32'];

const cards = Array.from({ length: CARDS }, (_, i) => ({ cardNo: `BENCH${i}`, pan: sandboxPan(1_000 + i) }));

export interface Installation {
  name: string;
  url: string;
  db: Database;
  databaseUrl: string;
  /** The process ID of the server. */
  pid: number;
  /** The working directory of PostgreSQL's processes. */
  postgresFolder: string;
  stop(): Promise<void>;
}

/** Starts a build on its own embedded database and fills it with cards. */
export async function startInstallation(name: string, main: string, scratch: string): Promise<Installation> {
  const dataDir = join(scratch, `data-${name.replace(/\W+/g, '-')}`);
  mkdirSync(dataDir, { recursive: true, mode: 0o711 }); // run by root, PostgreSQL has its own user, who must get in
  const env = {
    ...process.env,
    PINWARD_DATA_DIR: dataDir,
    PORT: '0',
    LOG_LEVEL: 'info',
    LIMIT_CALLS_PER_CREDENTIAL_PER_MINUTE: NO_LIMIT,
    LIMIT_PIN_SETS_PER_CARD_PER_MINUTE: NO_LIMIT,
  };
  const embedded = await openEmbedded(dataDir);
  const db = openDatabase({ url: embedded.url, connections: 2 });
  const command = (...args: string[]): void => {
    const { status, stderr } = spawnSync(process.execPath, [main, ...args], { env, encoding: 'utf8' });
    if (status !== 0) throw new Error(`${name}: pinward-server ${args.join(' ')}: ${stderr}`);
  };
  const file = join(scratch, 'cards.jsonl');
  writeFileSync(file, cards.map(cardLine).join(''));
  command('cards', 'import', file, '--issuer', ISSUER.issuerNo);
  // Nothing listens on this port. Events are written, and sending them costs almost nothing.
  const { merchantNo, apiKey } = MAIN_CREDENTIAL;
  command('callbacks', 'configure', merchantNo, '--url', 'http://127.0.0.1:9/', '--credential', apiKey);
  command('merchant', 'update', merchantNo, '--callbacks', 'Pin_set');
  await db.script('analyze');

  const server = await startServer(name, [...NODE_FLAGS, main, 'serve'], scratch, env);
  return {
    ...server,
    db,
    databaseUrl: embedded.url,
    postgresFolder: join(embedded.place, 'data'),
    async stop() {
      await server.stop();
      await db.close();
      await embedded.release();
    },
  };
}

function cardLine({ cardNo, pan }: { cardNo: string; pan: string }): string {
  return `${JSON.stringify({
    merchant_no: MAIN_CREDENTIAL.merchantNo,
    card_no: cardNo,
    card_unique_no: cardNo,
    cardholder_no: CARDHOLDER_NO,
    card_type: 'Physical',
    status: 'Activated',
    pan,
    expiry: '3012',
  })}\n`;
}

export interface Server {
  name: string;
  url: string;
  pid: number;
  stop(): Promise<void>;
}

/** Starts a program that prints its URL. Its log goes to a file. */
export async function startServer(
  name: string,
  args: string[],
  scratch: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Server> {
  const logPath = join(scratch, `${name.replace(/\W+/g, '-')}.log`);
  const log = openSync(logPath, 'w');
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', log, log] });
  closeSync(log);
  for (let tries = 0; tries < 600 && child.exitCode === null; tries++) {
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(readFileSync(logPath, 'utf8'))?.[0];
    if (url !== undefined) return { name, url, pid: child.pid as number, stop: () => stop(child) };
    await sleep(50);
  }
  await stop(child);
  throw new Error(`${name} did not start:\n${readFileSync(logPath, 'utf8')}`);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}

export async function tokenOf(url: string): Promise<string> {
  const headers = { 'Api-Key': MAIN_CREDENTIAL.apiKey, Timestamp: String(Date.now()) };
  const response = await fetch(`${url}/open-api/v1/merchant/token`, { headers });
  return ((await response.json()) as { data: { access_token: string } }).data.access_token;
}

const sealed = sealEcb(createSecretKey(Buffer.from(MAIN_CREDENTIAL.apiSecret)), PIN);

/** Requests that set the PIN, one for each card. */
export function setRequests(token: string): Request[] {
  const headers = {
    'Content-Type': 'application/json',
    'Api-Key': MAIN_CREDENTIAL.apiKey,
    Timestamp: String(Date.now()),
    'Access-Token': token,
  };
  return cards.map(({ cardNo }) => ({
    path: '/open-api/v1/card/pin/set',
    headers,
    body: JSON.stringify({ card_no: cardNo, cardholder_no: CARDHOLDER_NO, pin: sealed }),
  }));
}

/** Requests that verify that PIN, one for each card. They match once the PIN is set. */
export function verifyRequests(): Request[] {
  const [zoneKey] = ISSUER.keys;
  const key = { algorithm: zoneKey.algorithm, key: createSecretKey(Buffer.from(zoneKey.bytes, 'hex')) };
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${ISSUER.secret}` };
  return cards.map(({ cardNo, pan }) => {
    const block = encipherPinBlock(key, 4, Buffer.from(PIN), Buffer.from(pan)).toString('hex');
    return {
      path: '/issuer/v1/pin/verify',
      headers,
      body: JSON.stringify({ card_no: cardNo, pin_block: block, format: 4, zone_key: zoneKey.label }),
    };
  });
}

/** Counts the audit records of one action. Each PIN set and each verification leaves one. */
export async function countRecords({ db }: Installation, action: 'pin_set' | 'pin_verified'): Promise<number> {
  const [row] = await db.query<{ count: number }>(
    'bench-count',
    'select count(*) as count from audit_records where action = $1',
    [action],
  );
  return row?.count ?? 0;
}

/** Deletes waiting events, so that each round starts with none. */
export async function clearBacklog({ db }: Installation): Promise<void> {
  await db.script('truncate callback_events');
  await db.script('checkpoint'); // not in the transaction of a text with several statements
}
