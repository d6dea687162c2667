import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readConfig } from '../src/config.ts';
import { openPlatform, type Platform } from '../src/platform.ts';
import { remoteMerchant } from './support/calls.ts';
import { emptyDatabase } from './support/empty-database.ts';
import { accept, answer, isSigned, type Receiver, startReceiver } from './support/receiver.ts';
import {
  API_KEY,
  FIRST_CARD,
  MERCHANT_NO,
  OTHER_API_KEY,
  OTHER_MERCHANT_NO,
  SANDBOX_SECRET,
} from './support/sandbox.ts';
import { type Installation, install, type ServerProcess, until } from './support/server-process.ts';

const MAIN = MERCHANT_NO;
const CARD = FIRST_CARD.cardNo;
/** Within this time every process notices a change. */
const NOTICED_AFTER_MS = 1_000;

let installation: Installation;
let server: ServerProcess;
let platform: Platform;
let receiver: Receiver;
const atTheEnd: (() => Promise<void>)[] = [];
before(async () => {
  installation = install({ after: (work) => atTheEnd.push(work) });
  receiver = await startReceiver();
  server = await installation.serve({ LOG_LEVEL: 'debug' });
  platform = await openPlatform(readConfig({ PINWARD_DATA_DIR: installation.dataDir }));
});
after(async () => {
  await platform?.close();
  await receiver?.close();
  for (const work of atTheEnd) await work();
});

async function succeeds(args: string[]): Promise<string> {
  const { status, stdout, stderr } = await installation.run(args);
  assert.equal(status, 0, stderr);
  return stdout;
}

async function freeze(status: 'Activated' | 'Frozen'): Promise<void> {
  assert.equal((await remoteMerchant(server.url).call('/card/status/update', { card_no: CARD, status })).code, 0);
}

const records = () =>
  platform.db.query<{ action: string; details: string }>(
    'merchant-records',
    `select action, details from audit_records where merchant_id = 1 and subject_kind = 'merchant' order by seq`,
  );

test('an operator configures, tests, lists, retries, moves and switches off callbacks, and each change is audited', async () => {
  const url = `${receiver.url}?key=secret-of-the-url`;
  await succeeds(['callbacks', 'configure', MAIN, '--url', url, '--credential', API_KEY]);

  // A sample, not through the table.
  const shown = await succeeds(['callbacks', 'test', MAIN]);
  assert.match(shown, /^HTTP status 200, code 0, \d+ ms\ndelivered\n$/);
  const [sample] = receiver.received;
  assert.ok(
    sample && isSigned(sample) && sample.action === 'Card_update' && sample.path.endsWith('?key=secret-of-the-url'),
  );
  receiver.answering = (_, response) => answer(response, 200, '{"code":9,"message":"not today"}');
  const failed = await installation.run(['callbacks', 'test', MAIN]);
  assert.equal(failed.status, 1);
  assert.match(failed.stdout, /^HTTP status 200, code 9, \d+ ms\n$/);
  assert.equal(failed.stderr, 'pinward-server: not delivered: code 9: not today\n');
  assert.equal(
    await succeeds(['callbacks', 'list']),
    'push id  merchant  card  action  state  attempts  next attempt  last fault\n',
  );

  // The merchant changes a status over the API. The server sends it, and the merchant refuses it.
  receiver.received.length = 0;
  await sleep(NOTICED_AFTER_MS);
  await freeze('Frozen');
  await until('it has failed', async () =>
    (await succeeds(['callbacks', 'list', '--state', 'waiting'])).includes('code 9: not today'),
  );
  const { id } = receiver.received[0]!;
  const listed = await succeeds(['callbacks', 'list', '--merchant', MAIN, '--state', 'waiting']);
  assert.match(
    listed,
    new RegExp(
      `^${id}  ${MAIN}  ${CARD}  Card_update  waiting  \\d+ +\\d{4}-\\d\\d-\\d\\dT[0-9:.]+Z  code 9: not today$`,
      'm',
    ),
  );
  for (const args of [
    ['--merchant', OTHER_MERCHANT_NO],
    ['--state', 'parked'],
    ['--state', 'delivered'],
  ])
    assert.ok(!(await succeeds(['callbacks', 'list', ...args])).includes(id));

  // A day later.
  await platform.db.script(`update callback_events set created_at = created_at - interval '1 day'`);
  await until('it is parked', async () => (await succeeds(['callbacks', 'list', '--state', 'parked'])).includes(id));
  receiver.answering = accept;
  assert.equal(
    await succeeds(['callbacks', 'retry', '--merchant', MAIN, '--parked']),
    'callbacks to be sent again: 1\n',
  );
  await until('it is delivered', async () =>
    (await succeeds(['callbacks', 'list', '--state', 'delivered'])).includes(id),
  );
  assert.equal(await succeeds(['callbacks', 'retry', '--merchant', MAIN, '--parked']), 'nothing is parked\n');

  // Rotation: the old secret signs, also when it is disabled, until the operator cuts over.
  const made = await succeeds(['credential', 'create', '--merchant', MAIN, '--allow-ip', '127.0.0.0/8']);
  const apiKey = /^Api-Key {4}(\S+)$/m.exec(made)?.[1] ?? '';
  const apiSecret = /^apiSecret {2}(\S+)$/m.exec(made)?.[1] ?? '';
  assert.match(
    await succeeds(['credential', 'disable', API_KEY]),
    new RegExp(
      `It still signs the callbacks; to cut over: pinward-server callbacks configure ${MAIN} --credential NEW_API_KEY`,
    ),
  );
  await succeeds(['callbacks', 'test', MAIN]);
  assert.ok(isSigned(receiver.received.at(-1)!));
  await succeeds(['callbacks', 'configure', MAIN, '--credential', apiKey]);
  await succeeds(['callbacks', 'test', MAIN]);
  assert.ok(isSigned(receiver.received.at(-1)!, apiKey, apiSecret));
  assert.ok(!(await succeeds(['credential', 'disable', 'disabled_api_key'])).includes('signs'));

  await succeeds(['callbacks', 'configure', MAIN, '--off']);
  assert.match((await installation.run(['callbacks', 'test', MAIN])).stderr, /has no callback address/);

  const trail = (await records()).filter(
    ({ action, details }) => action === 'callbacks_retried' || details.includes('callback_'),
  );
  assert.deepEqual(
    trail.map(({ action, details }) => [action, JSON.parse(details)]),
    [
      ['merchant_updated', { by: 'operator', callback_url: `${receiver.url}?...`, callback_credential: API_KEY }],
      ['callbacks_retried', { by: 'operator', parked: 1 }],
      ['merchant_updated', { by: 'operator', callback_credential: apiKey }],
      ['merchant_updated', { by: 'operator', callback_url: null }],
    ],
  );
  await until('the log is written', () => server.log().some(({ msg }) => msg === 'callback delivered'));
  const log = server.log();
  const { level, eventId, merchantNo, action, attempts } = log.find(({ msg }) => msg === 'callback parked') ?? {};
  assert.deepEqual([level, eventId, merchantNo, action, typeof attempts], [40, 1, MAIN, 'Card_update', 'number']);
  const events = await platform.db.tuples('all-events', 'select to_json(e)::text from callback_events e');
  for (const secret of [SANDBOX_SECRET, apiSecret, 'secret-of-the-url'])
    assert.ok(!JSON.stringify([log, events, await records()]).includes(secret), secret);
});

const configure = ['callbacks', 'configure', MAIN];
const mistakes: [what: string, args: string[], told: RegExp][] = [
  ['nothing to change', configure, /nothing to change was given$/],
  [
    'an address without a secret that signs',
    ['callbacks', 'configure', OTHER_MERCHANT_NO, '--url', 'https://x.example/'],
    /no credential signs the callbacks yet: give --credential API_KEY too$/,
  ],
  [
    'a secret without an address',
    ['callbacks', 'configure', OTHER_MERCHANT_NO, '--credential', OTHER_API_KEY],
    /the merchant has no callback URL yet: give --url URL too$/,
  ],
  ['no merchant', ['callbacks', 'configure', 'M000', '--url', 'https://x.example/'], /there is no merchant M000$/],
  [
    'a private address',
    [...configure, '--url', 'http://10.1.2.3/'],
    /the URL cannot be used: 10\.1\.2\.3 is not a public address$/,
  ],
  [
    'a password in the URL',
    [...configure, '--url', 'https://u:hidden@x.example/'],
    /must not hold a user name or a password$/,
  ],
  ['a fragment', [...configure, '--url', 'https://x.example/#a'], /must not hold a fragment$/],
  ['no URL', [...configure, '--url', 'x.example'], /it is not a URL of at most 2000 characters$/],
  [
    "another merchant's credential",
    [...configure, '--credential', OTHER_API_KEY],
    /has no credential other_api_key that is enabled$/,
  ],
  [
    'a disabled credential',
    [...configure, '--credential', 'disabled_api_key'],
    /has no credential disabled_api_key that is enabled$/,
  ],
  [
    'off and on at once',
    [...configure, '--off', '--url', 'https://x.example/'],
    /--off goes without other options; nothing was changed$/,
  ],
  ['a retry of nothing', ['callbacks', 'retry'], /give a push id, or --merchant MERCHANT --parked$/],
  ['a retry of all that waits', ['callbacks', 'retry', '--merchant', MAIN], /give a push id/],
  ['a retry of both', ['callbacks', 'retry', randomUUID(), '--merchant', MAIN, '--parked'], /give a push id/],
  ['a push id that is none', ['callbacks', 'retry', '1 or 1'], /1 or 1 is not a push id$/],
  [
    'a push id of nothing',
    ['callbacks', 'retry', randomUUID()],
    /no callback .* is parked, or waits for longer than 30 s; nothing was changed$/,
  ],
  ['a state that is none', ['callbacks', 'list', '--state', 'lost'], /waiting, parked, delivered/],
  ['a test for no merchant', ['callbacks', 'test', 'M000'], /there is no merchant M000$/],
];
describe('a mistake is told in one clear line and changes nothing:', { concurrency: 3 }, () => {
  for (const [what, args, told] of mistakes) {
    test(what, async () => {
      const before = await records();
      const { status, stdout, stderr } = await installation.run(args);
      assert.deepEqual([status, stdout], [1, '']);
      assert.match(stderr.split('\n')[0] ?? '', told);
      assert.ok(!stderr.includes('hidden') && !stderr.includes('\n    at '), stderr);
      assert.deepEqual(await records(), before);
    });
  }
});

test('a merchant always gets Card_update, whatever other actions are set for it', async () => {
  const actionsAfter = async (given: string) => {
    await succeeds(['merchant', 'update', OTHER_MERCHANT_NO, '--callbacks', given]);
    const [row] = await platform.db.query<{ actions: string[] }>(
      'actions',
      'select callback_actions as actions from merchants where merchant_id = 2',
    );
    return row?.actions;
  };
  assert.deepEqual(await actionsAfter('Pin_blocked,Pin_set'), ['Card_update', 'Pin_set', 'Pin_blocked']);
  assert.deepEqual(await actionsAfter('none'), ['Card_update']);
});

test('production accepts only https, and no address of its own machine', async (t) => {
  const kek = randomBytes(32).toString('hex');
  const production = install(t, {
    env: { PINWARD_MODE: 'production', DATABASE_URL: await emptyDatabase(t), PINWARD_KEK: kek },
  });
  for (const args of [['migrate'], ['keys', 'init']]) assert.equal((await production.run(args)).status, 0);
  const merchantNo = (await production.run(['merchant', 'create', '--name', 'First'])).stdout.trim();
  const made = await production.run(['credential', 'create', '--merchant', merchantNo, '--import', 'first'], {
    input: randomBytes(16).toString('hex'), // production takes none of the sandbox's
  });
  assert.equal(made.status, 0, made.stderr);
  const set = (url: string) =>
    production.run(['callbacks', 'configure', merchantNo, '--url', url, '--credential', 'first']);
  assert.match((await set(receiver.url)).stderr, /it must begin with https:\/\/$/m);
  assert.match((await set('https://127.0.0.1/')).stderr, /127\.0\.0\.1 is not a public address$/m);
  const local = `https://localhost:${new URL(receiver.url).port}/`;
  assert.equal((await set(local)).status, 0, 'a name is judged when it is connected to');
  const count = receiver.received.length;
  const { status, stderr } = await production.run(['callbacks', 'test', merchantNo]);
  assert.deepEqual(
    [status, stderr],
    [1, 'pinward-server: not delivered: the host has an address that is not public\n'],
  );
  assert.equal(receiver.received.length, count);
});
