import { setTimeout as sleep } from 'node:timers/promises';
import { remoteMerchant, validPin } from '../server/test/support/calls.ts';
import { addCards } from '../server/test/support/more-cards.ts';
import { type Card, wireNamesOf } from '../server/test/support/sandbox.ts';
import { until } from '../server/test/support/server-process.ts';
import { intactChain, storedPin } from '../server/test/support/stored-pin.ts';
import { type Attack, createRandom, type Sandbox, startSandbox } from './sandbox.ts';

const SERVER_KILLS = 30;
const DATABASE_KILLS = 6;
const CARDS = 8;
const LONGEST_PAUSE_MS = 400;

/** What a writer was told, and what it sent last without an answer. */
interface Written {
  card: Card;
  /** The X-Request-Id of each acknowledged call, in order. */
  acknowledged: string[];
  pins: string[];
  lastAnswered: boolean;
}

export const durability: Attack = {
  name: 'durability',
  promise: `no acknowledged set or change is lost in ${SERVER_KILLS} SIGKILLs of a server and ${DATABASE_KILLS} of the database`,
  async run(scope, { seed }) {
    const sandbox = await startSandbox(scope, 1);
    const random = createRandom(seed);
    const cards = await addCards(sandbox.platform, 2 * CARDS);
    const stopping = new AbortController();
    const written = cards.map((card): Written => ({ card, acknowledged: [], pins: [], lastAnswered: true }));
    const writers = written.map((one, index) =>
      (index < CARDS ? writePins : writeStatuses)(sandbox, one, stopping.signal),
    );
    try {
      await strike(sandbox, written, random.below);
    } finally {
      stopping.abort();
      await Promise.all(writers);
    }
    const faults = await judge(sandbox, written);
    const total = written.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0);
    return { held: faults.length === 0, found: faults[0] ?? `${total} acknowledged calls are all there` };
  },
};

/**
 * Kills the server, and now and then the database, at random moments while all cards are written.
 */
async function strike(sandbox: Sandbox, written: Written[], below: (limit: number) => number): Promise<void> {
  const { installation, servers } = sandbox;
  const total = () => written.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0);
  const every = (SERVER_KILLS + DATABASE_KILLS) / DATABASE_KILLS;
  const flow = (before: number) => until('calls are acknowledged', () => total() > before + CARDS);
  for (let kill = 1; kill <= SERVER_KILLS + DATABASE_KILLS; kill++) {
    await flow(total());
    await sleep(below(LONGEST_PAUSE_MS));
    if (kill % every === 0)
      await installation.killDatabase(); // the server starts it again
    else {
      await servers[0]!.stop('SIGKILL');
      servers[0] = await installation.serve();
    }
  }
  await flow(total()); // all is up again
}

async function writePins(sandbox: Sandbox, one: Written, signal: AbortSignal): Promise<void> {
  for (let number = 0; !signal.aborted; number++) {
    const pin = validPin(number);
    await write(sandbox, one, (merchant) => merchant.setPin(pin, one.card));
    one.pins.push(pin);
  }
}

/**
 * Freezes and unfreezes by turns. Whether a call without an answer was done, the next one finds
 * out.
 */
async function writeStatuses(sandbox: Sandbox, one: Written, signal: AbortSignal): Promise<void> {
  for (let number = 0; !signal.aborted; number++) {
    const body = { ...wireNamesOf(one.card), status: number % 2 === 0 ? 'Frozen' : 'Activated' };
    await write(sandbox, one, (merchant) => merchant.call('/card/status/update', body));
  }
}

type Merchant = ReturnType<typeof remoteMerchant>;

async function write(
  { servers }: Sandbox,
  one: Written,
  call: (merchant: Merchant) => ReturnType<Merchant['call']>,
): Promise<void> {
  try {
    const { code, requestId } = await call(merchantOf(servers[0]!.url));
    one.lastAnswered = code === 0;
    if (code === 0) one.acknowledged.push(requestId);
    else await sleep(20);
  } catch {
    one.lastAnswered = false; // the server died
    await sleep(20);
  }
}

const merchants = new Map<string, Merchant>();
/** One merchant's server for each start of the platform: it fetches one token. */
function merchantOf(url: string): Merchant {
  const merchant = merchants.get(url) ?? remoteMerchant(url);
  merchants.set(url, merchant);
  return merchant;
}

async function judge({ platform }: Sandbox, written: Written[]): Promise<string[]> {
  const faults: string[] = [];
  for (const { card, acknowledged, pins, lastAnswered } of written) {
    const { cardNo } = card;
    const records = (await intactChain(platform.db, cardNo)).map(({ details }) => details.request_id);
    const places = acknowledged.map((id) => records.indexOf(id));
    if (places.includes(-1)) faults.push(`${cardNo}: a call that was acknowledged has no record`);
    if (places.some((place, i) => i > 0 && place <= (places[i - 1] as number)))
      faults.push(`${cardNo}: records are in another order than the answers`);
    if (new Set(records).size !== records.length) faults.push(`${cardNo}: a call has two records`);
    const last = pins.at(-1);
    if (last === undefined || !lastAnswered) continue;
    if (!(await (await storedPin(platform, cardNo))?.is(last))) faults.push(`${cardNo} holds another PIN`);
  }
  return faults;
}
