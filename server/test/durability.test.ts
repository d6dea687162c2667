import assert from 'node:assert/strict';
import { Agent, request as httpRequest } from 'node:http';
import { describe, type TestContext, test } from 'node:test';
import { readConfig } from '../src/config.ts';
import { openDatabase } from '../src/db/database.ts';
import { openPlatform, type Platform } from '../src/platform.ts';
import { type NetworkAnswer, remoteMerchant, validPin } from './support/calls.ts';
import { addCards } from './support/more-cards.ts';
import { FIRST_CARD, seal } from './support/sandbox.ts';
import { type Installation, install, isAlive, type ServerProcess, until } from './support/server-process.ts';
import { intactChain, storedPin } from './support/stored-pin.ts';

/** Looks at an installation's data from outside, as an operator's command does. */
async function lookInto<T>({ dataDir }: Installation, look: (platform: Platform) => Promise<T>): Promise<T> {
  const platform = await openPlatform(readConfig({ PINWARD_DATA_DIR: dataDir }));
  try {
    return await look(platform);
  } finally {
    await platform.close();
  }
}

/**
 * Sets a PIN, lets `kill` do its work the moment the answer is there, restarts, and looks for the
 * PIN.
 */
async function killAfterEveryAnswer(
  t: TestContext,
  rounds: number,
  kill: (server: ServerProcess, installation: Installation) => Promise<void>,
): Promise<void> {
  const installation = install(t);
  const { cardNo } = FIRST_CARD;
  let server = await installation.serve();
  const before = await lookInto(installation, async ({ db }) => (await intactChain(db, cardNo)).length);
  for (let round = 1; round <= rounds; round++) {
    const pin = validPin(round);
    const answer = await remoteMerchant(server.url).setPin(pin);
    await kill(server, installation);
    assert.deepEqual(answer.data, { result: true });

    server = await installation.serve();
    await lookInto(installation, async (platform) => {
      const stored = await storedPin(platform, cardNo);
      assert.equal(stored?.version, round, 'every set counts once');
      assert.ok(await stored.is(pin), `round ${round}: the PIN of the answer is the PIN that is stored`);
      assert.ok(!(await stored.is(validPin(round + 1))), 'and no other');
      const records = await intactChain(platform.db, cardNo);
      assert.equal(records.length, before + round);
      assert.equal(records.at(-1)?.details.request_id, answer.requestId);
    });
  }
}

describe('a PIN that was answered with true is there', { concurrency: 2 }, () => {
  test('after the platform was killed, eight times out of eight', (t) =>
    killAfterEveryAnswer(t, 8, async (server, { databasePid }) => {
      const orphan = databasePid();
      await server.stop('SIGKILL');
      assert.ok(
        orphan !== undefined && databasePid() === orphan,
        'the database lives on, and the next start adopts it',
      );
    }));

  test('after platform and database were killed together, eight times out of eight', async (t) => {
    // Four and four at once: most of the time goes by until the system has cleared the dead away.
    const four = () =>
      killAfterEveryAnswer(t, 4, async (server, { cutPower, databasePid }) => {
        await cutPower(server);
        assert.equal(databasePid(), undefined);
      });
    await Promise.all([four(), four()]);
  });
});

for (const [what, withDatabase] of [
  ['the platform', false],
  ['platform and database', true],
] as const) {
  test(`when ${what} is killed with 32 sets in flight, each card holds what was last answered or what was under way`, async (t) => {
    const installation = install(t);
    const server = await installation.serve();
    const cards = await lookInto(installation, (platform) => addCards(platform, 32));
    const merchant = remoteMerchant(server.url);
    const answered = new Map<string, NetworkAnswer[]>(cards.map(({ cardNo }) => [cardNo, []]));
    let total = 0;

    const setting = cards.map(async (card, index) => {
      const answers = answered.get(card.cardNo)!;
      // One after another on each card, so that the n-th set is the n-th version.
      for (;;) {
        const answer = await merchant.setPin(validPin(index * 31 + answers.length), card).catch(() => undefined);
        if (answer === undefined) return; // under way when it happened
        assert.deepEqual(answer.data, { result: true });
        answers.push(answer);
        total++;
      }
    });
    await until('each card has had a PIN', () => [...answered.values()].every((answers) => answers.length > 2));
    await (withDatabase ? installation.cutPower(server) : server.stop('SIGKILL'));
    await Promise.all(setting);
    assert.ok(total >= 96);

    await installation.serve();
    await lookInto(installation, async (platform) => {
      for (const [index, { cardNo }] of cards.entries()) {
        const answers = answered.get(cardNo)!;
        const stored = await storedPin(platform, cardNo);
        const version = stored?.version ?? 0;
        assert.ok(
          version === answers.length || version === answers.length + 1,
          `${cardNo}: ${version} of ${answers.length}`,
        );
        assert.ok(await stored?.is(validPin(index * 31 + version - 1)), `${cardNo} holds the PIN of its version`);
        const sets = (await intactChain(platform.db, cardNo)).filter(({ action }) => action === 'pin_set');
        assert.deepEqual(
          sets.slice(0, answers.length).map(({ details }) => details.request_id),
          answers.map(({ requestId }) => requestId),
          'every answer has its record, in order',
        );
        assert.equal(sets.length, version);
      }
    });
  });
}

test('a platform that is told to stop with 32 requests in flight answers them all, stops the database, and exits with 0', async (t) => {
  const installation = install(t);
  const server = await installation.serve();
  const databasePid = installation.databasePid()!;
  const merchant = remoteMerchant(server.url);
  const headers = { ...(await merchant.headers()), Expect: '100-continue' };
  const agent = new Agent({ keepAlive: true }); // as merchants' servers do; a kept connection must not hold up the end
  t.after(() => agent.destroy());

  // A lock on the card holds the sets where they are, so that all of them are under way when the
  // signal comes.
  const embedded = await lookInto(installation, async ({ url }) => url.expose());
  const blocker = openDatabase({ url: embedded, connections: 1 });
  const answers: Promise<{ status: number; text: string }>[] = [];
  let begun = 0;
  const stopped = await blocker.transaction(async (tx) => {
    await tx.tuples('block', 'select from cards where card_no = $1 for update', [FIRST_CARD.cardNo]);
    for (let i = 0; i < 32; i++) {
      answers.push(
        new Promise((resolve, reject) => {
          const request = httpRequest(
            `${server.url}/open-api/v1/card/pin/set`,
            { method: 'POST', headers, agent },
            (response) => {
              let text = '';
              response.setEncoding('utf8').on('data', (chunk) => {
                text += chunk;
              });
              response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
            },
          );
          request.on('continue', () => {
            begun++;
            request.end(
              JSON.stringify({
                card_no: FIRST_CARD.cardNo,
                cardholder_no: FIRST_CARD.cardholderNo,
                pin: seal(validPin(i)),
              }),
            );
          });
          request.on('error', reject);
          request.flushHeaders();
        }),
      );
    }
    await until('the server has begun with every request', () => begun === 32);
    const end = server.stop('SIGTERM');
    await until('nobody can connect any more', () =>
      fetch(`${server.url}/healthz`).then(
        () => false,
        () => true,
      ),
    );
    return { end };
  });
  await blocker.close();

  for (const { status, text } of await Promise.all(answers)) {
    assert.equal(status, 200);
    assert.equal(text, '{"code":0,"msg":"Success","data":{"result":true}}');
  }
  assert.equal((await stopped.end).status, 0);
  await until('the database is gone, and whoever inherited it has taken notice', () => !isAlive(databasePid));
  assert.equal(installation.databasePid(), undefined);
});
