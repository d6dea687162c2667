import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { configureCallbacks } from '../src/callbacks/configure-callbacks.ts';
import { readConfig } from '../src/config.ts';
import type { Queryable } from '../src/db/queryable.ts';
import { appendEvent } from '../src/outbox/append-event.ts';
import { openPlatform, type Platform } from '../src/platform.ts';
import { accept, isSigned, type Receiver, startReceiver } from './support/receiver.ts';
import { API_KEY, MERCHANT_NO } from './support/sandbox.ts';
import { type Installation, install, type ServerProcess, until } from './support/server-process.ts';

const CARDS = 40;

/**
 * Writes events 0, 1, 2, ... of each card until it is told to stop, also while the database
 * comes and goes.
 */
function keepWriting({ db }: Platform): { stop(): Promise<void> } {
  let stopping = false;
  const writing = Array.from({ length: CARDS }, async (_, card) => {
    const cardNo = `C${card}`;
    let next: number | undefined = 0;
    while (!stopping) {
      try {
        next ??= await countWritten(db, cardNo);
        const data = { card_no: cardNo, number: next };
        await appendEvent(db, { merchantId: 1, cardNo, action: 'Card_update', data, atMs: Date.now() });
        next++;
      } catch {
        next = undefined; // the database is unavailable; whether the event was written shows when it is back
      }
      await sleep(randomInt(800));
    }
  });
  return {
    async stop() {
      stopping = true;
      await Promise.all(writing);
    },
  };
}

async function countWritten(db: Queryable, cardNo: string): Promise<number> {
  const [row] = await db.query<{ count: number }>('next', 'select count(*) from callback_events where card_no = $1', [
    cardNo,
  ]);
  return row?.count as number;
}

/**
 * Makes every lease and every retry due, as if their time had passed. Call it only while no
 * server runs: the leases of a running one would end early.
 */
async function letTimePass({ db }: Platform): Promise<void> {
  await until('the database is there', () =>
    db.script(`update callback_events set due_at = due_at - interval '1 hour' where due_at is not null`).then(
      () => true,
      () => false,
    ),
  );
}

/**
 * Every event arrived, and those of each card in order. An event was repeated only while it
 * was the last one that had arrived, and with the same id.
 */
async function judge(receiver: Receiver, { db }: Platform): Promise<void> {
  const rows = await db.query<{ cardNo: string; count: number }>(
    'written',
    'select card_no as "cardNo", count(*) from callback_events group by 1',
  );
  const written = new Map(rows.map(({ cardNo, count }) => [cardNo, count]));
  const last = new Map<string, { number: number; id: string }>();
  for (const one of receiver.received) {
    const { card_no: cardNo, number } = one.data as { card_no: string; number: number };
    const before = last.get(cardNo) ?? { number: -1, id: '' };
    if (number === before.number) assert.equal(one.id, before.id, `${cardNo} repeats ${number} with another id`);
    else assert.equal(number, before.number + 1, `${cardNo} after ${before.number}`);
    last.set(cardNo, { number, id: one.id });
    assert.ok(isSigned(one));
  }
  assert.equal(last.size, CARDS);
  for (const [cardNo, { number }] of last) assert.equal(number + 1, written.get(cardNo), `all of ${cardNo}`);
}

async function underFaults(
  t: TestContext,
  rounds: number,
  fault: (server: ServerProcess, installation: Installation, platform: Platform) => Promise<ServerProcess>,
): Promise<void> {
  const receiver = await startReceiver(
    (received, response) => void setTimeout(() => accept(received, response), randomInt(30)),
  );
  t.after(() => receiver.close());
  const installation = install(t);
  let server = await installation.serve();
  const platform = await openPlatform(readConfig({ PINWARD_DATA_DIR: installation.dataDir }));
  try {
    const to = { url: receiver.url, apiKey: API_KEY };
    await configureCallbacks({ db: platform.db, now: Date.now }, 'sandbox', MERCHANT_NO, to);
    const writer = keepWriting(platform);
    for (let round = 0; round < rounds; round++) {
      const before = receiver.received.length;
      await until('callbacks flow', () => receiver.received.length > before + 20);
      await sleep(randomInt(50));
      server = await fault(server, installation, platform);
    }
    await writer.stop();
    await server.stop('SIGTERM');
    await letTimePass(platform);
    server = await installation.serve();
    await until('all is delivered', async () => {
      const [row] = await platform.db.query<{ waiting: number }>(
        'waiting',
        'select count(*) as waiting from callback_events where delivered_at is null',
      );
      return row?.waiting === 0;
    });
    assert.equal((await server.stop('SIGTERM')).status, 0);
    await judge(receiver, platform);
    const repeated = receiver.received.length - new Set(receiver.received.map(({ id }) => id)).size;
    t.diagnostic(`${receiver.received.length} came, ${repeated} of them again`);
  } finally {
    await platform.close();
  }
}

describe('no event is lost, and each card has its events in order', { concurrency: 2 }, () => {
  test('when the server is killed at any moment, ten times', (t) =>
    underFaults(t, 10, async (server, installation, platform) => {
      await server.stop('SIGKILL');
      await letTimePass(platform);
      return installation.serve();
    }));

  test('when the database is killed at any moment and comes back, five times', (t) =>
    underFaults(t, 5, async (server, installation) => {
      await installation.killDatabase();
      return server;
    }));
});
