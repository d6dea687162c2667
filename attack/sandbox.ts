import { randomBytes } from 'node:crypto';
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { join } from 'node:path';
import { readConfig } from '../server/src/config.ts';
import { openPlatform, type Platform } from '../server/src/platform.ts';
import { type Installation, install, type ServerProcess } from '../server/test/support/server-process.ts';

export interface AttackOptions {
  /** Of the fuzz run. */
  requests: number;
  /** Everything that is random in what is sent follows from it. */
  seed: number;
}

/** What `install` needs of a test: an attack ends what it started by the same means. */
export interface Scope {
  after(work: () => Promise<void>): void;
}

export interface Attack {
  name: string;
  /** What must hold, in a sentence. */
  promise: string;
  run(scope: Scope, options: AttackOptions): Promise<{ held: boolean; found: string }>;
}

export interface Sandbox {
  installation: Installation;
  /** Processes that serve on one embedded database. */
  servers: ServerProcess[];
  /** The same database and keys, seen from this process. */
  platform: Platform;
}

const NO_LIMIT = '1000000000';
const ENV = {
  LOG_LEVEL: 'warn',
  LIMIT_FAILED_AUTH_PER_MINUTE: NO_LIMIT,
  LIMIT_CALLS_PER_CREDENTIAL_PER_MINUTE: NO_LIMIT,
  LIMIT_PIN_SETS_PER_CARD_PER_MINUTE: NO_LIMIT,
};

/** Starts server processes on one database of their own. They end with the attack. */
export async function startSandbox(
  scope: Scope,
  processes: number,
  more: Record<string, string> = {},
): Promise<Sandbox> {
  const env = { ...ENV, ...more, PINWARD_KEK: randomBytes(32).toString('hex') };
  const installation = install(scope, { env });
  const servers = [await installation.serve()];
  const platform = await openPlatform(readConfig({ ...env, PINWARD_DATA_DIR: installation.dataDir }));
  scope.after(() => platform.close());
  while (servers.length < processes) {
    const shared = {
      DATABASE_URL: platform.url.expose(),
      PINWARD_KEY_FILE: join(installation.dataDir, 'keys.json'),
    };
    servers.push(await install(scope, { env: { ...env, ...shared } }).serve());
  }
  return { installation, servers, platform };
}

export interface HttpAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  /** Undefined if the body has none. */
  code: number | undefined;
  data: Record<string, unknown>;
}

/** Sends requests over kept connections, at most so many at once. */
export function createClient(scope: Scope, connections: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  scope.after(async () => agent.destroy());
  return (url: string, method: string, headers: Record<string, string>, body?: string): Promise<HttpAnswer> =>
    new Promise((resolve, reject) => {
      const length = body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(body)) };
      const options = { method, agent, headers: { ...length, ...headers }, timeout: 30_000 };
      const request = httpRequest(url, options, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk) => {
          text += chunk;
        });
        response.on('error', reject);
        response.on('end', () => {
          const { code, data } = parse(text);
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, code, data: data ?? {} });
        });
      });
      request.on('timeout', () => request.destroy(new Error('no answer within 30 s')));
      request.on('error', reject);
      request.end(body);
    });
}

function parse(text: string): { code?: number; data?: Record<string, unknown> } {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/** Numbers from 0 up to 1, the same ones for a seed (mulberry32). */
export function createRandom(seed: number) {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return { next, below, pick: <T>(values: readonly T[]): T => values[below(values.length)] as T };
}
export type Random = ReturnType<typeof createRandom>;
