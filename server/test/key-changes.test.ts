import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { personalIdentity, shareTokenIdentity } from '../src/cardholders/store.ts';
import { addressIdentity } from '../src/cards/application-store.ts';
import { changeKeyFile, completeKeyFile, type KeyPlace } from '../src/custody/change-key-file.ts';
import { destroyKey } from '../src/custody/destroy-key.ts';
import { rewrap } from '../src/custody/rewrap.ts';
import { rotateKey } from '../src/custody/rotate-key.ts';
import { readStale, usesOf } from '../src/custody/store.ts';
import { LOCKS } from '../src/db/advisory-locks.ts';
import { readKeyFile, type StoredKeyFile } from '../src/keys/key-file.ts';
import { keysOf } from '../src/keys/keys.ts';
import { openKeyFile } from '../src/keys/open-key-file.ts';
import { secretIdentity } from '../src/merchants/store.ts';
import { API_KEY, FIRST_CARD } from './support/sandbox.ts';
import { editKeyFile, until } from './support/server-process.ts';
import { testKek } from './support/test-kek.ts';
import { startPlatform, type TestPlatform } from './support/test-platform.ts';

const scratch = mkdtempSync(join(tmpdir(), 'pinward-key-changes-'));
let platform: TestPlatform;
let place: KeyPlace;
let nowMs = Date.now();
before(async () => {
  platform = await startPlatform();
});
let files = 0;
beforeEach(async () => {
  await platform.db.script('truncate key_versions'); // each test has a key file of its own, all with one id
  const keyFile = join(scratch, `${files++}.json`);
  copyFileSync(process.env.TEST_KEY_FILE as string, keyFile);
  place = { db: platform.db, keyFile, source: testKek, now: () => nowMs };
});
after(async () => {
  await platform.close();
  rmSync(scratch, { recursive: true, force: true });
});

/**
 * Begins something that changes the key file while another holds it, lets the other do something,
 * and gives what came of the first.
 */
async function whileHeld<T>(begin: () => Promise<T>, other: () => Promise<unknown>): Promise<PromiseSettledResult<T>> {
  let begun: Promise<T> | undefined;
  await platform.db.session(async (session) => {
    await session.tuples('hold', 'select pg_advisory_lock($1)', [LOCKS.keyFile]);
    begun = begin();
    begun.catch(() => {});
    await until('it waits for the file', async () => {
      const [[waiting] = [0]] = await platform.db.tuples<[number]>(
        'waiting',
        `select count(*) from pg_stat_activity
          where datname = current_database() and query like '%pg_try_advisory_lock%' and pid <> pg_backend_pid()`,
      );
      return waiting > 0;
    });
    await other();
  });
  const [settled] = await Promise.allSettled([begun as Promise<T>]);
  return settled;
}

async function records(): Promise<[action: string, details: Record<string, unknown>][]> {
  const rows = await platform.db.tuples<[string, string]>(
    'key-records',
    `select action, details from audit_records where subject_kind = 'platform' order by seq`,
  );
  return rows.map(([action, details]) => [action, JSON.parse(details)]);
}

describe('of a change of the key file', () => {
  test('that ends before the file is written leaves a record of the intended change', async () => {
    const before = readFileSync(place.keyFile);
    const details = { purpose: 'cvv', version: 2 };
    await assert.rejects(
      changeKeyFile(place, async ({ file, record }) => {
        file.stored.keys = [];
        await record('key_rotated', details);
        throw new Error('a crash');
      }),
      /a crash/,
    );
    assert.deepEqual(readFileSync(place.keyFile), before);
    assert.deepEqual((await records()).at(-1), ['key_rotated', { by: 'operator', ...details }]);
    await rotateKey(place, 'cvv', { activeInMs: 0 });
    nowMs += 60_000;
    await assert.rejects(destroyKey(place, 'access-token', 1), /access-token version 1 is active/);
  });

  test('whose file cannot be written is refused before its record', async () => {
    // A file that can be read and not replaced: with the draft's ending its name is too long.
    const long = join(scratch, `${'x'.repeat(230)}.json`);
    copyFileSync(place.keyFile, long);
    const before = await records();
    await assert.rejects(rotateKey({ ...place, keyFile: long }, 'cvv', { activeInMs: 0 }), { code: 'ENAMETOOLONG' });
    assert.deepEqual(readFileSync(long), readFileSync(place.keyFile));
    assert.deepEqual(await records(), before);
  });

  test('whose record cannot be written changes nothing', async () => {
    const before = readFileSync(place.keyFile);
    await platform.db.script('alter table audit_records rename to away');
    try {
      await assert.rejects(rotateKey(place, 'jwe', { activeInMs: 0 }), /audit_records/);
    } finally {
      await platform.db.script('alter table away rename to audit_records');
    }
    assert.deepEqual(readFileSync(place.keyFile), before);
    assert.equal((await readKeyFile(place.keyFile)).keys.filter(({ purpose }) => purpose === 'jwe').length, 1);
  });
});

describe('a version that is superseded', () => {
  const destroy = () => destroyKey(place, 'pin-verify', 1);

  test('is not destroyed while a process may not have noticed', async () => {
    await rotateKey(place, 'pin-verify', { activeInMs: 10_000 });
    const rotatedAtMs = nowMs;
    await assert.rejects(destroy(), /version 1 is active/);
    for (const afterMs of [10_000, 29_000]) {
      nowMs = rotatedAtMs + afterMs;
      await assert.rejects(destroy(), /pin-verify version 1 may still be in use .*; try again in \d+ s$/);
    }
    nowMs = rotatedAtMs + 20_000;
    await rotateKey(place, 'pin-verify', { activeInMs: 0 }); // a third, which changes nothing for the first
    nowMs = rotatedAtMs + 30_000;
    await destroy();
  });

  test('is counted under the lock of the key file, right before it is destroyed', async () => {
    await rotateKey(place, 'pin-verify', { activeInMs: 0 });
    nowMs += 60_000;
    const outcome = await whileHeld(destroy, () =>
      platform.db.tuples(
        'late-pin',
        `update cards set pin_version = 1, pin_prv = $1, pin_salt = $2, pin_key_version = 1, pin_envelope = 'ecb', pin_channel = 'merchant-api',
                pin_credential_id = 1, pin_set_at = now() where card_no = 'C202605220001'`,
        [Buffer.alloc(32), Buffer.alloc(16)],
      ),
    );
    assert.match(
      outcome.status === 'rejected' ? outcome.reason.message : '',
      /^1 PINs still need pin-verify version 1/,
    );
  });
});

test('keys for new purposes are added to the file as it is once nobody else changes it', async () => {
  const lack = (file: StoredKeyFile) => {
    file.keys = file.keys.filter(({ purpose }) => purpose !== 'jwe');
  };
  await editKeyFile(place.keyFile, testKek, lack);
  const outcome = await whileHeld(
    () => completeKeyFile(place),
    () =>
      editKeyFile(place.keyFile, testKek, (file) => {
        file.kek.version = 7;
      }),
  );
  assert.deepEqual(outcome, { status: 'fulfilled', value: { added: ['jwe'], sealed: false } });
  assert.equal((await readKeyFile(place.keyFile)).kek.version, 7, 'what the other wrote is still there');
});

test('rewrap locks nothing while it wraps, leaves a value that changed meanwhile for the next round, and walks tables along their keys', async () => {
  const { keys, db } = platform;
  await db.script(`insert into cardholders (merchant_id, cardholder_no, cardholder_unique_no, status)
    select 1, 'U' || i, 'U' || i, 'Approved' from generate_series(1, 5000) i`);
  await db.session((session) => session.script('vacuum analyze cardholders'));
  const other = await keys.kek.wrap(Buffer.from('changed-meanwhile'), secretIdentity(API_KEY));
  let wraps = 0;
  const next = {
    ...keys,
    pan: keys.pan,
    panFingerprint: keys.panFingerprint,
    kek: {
      version: 2,
      unwrap: keys.kek.unwrap,
      async wrap(plain: Uint8Array, identity: string) {
        wraps++;
        await db.tuples('touch-gate', 'update gate_version set version = version');
        if (identity === secretIdentity(API_KEY) && plain.length !== 17)
          await db.tuples('change', `update credentials set secret_wrapped = $1 where api_key = 'sandbox_api_key'`, [
            other,
          ]);
        const wrapped = await keys.kek.wrap(plain, identity);
        wrapped.writeUInt16BE(2);
        return wrapped;
      },
    },
  };
  const plans: string[] = [];
  const explained: typeof db = {
    ...db,
    async query(name, text, values) {
      if (name.startsWith('read-stale'))
        plans.push(...(await db.tuples<[string]>(`explain-${name}`, `explain ${text}`, values)).flat());
      return db.query(name, text, values);
    },
  };
  const [[rows] = [0]] = await db.tuples<[number]>(
    'rows',
    'select (select count(*) from credentials) + (select count(*) from issuer_keys)',
  );
  assert.equal(
    await rewrap(
      explained,
      next,
      () => nowMs,
      () => {},
    ),
    rows,
  );
  assert.equal(wraps, rows + 1, 'one was made anew');
  const [[secret] = [Buffer.alloc(0)]] = await db.tuples<[Buffer]>(
    'secret',
    `select secret_wrapped from credentials where api_key = 'sandbox_api_key'`,
  );
  secret.writeUInt16BE(1);
  assert.equal((await keys.kek.unwrap(secret, secretIdentity(API_KEY))).toString(), 'changed-meanwhile');
  assert.ok(await readStale(explained, 'personal', 2, ['U1']));
  assert.match(plans.at(-3) ?? '', /Index Scan using cardholders_cardholder_no_key/, plans.join('\n'));
});

test('everything under the PAN key is counted before the key is destroyed, and moved by rewrap', async () => {
  const { keys, db } = platform;
  const cardNo = FIRST_CARD.cardNo;
  const identities = {
    personal: personalIdentity('U1'),
    shareToken: shareTokenIdentity('U1'),
    address: addressIdentity(cardNo),
  };
  await db.tuples(
    'wrapped',
    `update cardholders set personal_wrapped = $1, share_token_wrapped = $2 where cardholder_no = 'U1'`,
    [
      keys.pan.wrap(Buffer.from('personal'), identities.personal),
      keys.pan.wrap(Buffer.from('share token'), identities.shareToken),
    ],
  );
  await db.tuples(
    'application',
    `insert into card_applications (merchant_id, card_no, card_bin_no, address_wrapped, applied_at)
     select merchant_id, card_no, (select min(card_bin_no) from card_bins), $1, now() from cards where card_no = $2`,
    [keys.pan.wrap(Buffer.from('address'), identities.address), cardNo],
  );
  const uses = async (version: number) =>
    new Map((await usesOf(db, 'pan-wrap', version)).map(({ what, count }) => [what, count]));
  const before = await uses(1);
  for (const what of ['personal data', 'share tokens', 'addresses']) assert.ok((before.get(what) ?? 0) >= 1, what);
  await rotateKey(place, 'pan-wrap', { activeInMs: 0 });
  const next = keysOf(await openKeyFile(place.keyFile, testKek), () => nowMs + 1000);
  await rewrap(
    db,
    { ...next, pan: next.pan, panFingerprint: next.panFingerprint, kek: { ...next.kek, version: 1 } },
    () => nowMs,
    () => {},
  );
  assert.deepEqual(await uses(1), new Map());
  const [[personal, shareToken] = []] = await db.tuples<[Buffer, Buffer]>(
    'moved-holder',
    `select personal_wrapped, share_token_wrapped from cardholders where cardholder_no = 'U1'`,
  );
  const [[address] = []] = await db.tuples<[Buffer]>(
    'moved-address',
    'select address_wrapped from card_applications where card_no = $1',
    [cardNo],
  );
  assert.deepEqual(
    [
      next.pan.unwrap(personal as Buffer, identities.personal),
      next.pan.unwrap(shareToken as Buffer, identities.shareToken),
      next.pan.unwrap(address as Buffer, identities.address),
    ].map(String),
    ['personal', 'share token', 'address'],
  );
});
