import { randomBytes } from 'node:crypto';
import type { LightMyRequestResponse } from 'fastify';
import pino from 'pino';
import { type App, buildApp } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { type Keys, keysOf } from '../../src/keys/keys.ts';
import { openKeyFile } from '../../src/keys/open-key-file.ts';
import { logOptions } from '../../src/log.ts';
import { buildServices, type Services } from '../../src/services.ts';
import { urlOfDatabase } from './database-url.ts';
import { API_KEY } from './sandbox.ts';
import { testKek } from './test-kek.ts';

/** A clock that stands still until a test moves it. */
export interface TestClock {
  now: number;
}

export interface TestPlatform {
  app: App;
  db: Database;
  keys: Keys;
  services: Services;
  clock: TestClock;
  /** Everything that was logged, a JSON line each. */
  logLines: string[];
  databaseUrl: string;
  close(): Promise<void>;
}

/** 2026-06-01, a few days after the sandbox world's birthday. */
export const TEST_TIME_MS = Date.UTC(2026, 5, 1, 12);

/** Clones the run's template into a database of its own. */
export async function cloneDatabase(): Promise<{ url: string; drop(): Promise<void> }> {
  const name = `pinward_test_${randomBytes(6).toString('hex')}`;
  const { TEST_SERVER_URL: serverUrl, TEST_TEMPLATE: template } = process.env;
  if (serverUrl === undefined || template === undefined) throw new Error('run tests by: npm test');
  const admin = openDatabase({ url: serverUrl, connections: 1 });
  // Creating waits for nobody else to be connected to the template; two files that clone at once
  // take turns.
  await admin.session(async (session) => {
    await session.tuples('clone-lock', 'select pg_advisory_lock(7746273)');
    await onServer(serverUrl, `create database ${name} template ${template}`);
  });
  await admin.close();
  return { url: urlOfDatabase(serverUrl, name), drop: () => onServer(serverUrl, `drop database ${name} with (force)`) };
}

async function onServer(serverUrl: string, script: string): Promise<void> {
  const db = openDatabase({ url: serverUrl, connections: 1 });
  await db.script(script);
  await db.close();
}

export function testKeys(): Promise<Keys> {
  return openKeyFile(process.env.TEST_KEY_FILE as string, testKek).then((file) => keysOf(file, Date.now));
}

/**
 * The whole platform in this process, on a sandbox world of its own. `env` is what the environment
 * would say.
 */
export async function startPlatform(
  env: Record<string, string> = {},
  on?: { databaseUrl: string; clock?: TestClock },
): Promise<TestPlatform> {
  const database = on === undefined ? await cloneDatabase() : { url: on.databaseUrl, drop: async () => {} };
  const db = openDatabase({ url: database.url });
  const keys = await testKeys();
  const clock = on?.clock ?? { now: TEST_TIME_MS };
  const logLines: string[] = [];
  const log = pino({ ...logOptions('info') }, { write: (line: string) => void logLines.push(line) });
  const services = buildServices({ config: readConfig(env), clock: () => clock.now, log, db, keys });
  const app = await buildApp(services);
  await app.ready();
  return {
    app,
    db,
    keys,
    services,
    clock,
    logLines,
    databaseUrl: database.url,
    async close() {
      await app.close();
      await db.close();
      await database.drop();
    },
  };
}

/** What operators' use-cases are given: the platform's database and keys, and the test's clock. */
export function operatorOf({ db, keys, clock }: Pick<TestPlatform, 'db' | 'keys' | 'clock'>) {
  return { db, keys, now: () => clock.now, config: readConfig({}) };
}

export interface Answer {
  httpStatus: number;
  code: number;
  msg: string;
  data: never;
  headers: LightMyRequestResponse['headers'];
  /** The body as it was sent. */
  text: string;
}

export type Headers = Record<string, string | undefined>;

export function answerOf(response: LightMyRequestResponse): Answer {
  const { code, msg, data } = response.json<{ code: number; msg: string; data: never }>();
  return { httpStatus: response.statusCode, code, msg, data, headers: response.headers, text: response.body };
}

/**
 * A merchant's server, as far as a test needs one: it fetches a token once and calls. A header that
 * is undefined is left out.
 */
export interface Merchant {
  apiKey: string;
  token(): Promise<string>;
  call(method: 'GET' | 'POST', path: string, body?: unknown, headers?: Headers): Promise<Answer>;
}

export function merchantOf({ app, clock }: Pick<TestPlatform, 'app' | 'clock'>, apiKey = API_KEY): Merchant {
  let token: string | undefined;
  const merchant: Merchant = {
    apiKey,
    async token() {
      const response = await app.inject({
        url: '/open-api/v1/merchant/token',
        headers: { 'api-key': apiKey, timestamp: String(clock.now) },
      });
      const { data } = response.json<{ data: { access_token: string } }>();
      return data.access_token;
    },
    async call(method, path, body, headers = {}) {
      token ??= await merchant.token();
      const all: Headers = { 'api-key': apiKey, timestamp: String(clock.now), 'access-token': token, ...headers };
      const sent = Object.fromEntries(
        Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined),
      );
      const payload =
        body === undefined ? {} : typeof body === 'string' ? { payload: body } : { payload: body as object };
      return answerOf(await app.inject({ method, url: `/open-api/v1${path}`, headers: sent, ...payload }));
    },
  };
  return merchant;
}
