import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { MAIN_CREDENTIAL } from '../server/src/sandbox/world.ts';
import { addCards } from '../server/test/support/more-cards.ts';
import { pinBody, wireNamesOf } from '../server/test/support/sandbox.ts';
import { memoryOf } from '../server/test/support/server-process.ts';
import { FLOOD_KINDS, type FloodKind } from './flood-kinds.ts';
import { type Attack, createClient, type Scope, startSandbox } from './sandbox.ts';

const SETS_PER_SECOND = 40;
const SECONDS = 8;
const CARDS = 200;
const SUCCESS_BAR = 0.95;
const P99_BAR = 3;
/** What the process may take more than before, in MiB. */
const MEMORY_BAR = 500;

interface Measured {
  success: number;
  p99Ms: number;
}

/** Sets from one address, while another address sends whatever it can. */
export const flood: Attack = {
  name: 'flood',
  promise: 'a flood from one address leaves 95 % of the sets of others, and their p99 within three times',
  async run(scope) {
    const { servers, platform } = await startSandbox(scope, 1, { LIMIT_FAILED_AUTH_PER_MINUTE: '60' });
    const [server] = servers;
    if (server === undefined) throw new Error('no server');
    const cards = await addCards(platform, CARDS);
    const set = await createSets(scope, server.url, cards);
    await measure(set); // warm-up
    const memoryBefore = memoryOf(server);
    const found: string[] = [];
    let held = true;
    for (const kind of FLOOD_KINDS) {
      // Beside each flood, since machines change their speed.
      const quiet = await measure(set);
      const flooded = await whileFlooding(server.url, kind, () => measure(set));
      const ratio = flooded.p99Ms / quiet.p99Ms;
      held &&= flooded.success >= SUCCESS_BAR && ratio <= P99_BAR;
      found.push(
        `${kind}: ${(flooded.success * 100).toFixed(1)} %, p99 ${quiet.p99Ms.toFixed(0)} to ${flooded.p99Ms.toFixed(0)} ms`,
      );
    }
    const grown = memoryOf(server) - memoryBefore;
    held &&= grown <= MEMORY_BAR;
    return { held, found: `${found.join('; ')}; ${grown.toFixed(0)} MiB more` };
  },
};

type Set = () => Promise<boolean>;

async function createSets(scope: Scope, url: string, cards: Parameters<typeof wireNamesOf>[0][]): Promise<Set> {
  const call = createClient(scope, 256);
  const headers = () => ({ 'Api-Key': MAIN_CREDENTIAL.apiKey, Timestamp: String(Date.now()) });
  const { data } = await call(`${url}/open-api/v1/merchant/token`, 'GET', headers());
  let at = 0;
  return async () => {
    const card = cards[at++ % cards.length] as (typeof cards)[number];
    const all = { ...headers(), 'Access-Token': String(data.access_token), 'Content-Type': 'application/json' };
    const body = JSON.stringify(pinBody('142536', wireNamesOf(card)));
    const answer = await call(`${url}/open-api/v1/card/pin/set`, 'POST', all, body).catch(() => undefined);
    return answer?.code === 0;
  };
}

/** Sets at a steady pace, whether answers come or not. */
async function measure(set: Set): Promise<Measured> {
  const times: number[] = [];
  let succeeded = 0;
  const running: Promise<void>[] = [];
  const beganMs = performance.now();
  for (let i = 0; i < SECONDS * SETS_PER_SECOND; i++) {
    await sleep(Math.max(0, beganMs + (i * 1000) / SETS_PER_SECOND - performance.now()));
    const sentMs = performance.now();
    running.push(
      set().then((success) => {
        times.push(performance.now() - sentMs);
        if (success) succeeded++;
      }),
    );
  }
  await Promise.all(running);
  times.sort((a, b) => a - b);
  return { success: succeeded / times.length, p99Ms: times[Math.floor(times.length * 0.99)] ?? Number.NaN };
}

async function whileFlooding<T>(url: string, kind: FloodKind, work: () => Promise<T>): Promise<T> {
  const program = new URL('flooder.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, ['--import', 'tsx', program, url, kind], { stdio: 'inherit' });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  try {
    await sleep(2_000); // it has begun
    return await work();
  } finally {
    child.kill('SIGKILL');
    await ended;
    await sleep(3_000); // what it left is served or refused by then
  }
}
