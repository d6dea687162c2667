import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import pino from 'pino';
import { buildApp } from '../src/app.ts';
import { readConfig } from '../src/config.ts';
import { openDatabase } from '../src/db/database.ts';
import { readKeyFile } from '../src/keys/key-file.ts';
import { keysOf } from '../src/keys/keys.ts';
import { makeKey } from '../src/keys/make-key.ts';
import { createKeyFile } from '../src/keys/make-key-file.ts';
import { openKeyFile } from '../src/keys/open-key-file.ts';
import { type Hsm, HsmError, openHsm } from '../src/keys/pkcs11.ts';
import { logOptions } from '../src/log.ts';
import { resetSandbox } from '../src/sandbox/seed.ts';
import { Secret } from '../src/secret.ts';
import { buildServices } from '../src/services.ts';
import { issuerOf } from './support/issuer.ts';
import { FIRST_CARD, pinBody, ZONE_KEY } from './support/sandbox.ts';
import { ageKeys, install, until } from './support/server-process.ts';
import { noHsm, noRemoteHsm, PIN, type RemoteHsm, remoteHsm, type SoftHsm, softHsm } from './support/soft-hsm.ts';
import { cloneDatabase, merchantOf, TEST_TIME_MS } from './support/test-platform.ts';

const scratch = mkdtempSync(join(tmpdir(), 'pinward-hsm-keys-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

describe('a token', { skip: noHsm }, () => {
  let soft: SoftHsm;
  let hsm: Hsm;
  before(async () => {
    soft = softHsm();
    hsm = await openHsm(soft.config);
  });
  after(async () => {
    await hsm.close();
    soft.close();
  });

  test('says what it is and which mechanisms it was found to have', () => {
    assert.match(hsm.report, /token "pinward-test" \(SoftHSM.*CKM_GENERIC_SECRET_KEY_GEN, CKM_SHA256_HMAC/);
  });

  test('seals values that open only for the same identity and key', async () => {
    await hsm.makeKey('a');
    await hsm.makeKey('b');
    const [a, b] = [hsm.held('a'), hsm.held('b')];
    const plain = randomBytes(100);
    const sealed = await a.seal(plain, 'row 1');
    assert.deepEqual(await a.open(sealed, 'row 1'), plain);
    assert.notDeepEqual(await a.seal(plain, 'row 1'), sealed, 'never the same twice');
    for (const attempt of [
      () => a.open(sealed, 'row 2'),
      () => b.open(sealed, 'row 1'),
      () => a.open(sealed.subarray(0, 20), 'row 1'),
      () => hsm.held('c').open(sealed, 'row 1'),
    ])
      await assert.rejects(attempt(), (error: Error) => !hsm.isGone(error));
    for (let at = 0; at < sealed.length; at += 7) {
      const flipped = Buffer.from(sealed);
      flipped[at] = (flipped[at] as number) ^ 1;
      await assert.rejects(a.open(flipped, 'row 1'), /does not open/);
    }
  });

  test('computes many MACs at once, each for its own input', async () => {
    await hsm.makeKey('m');
    const key = hsm.held('m');
    const messages = Array.from({ length: 300 }, (_, i) => Buffer.from(`message ${i % 100}`));
    const macs = await Promise.all(messages.map((message) => key.mac(message)));
    assert.equal(new Set(macs.map((mac) => mac.toString('hex'))).size, 100);
    for (const [i, mac] of macs.entries()) assert.deepEqual(mac, macs[i % 100]);
    assert.deepEqual(messages[0], Buffer.from('message 0'), "the caller's own bytes are left for him to wipe");
  });

  test('never makes a key over another, and notices deleted keys', async () => {
    await assert.rejects(hsm.makeKey('a'), /has a key a already/);
    await hsm.destroy('b');
    await assert.rejects(hsm.held('b').mac(Buffer.alloc(1)), /has no key b/);
    await hsm.destroy('b'); // as after a crash between the token and the file
  });

  test('gets another worker after one has died, and the calls of the dead one fail at once', async () => {
    const workers: Worker[] = [];
    const onWorker = (message: unknown) => void workers.push((message as { worker: Worker }).worker);
    subscribe('worker_threads', onWorker);
    await hsm.close(); // one at a time in a process: the module is shared
    const soon = await openHsm({ ...soft.config }).catch(() => undefined);
    unsubscribe('worker_threads', onWorker);
    assert.ok(soon, 'it opens');
    try {
      await soon.makeKey('lives');
      const value = await soon.checkValue('lives');
      void workers[0]?.terminate();
      const lost = soon.checkValue('lives'); // asked of one that no longer listens
      await assert.rejects(lost, (error: Error) => soon.isGone(error));
      assert.equal(await until('it is back', () => soon.checkValue('lives').catch(() => undefined)), value);
    } finally {
      await soon.close();
      hsm = await openHsm(soft.config);
    }
  });

  test('holds the KEK and the PIN verify key: neither is in the key file, and the file opens nowhere else', async () => {
    const path = join(scratch, 'in-hsm.json');
    await createKeyFile(path, { kind: 'hsm', hsm }, new Date());
    const stored = await readKeyFile(path);
    assert.match(stored.kek.hsm_label as string, /^test-kek-1-/);
    assert.deepEqual(
      stored.keys.filter((key) => key.wrapped === undefined).map(({ purpose }) => purpose),
      ['pin-verify'],
    );
    const keys = keysOf(await openKeyFile(path, { kind: 'hsm', hsm }), Date.now);
    assert.equal((await keys.pinVerify.mac(1, Buffer.from('x'))).length, 32);
    const wrapped = await keys.kek.wrap(Buffer.from('secret'), 'row');
    assert.equal((await keys.kek.unwrap(wrapped, 'row')).toString(), 'secret');
    const next = () =>
      makeKey({ file: stored, kek: hsm.held(stored.kek.hsm_label as string), hsm }, 'pin-verify', { now: new Date() });
    const [made, again] = [await next(), await next()];
    assert.equal(made.version, again.version, 'as after a crash, when the first was not written to the file');
    assert.notEqual(made.hsm_label, again.hsm_label);
    await assert.rejects(
      openKeyFile(path, { kind: 'key', key: new Secret(Buffer.alloc(32, 1)) }),
      /was sealed with an HSM/,
    );
    writeFileSync(path, readFileSync(path, 'utf8').replace('"TDES-2",', '"TDES-2", "expiry_order": "MMYY",'));
    await assert.rejects(openKeyFile(path, { kind: 'hsm', hsm }), /was altered: its seal is not that of its content/);
  });
});

describe('a token is not opened', { skip: noHsm }, () => {
  let soft: SoftHsm;
  before(() => {
    soft = softHsm();
  });
  after(() => soft.close());

  const refused: [what: string, change: (config: SoftHsm['config']) => SoftHsm['config'], words: RegExp][] = [
    [
      'another PIN',
      (config) => ({ ...config, pin: new Secret('00000000') }),
      /the token "pinward-test" refuses the PIN$/,
    ],
    [
      'a token that is not there',
      (config) => ({ ...config, token: 'elsewhere' }),
      /has no token "elsewhere"; it has: "pinward-test" in slot \d+/,
    ],
    ['a slot that is not there', (config) => ({ ...config, token: 12 }), /has no token in slot 12/],
    [
      'a module that is none',
      (config) => ({ ...config, module: '/etc/hostname' }),
      /module \/etc\/hostname cannot be loaded/,
    ],
  ];
  for (const [what, change, words] of refused)
    test(`with ${what}, and that is said without the PIN`, async () => {
      await assert.rejects(
        openHsm(change(soft.config)),
        (error: Error) => error instanceof HsmError && words.test(error.message) && !error.message.includes('48151623'),
      );
    });
});

test('if two tokens have the same label: the operator is asked to name a slot', {
  skip: noHsm,
}, async () => {
  const soft = softHsm();
  try {
    soft.addToken();
    const wrong = { ...soft.config, pin: new Secret('00000000') };
    const error = await openHsm(wrong).catch((refused: Error) => refused);
    assert.ok(error instanceof HsmError);
    assert.match(error.message, /has 2 tokens "pinward-test", in slots \d+ and \d+; no PIN was tried: set PINWARD_/);
    assert.equal(soft.sawWrongPin(), false, 'no login was tried');
    const [slot] = error.message.match(/\d{3,}/) ?? [];
    await assert.rejects(openHsm({ ...wrong, token: Number(slot) }), /refuses the PIN$/);
    assert.equal(soft.sawWrongPin(), true, 'as the same test sees it when there was one');
    const hsm = await openHsm({ ...soft.config, token: Number(slot) });
    await hsm.close();
  } finally {
    soft.close();
  }
});

describe('a token that refuses the PIN', { skip: noRemoteHsm }, () => {
  const OTHER_PIN = '27182818';
  let remote: RemoteHsm;
  before(async () => {
    remote = await remoteHsm();
  });
  after(() => remote.close());

  test('is asked once by a running platform, which says so and is not ready until it is started again', async (t) => {
    const installation = install(t, { env: remote.env });
    const server = await installation.serve();
    const readiness = async () => (await fetch(`${server.url}/readyz`)).status;
    assert.equal(await readiness(), 200);
    await remote.goAway();
    remote.changePin(PIN, OTHER_PIN);
    await remote.comeBack();
    const told = /refuses the PIN; it is not asked again: give the right PIN and start the platform again/g;
    await until('it is told', async () => (await readiness()) === 503 && told.test(server.stdout()));
    // Now a login with the configured PIN would succeed. If there is none, the token was not asked
    // again.
    remote.changePin(OTHER_PIN, PIN);
    for (let i = 0; i < 10; i++) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      assert.equal(await readiness(), 503);
    }
    const events = server
      .stdout()
      .split('\n')
      .filter((line) => line.includes('"msg":"the token'));
    assert.equal(events.length, 1, 'it is told once');
    assert.ok(!server.stdout().includes(PIN));
    await server.stop('SIGTERM');
    const again = await installation.serve();
    assert.equal((await fetch(`${again.url}/readyz`)).status, 200);
  });

  test('is not asked by another worker either, after the first has died', async () => {
    const workers: Worker[] = [];
    const onWorker = (message: unknown) => void workers.push((message as { worker: Worker }).worker);
    subscribe('worker_threads', onWorker);
    const events: string[] = [];
    const hsm = await openHsm(remote.config, (event) => void events.push(event));
    try {
      await hsm.makeKey('asked-once');
      await remote.goAway();
      remote.changePin(PIN, OTHER_PIN);
      await remote.comeBack();
      await until('it is refused', () =>
        hsm.checkValue('asked-once').then(undefined, ({ message }: Error) => message.includes('it is not asked again')),
      );
      remote.changePin(OTHER_PIN, PIN);
      await workers[0]?.terminate();
      for (let i = 0; i < 5; i++) {
        await new Promise((resolve) => setTimeout(resolve, 200));
        await assert.rejects(hsm.checkValue('asked-once'), /refuses the PIN; it is not asked again/);
      }
      assert.equal(workers.length, 1);
      assert.equal(events.length, 1);
    } finally {
      unsubscribe('worker_threads', onWorker);
      await hsm.close();
    }
  });
});

describe('the platform on an HSM', { skip: noRemoteHsm }, () => {
  let remote: RemoteHsm;
  before(async () => {
    remote = await remoteHsm();
  });
  after(() => remote.close());

  test('answers 1001 and is not ready while the HSM is unavailable, stores nothing in part, and works again by itself', async () => {
    const hsm = await openHsm(remote.config);
    const path = join(scratch, 'remote.json');
    await createKeyFile(path, { kind: 'hsm', hsm }, new Date());
    const keys = keysOf(await openKeyFile(path, { kind: 'hsm', hsm }), Date.now);
    const database = await cloneDatabase();
    const db = openDatabase({ url: database.url });
    await resetSandbox(db, keys);
    const clock = { now: TEST_TIME_MS };
    const lines: string[] = [];
    const log = pino(logOptions('info'), { write: (line: string) => void lines.push(line) });
    const app = await buildApp(buildServices({ config: readConfig({}), clock: () => clock.now, log, db, keys }));
    try {
      const merchant = merchantOf({ app, clock });
      const issuer = issuerOf({ app });
      const set = async (pin: string) => (await merchant.call('POST', '/card/pin/set', pinBody(pin))).code;
      const count = async () =>
        (
          await db.tuples<[number, number]>(
            'count',
            `select pin_version, audit_count from cards where card_no = 'C202605220001'`,
          )
        )[0];
      assert.equal(await set('142536'), 0);
      assert.deepEqual((await issuer.verify('142536')).data, { result: 'match' });
      const before = await count();

      await remote.goAway();
      for (const pin of ['902847', '902847', '058291']) assert.equal(await set(pin), 1001);
      assert.equal((await issuer.verify('142536')).code, 1001);
      await until('it is not ready', async () => (await app.inject('/readyz')).statusCode === 503);
      const ready = await app.inject('/readyz');
      assert.deepEqual(
        [ready.statusCode, ready.json()],
        [503, { status: 'failed', database: 'ok', keys: 'failed', key_file: 'ok' }],
      );
      assert.equal((await app.inject('/healthz')).statusCode, 200);
      assert.deepEqual(await count(), before, 'nothing was half-done');

      await remote.comeBack();
      await until('it is ready again', async () => (await app.inject('/readyz')).statusCode === 200);
      assert.deepEqual((await issuer.verify('142536')).data, { result: 'match' }, 'the PIN is as it was');
      assert.equal(await set('902847'), 0);
      assert.deepEqual((await issuer.verify('902847')).data, { result: 'match' });

      await Promise.all([remote.goAway(), ...Array.from({ length: 50 }, () => set('142536'))]);
      await remote.comeBack();
      await until('a PIN can be set once more', async () => (await set('385016')) === 0);
      await until('it is ready once more', async () => (await app.inject('/readyz')).statusCode === 200);
      assert.ok(
        lines.some((line) => line.includes('the HSM')) && !lines.some((line) => /48151623|142536|902847/.test(line)),
      );
    } finally {
      await app.close();
      await db.close();
      await database.drop();
      await hsm.close();
    }
  });

  test('starts without any data, sets and verifies a PIN, rotates keys in the HSM, and keeps its PINs over a restart', async (t) => {
    const installation = install(t, { env: remote.env });
    const server = await installation.serve();
    assert.match(server.stdout(), /the HSM is there: token/);
    const { remoteMerchant } = await import('./support/calls.ts');
    assert.equal((await remoteMerchant(server.url).setPin('142536')).code, 0);
    await server.stop('SIGTERM');
    const listed = await installation.run(['keys', 'list']);
    assert.match(listed.stdout, /kek +1 +AES-256 +[0-9A-F]{6} +active +- +pinward-kek-1-/);
    assert.match(listed.stdout, /pin-verify +1 +HMAC-SHA-256 +[0-9A-F]{6} +active +0 d +pinward-pin-verify-1-/);
    for (const args of [
      ['rotate', 'pin-verify', '--active-in', '0'],
      ['rotate', 'kek'],
      ['rewrap'],
      ['destroy', 'kek', '1'],
    ]) {
      if (args[0] === 'destroy') await ageKeys(installation, remote.env);
      assert.equal((await installation.run(['keys', ...args])).status, 0, args.join(' '));
    }
    assert.match(
      (await installation.run(['keys', 'export-components', 'pin-verify', '--out', join(scratch, 'shares')])).stderr,
      /was made in the HSM and cannot leave it/,
    );
    const again = await installation.serve();
    const verify = async (pin: string) => {
      const { pinBlock } = await import('./support/issuer.ts');
      const response = await fetch(`${again.url}/issuer/v1/pin/verify`, {
        method: 'POST',
        headers: { Authorization: 'Bearer sandbox_issuer_key', 'Content-Type': 'application/json' },
        body: JSON.stringify({
          card_no: FIRST_CARD.cardNo,
          pin_block: pinBlock(pin),
          format: 4,
          zone_key: ZONE_KEY,
        }),
      });
      return ((await response.json()) as { data: { result: string } }).data.result;
    };
    assert.equal(await verify('142536'), 'match', 'under the old version');
    assert.equal(await verify('142536'), 'match', 'and, moved by that, under the new one');
    assert.equal((await remoteMerchant(again.url).setPin('902847')).code, 0);
    await again.stop('SIGTERM');
    assert.match((await installation.run(['keys', 'destroy', 'pin-verify', '1'])).stdout, /is destroyed/);
  });
});
