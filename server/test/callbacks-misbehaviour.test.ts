import assert from 'node:assert/strict';
import { createSecretKey, randomBytes, randomUUID } from 'node:crypto';
import { after, afterEach, before, describe, test } from 'node:test';
import { configureCallbacks } from '../src/callbacks/configure-callbacks.ts';
import { createDelivery } from '../src/callbacks/deliver.ts';
import { DELIVERY_TIMEOUT_MS } from '../src/callbacks/exchange.ts';
import { sendCallbacks } from '../src/callbacks/send-callbacks.ts';
import { createCredential } from '../src/merchants/create-credential.ts';
import { createMerchant } from '../src/merchants/create-merchant.ts';
import { findMerchantId } from '../src/merchants/store.ts';
import { appendEvent } from '../src/outbox/append-event.ts';
import {
  endless,
  LATE,
  MISBEHAVIOURS,
  OK,
  onConnection,
  onRequest,
  type Peer,
  startPeer,
  write,
} from './support/bad-peer.ts';
import { API_KEY, MERCHANT_NO } from './support/sandbox.ts';
import { until } from './support/server-process.ts';
import { operatorOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

const MAIN = MERCHANT_NO;
/** What one process has in flight to one merchant. */
const QUOTA = 64;
let platform: TestPlatform;
let peer: Peer;
const senders: { stop(): Promise<void> }[] = [];
before(async () => {
  platform = await startPlatform();
  peer = await startPeer();
  await configure(MAIN, peer.url, API_KEY);
});
after(async () => {
  await peer.close();
  await platform.close();
});
afterEach(async () => {
  await Promise.all(senders.splice(0).map((sender) => sender.stop()));
  await platform.db.script('truncate callback_events');
});

function send(options: { timeoutMs?: number; leaseMs?: number }): { stop(): Promise<void> } {
  const sender = sendCallbacks(platform.services, options);
  senders.push(sender);
  return sender;
}

const configure = (merchantNo: string, url: string, apiKey: string) =>
  configureCallbacks(operatorOf(platform), 'sandbox', merchantNo, { url, apiKey });

async function writeEvents(cards: number, merchantId = 1, name = 'C'): Promise<void> {
  for (let card = 0; card < cards; card++) {
    const cardNo = `${name}${card}`;
    const [action, atMs] = ['Card_update' as const, platform.clock.now];
    await appendEvent(platform.db, { merchantId, cardNo, action, data: { card_no: cardNo }, atMs });
  }
}

const events = () =>
  platform.db.query<{ merchantId: number; delivered: boolean; attempts: number; fault: string | null }>(
    'test-events',
    `select merchant_id as "merchantId", delivered_at is not null as delivered, attempts, last_fault as fault
       from callback_events order by event_id`,
  );

describe('the merchant gets the next callback after 64 attempts at once on a server that', () => {
  for (const [what, misbehaviour] of Object.entries(MISBEHAVIOURS))
    test(what, async () => {
      peer.misbehaviour = misbehaviour;
      await writeEvents(QUOTA);
      const sender = send({ timeoutMs: misbehaviour.fault === LATE ? 500 : 5_000 });
      await until('all attempts ended', async () => (await events()).every(({ fault }) => fault !== null));
      for (const { attempts, fault } of await events()) {
        assert.equal(attempts, 1);
        assert.match(fault as string, misbehaviour.fault);
      }
      peer.misbehaviour = undefined;
      await writeEvents(1, 1, 'next');
      await until('the next is delivered', async () => (await events()).at(-1)?.delivered);
      await sender.stop();
      for (const socket of peer.open) socket.resume();
      await until('no connection is left', () => peer.open.size === 0);
    });
});

test('512 attempts on servers that never end one leave the next merchant its callback', async () => {
  const names = [
    'switches protocols',
    'answers 102 for ever, slowly',
    'sends header bytes one by one',
    'reads nothing',
  ];
  const bad = await Promise.all(names.map((name) => startPeer(MISBEHAVIOURS[name])));
  for (let i = 0; i < 512 / QUOTA; i++) {
    const merchantId = await newMerchant(bad[i % bad.length]!.url);
    await writeEvents(QUOTA, merchantId, `M${i}-`);
  }
  peer.misbehaviour = undefined;
  const sender = send({ timeoutMs: 1_000 });
  await until('512 have had an attempt', async () => (await events()).every(({ attempts }) => attempts > 0));
  await writeEvents(1, 1, 'next');
  await until('the next is delivered', async () => (await events()).at(-1)?.delivered);
  await sender.stop();
  await Promise.all(bad.map((one) => one.close()));
});

async function newMerchant(url: string): Promise<number> {
  const operator = operatorOf(platform);
  const merchant = {
    name: 'M',
    integrationMode: 'CREDIT_EXTENSION',
    pinRuns: 'arithmetic',
    pciEnabled: false,
  } as const;
  const merchantNo = await createMerchant(operator, merchant);
  const { apiKey } = await createCredential(operator, { merchantNo, ipAllowlist: [] });
  await configure(merchantNo, url, apiKey);
  return (await findMerchantId(platform.db, merchantNo)) as number;
}

test('a handshake that never ends, and a server that speaks no TLS, end the attempt', async (t) => {
  const delivery = createDelivery({ mode: 'sandbox', clock: Date.now, timeoutMs: 400 });
  t.after(() => delivery.close());
  const endpoint = { merchantNo: MAIN, apiKey: API_KEY, apiSecret: createSecretKey(randomBytes(32)) };
  const attempt = () =>
    delivery.deliver(
      { ...endpoint, url: peer.url.replace('http:', 'https:') },
      { pushId: randomUUID(), action: 'Card_update', data: '{}' },
    );
  for (const [misbehaviour, fault] of [
    [onConnection(() => {}, /./), /^no complete answer within 0.4 s$/],
    [onConnection(endless('', 'x', 20), /./), /^no (answer \(EPROTO|answer \(ERR_SSL|complete)/],
    [onConnection(endless('\x16\x03\x03\x40\x00', '\x00', 20), /./), /^no (answer|complete)/],
  ] as const) {
    peer.misbehaviour = misbehaviour;
    const outcomes = await Promise.all(Array.from({ length: QUOTA }, attempt));
    for (const outcome of outcomes) assert.match(outcome.fault ?? '', fault);
  }
});

test('two answers sent at once count once, and the second belongs to no request', async () => {
  peer.misbehaviour = onRequest(write(`${OK}HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n`), /./);
  await writeEvents(QUOTA);
  send({});
  await until('all are delivered', async () => (await events()).every(({ delivered }) => delivered));
});

test('an idle connection on which bytes arrive is ended', async () => {
  peer.misbehaviour = onRequest(endless(OK, 'x', 200), /./);
  await writeEvents(1);
  send({});
  await until('all are delivered', async () => (await events()).every(({ delivered }) => delivered));
  await until('no connection is left', () => peer.open.size === 0);
});

test('an attempt that never ends by itself loses its place, its connection and its lease, and is logged once', async () => {
  peer.misbehaviour = onRequest(() => {}, /./);
  await writeEvents(1);
  const said = platform.logLines.length;
  // A limit of attempts that does not work: only the end of the lease is left.
  const sender = send({ timeoutMs: 3_600_000, leaseMs: DELIVERY_TIMEOUT_MS + 700 });
  await until('it is under way', () => peer.open.size === 1);
  peer.misbehaviour = undefined;
  await until('its connection is ended', () => peer.open.size === 0);
  await sender.stop(); // waits for places that are taken
  const lines = platform.logLines.slice(said).filter((line) => line.includes('outlived its lease'));
  assert.equal(lines.length, 1);
});

test('a stop ends within the time of an attempt, whatever the servers do', async () => {
  peer.misbehaviour = onRequest(endless('', 'HTTP/1.1 102 Processing\r\n\r\n', 100), LATE);
  await writeEvents(QUOTA);
  const sender = send({ timeoutMs: 2_000 });
  await until('all are under way', () => peer.open.size === QUOTA);
  await sender.stop();
  for (const { attempts, fault } of await events()) {
    assert.equal(attempts, 1);
    assert.match(fault ?? '', /^(no complete answer within 2 s|more than 16 answers 1xx)$/);
  }
});
