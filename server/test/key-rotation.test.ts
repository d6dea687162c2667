import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { verifyAudit } from '../src/audit/verify-audit.ts';
import { panIdentity } from '../src/cards/store.ts';
import { xorInto } from '../src/crypto/cmac.ts';
import { keyCheckValue } from '../src/crypto/key-check-value.ts';
import { openDatabase } from '../src/db/database.ts';
import type { Purpose } from '../src/keys/key-file.ts';
import { type Keys, keysOf } from '../src/keys/keys.ts';
import { clearBytes, openKeyFile } from '../src/keys/open-key-file.ts';
import { Secret } from '../src/secret.ts';
import { remoteMerchant, validPin } from './support/calls.ts';
import { pinBlock } from './support/issuer.ts';
import { addCards } from './support/more-cards.ts';
import { CARDHOLDER_NO, FIRST_CARD, ISSUER_NO, ZONE_KEY } from './support/sandbox.ts';
import { ageKeys, type Installation, install, until } from './support/server-process.ts';
import { wrapKeyBlock } from './support/wrap-key-block.ts';

const scratch = mkdtempSync(join(tmpdir(), 'pinward-rotation-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

async function succeeds(installation: Installation, args: string[], more = {}): Promise<string> {
  const { status, stdout, stderr } = await installation.run(args, more);
  assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function refuses(installation: Installation, args: string[], words: RegExp, more = {}): Promise<void> {
  const { status, stderr } = await installation.run(args, more);
  assert.equal(status, 1, args.join(' '));
  assert.match(stderr, words);
}

async function verify(url: string, pin: string, cardNo = FIRST_CARD.cardNo): Promise<string> {
  const response = await fetch(`${url}/issuer/v1/pin/verify`, {
    method: 'POST',
    headers: { Authorization: 'Bearer sandbox_issuer_key', 'Content-Type': 'application/json' },
    body: JSON.stringify({ card_no: cardNo, pin_block: pinBlock(pin, cardNo), format: 4, zone_key: ZONE_KEY }),
  });
  return ((await response.json()) as { data: { result: string } }).data.result;
}

/** The keys of an installation, as a process of its own would have them. */
async function keysOfInstallation({ dataDir }: Installation, kek?: string): Promise<Keys> {
  const hex = kek ?? readFileSync(join(dataDir, 'kek'), 'utf8').trim();
  return keysOf(
    await openKeyFile(join(dataDir, 'keys.json'), { kind: 'key', key: new Secret(Buffer.from(hex, 'hex')) }),
    Date.now,
  );
}

describe('on a platform that serves', () => {
  test('every key can be rotated: what was made before works on, what comes after is under the new key, nobody is cut off', async (t) => {
    const installation = install(t);
    const server = await installation.serve();
    const merchant = remoteMerchant(server.url);
    assert.equal((await merchant.setPin('142536')).code, 0);
    const jwks = async () =>
      ((await (await fetch(`${server.url}/.well-known/jwks.json`)).json()) as { keys: { kid: string }[] }).keys.map(
        ({ kid }) => kid,
      );
    const [firstKid] = await jwks();

    for (const purpose of ['pin-verify', 'pan-wrap', 'pan-fingerprint', 'access-token', 'cvv', 'audit-head', 'jwe'])
      assert.match(
        await succeeds(installation, ['keys', 'rotate', purpose, '--active-in', purpose === 'jwe' ? '10' : '3']),
        new RegExp(`^${purpose} version 2, KCV [0-9A-F]{6}, active from `),
      );
    await refuses(installation, ['keys', 'rotate', 'jwe'], /jwe has a pending key already/);
    assert.match(await succeeds(installation, ['keys', 'list']), /jwe +2 +P-256 +[0-9A-F]{6} +pending/);
    await until('the platform has read the new keys', () =>
      server.log().some(({ msg }) => msg === 'the key file changed and was taken over'),
    );
    await until('the new keys are active', async () =>
      /jwe +1 +P-256 +[0-9A-F]{6} +verify-only/.test(await succeeds(installation, ['keys', 'list'])),
    );

    assert.equal((await merchant.setPin('902847')).code, 0, 'with the token of before');
    assert.equal(await verify(server.url, '902847'), 'match');
    const kids = await jwks();
    assert.equal(kids.length, 2);
    assert.equal(kids[1], firstKid, 'the new key first, and the one before it still there');
    assert.equal((await remoteMerchant(server.url).setPin('058291')).code, 0, 'with a new token');

    await refuses(
      installation,
      ['keys', 'destroy', 'pan-wrap', '1'],
      /6 PANs still need pan-wrap version 1; move them by: keys rewrap$/m,
    );
    await refuses(installation, ['keys', 'destroy', 'pan-wrap', '2'], /pan-wrap version 2 is active/);
    await refuses(installation, ['keys', 'destroy', 'pan-wrap', '3'], /there is no pan-wrap key of version 3/);
    assert.match(await succeeds(installation, ['keys', 'rewrap']), /rows are under the active keys now\n$/);
    assert.match(await succeeds(installation, ['keys', 'rewrap']), /^nothing to do/);
    await refuses(
      installation,
      ['keys', 'destroy', 'jwe', '1'],
      /jwe version 1 may still be in use .*; try again in \d+ s$/m,
    );
    await ageKeys(installation);
    for (const purpose of ['pan-wrap', 'pan-fingerprint', 'pin-verify', 'access-token', 'jwe'])
      assert.match(
        await succeeds(installation, ['keys', 'destroy', purpose, '1']),
        new RegExp(`^${purpose} version 1 is destroyed\n$`),
      );
    await refuses(
      installation,
      ['keys', 'destroy', 'cvv', '1'],
      /6 cards still need cvv version 1; they cannot move$/m,
    );
    await until('the platform knows of it', async () => (await jwks()).length === 1);
    assert.equal((await merchant.setPin('142536')).code, 1007, 'a token of a key that was destroyed');
    assert.equal((await remoteMerchant(server.url).setPin('142536')).code, 0);
    assert.equal(await verify(server.url, '142536'), 'match');
    assert.match(await succeeds(installation, ['audit', 'verify']), /^the audit trail is whole/);
  });

  test('a damaged key file changes nothing, and the platform says so', async (t) => {
    const installation = install(t);
    const server = await installation.serve();
    const path = join(installation.dataDir, 'keys.json');
    const good = readFileSync(path);
    writeFileSync(path, 'spoiled');
    await until('it has noticed', () =>
      server.log().some(({ msg }) => String(msg).startsWith('the key file changed and cannot be taken over')),
    );
    assert.equal((await remoteMerchant(server.url).setPin('142536')).code, 0);
    writeFileSync(path, good);
    await until('it has noticed', () =>
      server.log().some(({ msg }) => msg === 'the key file changed and was taken over'),
    );
  });

  test('a key-encryption key gives way to another, from hex to a passphrase, and the old one can be destroyed after rewrap', async (t) => {
    const old = randomBytes(32).toString('hex');
    const installation = install(t, { env: { PINWARD_KEK: old } });
    const first = await installation.serve();
    assert.equal((await remoteMerchant(first.url).setPin('142536')).code, 0);
    await first.stop('SIGTERM');
    const next = { PINWARD_KEK: '', PINWARD_KEK_PASSPHRASE: 'correct horse battery staple' };
    await refuses(installation, ['keys', 'rotate', 'kek'], /the one in use as PINWARD_OLD_KEK/, { env: next });
    await refuses(installation, ['keys', 'rotate', 'kek'], /does not fit the key file/, {
      env: { ...next, PINWARD_OLD_KEK: '00'.repeat(32) },
    });
    const rotated = await succeeds(installation, ['keys', 'rotate', 'kek'], { env: { ...next, PINWARD_OLD_KEK: old } });
    assert.match(rotated, /^kek version 2, KCV [0-9A-F]{6}: the key file is sealed with it/);
    await refuses(installation, ['keys', 'list'], /was sealed with a passphrase/);

    const second = await installation.serve(next);
    assert.equal(await verify(second.url, '142536'), 'match');
    await refuses(
      installation,
      ['keys', 'destroy', 'kek', '1'],
      /7 secrets, 2 issuers' keys still need kek version 1/,
      { env: next },
    );
    await succeeds(installation, ['keys', 'rewrap'], { env: next });
    await ageKeys(installation, { PINWARD_KEK_PASSPHRASE: next.PINWARD_KEK_PASSPHRASE });
    await succeeds(installation, ['keys', 'destroy', 'kek', '1'], { env: next });
    assert.equal((await remoteMerchant(second.url).setPin('902847')).code, 0);
    await second.stop('SIGTERM');
    const third = await installation.serve(next);
    assert.equal(await verify(third.url, '902847'), 'match');
  });
});

describe('rewrap', () => {
  const cards = 3_000;

  test('continues after it was killed, shows its progress, and PINs are set meanwhile', async (t) => {
    const installation = install(t);
    const server = await installation.serve({ LIMIT_PIN_SETS_PER_CARD_PER_MINUTE: '1000000' });
    const embedded = await installation.open();
    const db = openDatabase({ url: embedded.url });
    t.after(() => db.close());
    const keys = await keysOfInstallation(installation);
    await addCards({ db, keys }, 20);
    // Cards that nobody calls for, with PANs of their own, made in one statement.
    const numbers = Array.from({ length: cards }, (_, i) => `B${String(i).padStart(5, '0')}`);
    const pans = numbers.map((_, i) => Buffer.from(`888888${String(i).padStart(10, '0')}`));
    await db.tuples(
      'many-cards',
      `insert into cards (merchant_id, card_no, card_unique_no, cardholder_no, card_type, status, pan_wrapped, pan_fingerprint, pan_last_four, expiry_yymm)
       select 1, card_no, card_no, 'U202605220001', 'Physical', 'Activated', wrapped, fingerprint, '0000', '3012'
         from unnest($1::text[], $2::bytea[], $3::bytea[]) as t (card_no, wrapped, fingerprint)`,
      [
        numbers,
        pans.map((pan, i) => keys.pan.wrap(pan, panIdentity(numbers[i] as string))),
        pans.map((pan) => keys.panFingerprint.mac(1, pan)),
      ],
    );
    const merchant = remoteMerchant(server.url);
    await succeeds(installation, ['keys', 'rotate', 'pan-wrap', '--active-in', '0']);
    await succeeds(installation, ['keys', 'rotate', 'pan-fingerprint', '--active-in', '0']);
    await sleep(1_500); // the platform looks once a second
    const stale = async () =>
      (
        await db.tuples<[number]>(
          'stale',
          'select count(*) from cards where get_byte(pan_wrapped, 1) = 1 or pan_fingerprint_version = 1',
        )
      )[0]?.[0] as number;
    assert.ok((await stale()) >= cards);

    let setting = true;
    let sets = 0;
    const setter = (async () => {
      while (setting) {
        const { code } = await merchant.setPin(validPin(sets++), {
          cardNo: `C20260522${1000 + (sets % 20)}`,
          cardholderNo: CARDHOLDER_NO,
        });
        assert.equal(code, 0);
      }
    })();
    // A card that somebody holds is not waited for, and not forgotten.
    const holder = db.transaction(async (tx) => {
      await tx.tuples('hold', `select 1 from cards where card_no = 'B00001' for update`);
      await sleep(1_500);
    });
    const killed = installation.start(['keys', 'rewrap']);
    await until('some are moved', async () => (await stale()) < cards);
    await killed.stop('SIGKILL');
    const left = await stale();
    assert.ok(left > 0, 'it was killed in the middle');
    const out = await succeeds(installation, ['keys', 'rewrap']);
    assert.match(out, /^\d+ of \d+ rows, \d+ %, \d+ a second, about \d+ s left$/m);
    await holder;
    setting = false;
    await setter;
    assert.ok(sets > 20, `${sets} PINs were set meanwhile`);
    assert.equal(await stale(), 0);

    const moved = await keysOfInstallation(installation);
    const rows = await db.tuples<[string, Buffer, Buffer]>(
      'moved',
      `select card_no, pan_wrapped, pan_fingerprint from cards where card_no like 'B%' order by card_no`,
    );
    for (const [i, [cardNo, wrapped, fingerprint]] of rows.entries()) {
      const pan = moved.pan.unwrap(wrapped, panIdentity(cardNo));
      assert.equal(pan.toString(), `888888${String(i).padStart(10, '0')}`);
      assert.deepEqual(fingerprint, moved.panFingerprint.mac(2, pan));
    }
    assert.deepEqual((await verifyAudit(db, moved)).breaks, []);
  });
});

describe('components', () => {
  test('give the key when all are combined; each is in its own file with its check value', async (t) => {
    const installation = install(t);
    await (await installation.serve()).stop('SIGTERM');
    const out = join(scratch, 'shares');
    const said = await succeeds(installation, ['keys', 'export-components', 'cvv', '--shares', '3', '--out', out]);
    const files = readdirSync(out).sort();
    assert.deepEqual(files, ['cvv-1-share-1-of-3', 'cvv-1-share-2-of-3', 'cvv-1-share-3-of-3']);
    const whole = Buffer.alloc(16);
    for (const file of files) {
      assert.equal(statSync(join(out, file)).mode & 0o777, 0o600);
      const share = Buffer.from(readFileSync(join(out, file), 'utf8').trim(), 'hex');
      assert.ok(said.includes(`KCV ${keyCheckValue('TDES-2', share)}: ${join(out, file)}`));
      assert.ok(!said.includes(share.toString('hex').toUpperCase()), 'no share is printed');
      xorInto(whole, share);
    }
    assert.equal(
      whole.toString('hex').toUpperCase(),
      '0123456789ABCDEFFEDCBA9876543210',
      "the sandbox's published CVV key",
    );
    await refuses(installation, ['keys', 'export-components', 'jwe', '--out', out], /jwe is a key pair/);
  });

  test('are imported one by one, and the last one completes the key', async (t) => {
    const installation = install(t);
    const server = await installation.serve();
    const key = randomBytes(32);
    const shares = [randomBytes(32), randomBytes(32)];
    const last = Buffer.from(key);
    for (const share of shares) xorInto(last, share);
    shares.push(last);
    const target = ['--issuer', ISSUER_NO, '--label', 'from_custodians', '--algorithm', 'AES-256', '--of', '3'];
    const bring = (number: number, more: string[] = []) => [
      'keys',
      'import-components',
      'zpk',
      ...target,
      '--share',
      String(number),
      ...more,
    ];
    const input = (number: number) => ({ input: `${shares[number - 1]?.toString('hex')}\n` });
    await refuses(
      installation,
      bring(1, ['--kcv', '000000']),
      /check value is [0-9A-F]{6}, not 000000; nothing was kept/,
      input(1),
    );
    assert.match(
      await succeeds(installation, bring(2), input(2)),
      /^share 2 of 3, KCV [0-9A-F]{6}\nstill to come: 1, 3\n$/,
    );
    await refuses(installation, bring(2), /share 2 .* is there already/, input(2));
    await refuses(installation, bring(1), /a share of AES-256 has 64 hex digits/, { input: 'ABCD' });
    assert.match(
      await succeeds(installation, ['keys', 'list']),
      /zpk from_custodians of I202605220001: 1 of 3 shares of AES-256 are there/,
    );
    await succeeds(installation, bring(1, ['--kcv', keyCheckValue('AES-256', shares[0] as Buffer)]), input(1));
    assert.match(
      await succeeds(installation, bring(3), input(3)),
      new RegExp(`the key is whole: KCV ${keyCheckValue('AES-256', key)}\n$`),
    );
    for (const number of [1, 2]) await succeeds(installation, bring(number), input(number));
    await refuses(installation, bring(3), /a key of this label is or was there; nothing was kept/, input(3));
    assert.match(
      await succeeds(installation, ['keys', 'discard-components', 'zpk', 'from_custodians', 'of', ISSUER_NO]),
      /^2 shares of/,
    );

    assert.equal((await remoteMerchant(server.url).setPin('142536')).code, 0);
    const block = pinBlock('142536', FIRST_CARD.cardNo, { algorithm: 'AES-256', key: createSecretKey(key) });
    const response = await fetch(`${server.url}/issuer/v1/pin/verify`, {
      method: 'POST',
      headers: { Authorization: 'Bearer sandbox_issuer_key', 'Content-Type': 'application/json' },
      body: JSON.stringify({ card_no: FIRST_CARD.cardNo, pin_block: block, format: 4, zone_key: 'from_custodians' }),
    });
    assert.deepEqual(((await response.json()) as { data: object }).data, { result: 'match' });
  });

  test('bring a CVV key in the order of its issuer, and a protection key under which zone keys come', async (t) => {
    const installation = install(t);
    await (await installation.serve()).stop('SIGTERM');
    const shares = [randomBytes(16), randomBytes(16)];
    for (const [i, share] of shares.entries())
      await succeeds(
        installation,
        ['keys', 'import-components', 'cvv', '--share', String(i + 1), '--expiry-order', 'MMYY', '--active-in', '0'],
        { input: share.toString('hex') },
      );
    assert.match(await succeeds(installation, ['keys', 'list']), /cvv +2 +TDES-2 MMYY +[0-9A-F]{6} +active/);
    const kek = readFileSync(join(installation.dataDir, 'kek'), 'utf8').trim();
    const file = await openKeyFile(join(installation.dataDir, 'keys.json'), {
      kind: 'key',
      key: new Secret(Buffer.from(kek, 'hex')),
    });
    const cvk = file.keys.find((key) => key.purpose === ('cvv' satisfies Purpose) && key.version === 2);
    const [first, second] = shares as [Buffer, Buffer];
    xorInto(first, second);
    assert.deepEqual(cvk && clearBytes(cvk), first);

    const kbpk = randomBytes(24);
    const mask = randomBytes(24);
    const other = Buffer.from(kbpk);
    xorInto(other, mask);
    for (const [i, share] of [mask, other].entries())
      await succeeds(
        installation,
        [
          'keys',
          'import-components',
          'kbpk',
          '--issuer',
          ISSUER_NO,
          '--label',
          'tdes',
          '--algorithm',
          'TDES-3',
          '--share',
          String(i + 1),
        ],
        { input: share.toString('hex') },
      );
    const server = await installation.serve();
    const zone = randomBytes(16);
    const header = {
      version: 'B',
      usage: 'P0',
      algorithm: 'T',
      modeOfUse: 'N',
      keyVersion: '00',
      exportability: 'N',
      optionalBlocks: [],
    } as const;
    const response = await fetch(`${server.url}/issuer/v1/zone-keys`, {
      method: 'POST',
      headers: { Authorization: 'Bearer sandbox_issuer_key', 'Content-Type': 'application/json' },
      body: JSON.stringify({
        label: 'under_tdes',
        kbpk: 'tdes',
        key_block: wrapKeyBlock(kbpk, { ...header, optionalBlocks: [] }, zone),
      }),
    });
    assert.deepEqual(((await response.json()) as { data: object }).data, {
      label: 'under_tdes',
      algorithm: 'TDES-2',
      kcv: keyCheckValue('TDES-2', zone),
    });
  });
});
