import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { keyCheckValue } from '../src/crypto/key-check-value.ts';
import type { KekSource } from '../src/keys/kek.ts';
import { KeyFileError, type StoredKey, type StoredKeyFile, stateOf } from '../src/keys/key-file.ts';
import { keysOf } from '../src/keys/keys.ts';
import { createKeyFile } from '../src/keys/make-key-file.ts';
import { clearBytes, openKeyFile } from '../src/keys/open-key-file.ts';
import { Secret } from '../src/secret.ts';
import { install } from './support/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'pinward-keys-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const kek: KekSource = { kind: 'key', key: new Secret(Buffer.alloc(32, 1)) };
const passphrase: KekSource = { kind: 'passphrase', passphrase: new Secret('correct horse battery staple') };
const PURPOSES = ['pin-verify', 'pan-wrap', 'pan-fingerprint', 'access-token', 'cvv', 'audit-head', 'jwe'];

let number = 0;
async function made(source = kek): Promise<string> {
  const path = join(scratch, `keys-${number++}.json`);
  await createKeyFile(path, source, new Date());
  return path;
}

test('a key file has one wrapped key for each purpose, and only its owner can read it', async () => {
  const path = await made();
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const { keys, stored } = await openKeyFile(path, kek);
  assert.equal(stored.kek.kcv, keyCheckValue('AES-256', Buffer.alloc(32, 1)));
  assert.deepEqual(
    keys.map((key) => [key.purpose, key.version, stateOf(key, keys, Date.now())]),
    PURPOSES.map((purpose) => [purpose, 1, 'active']),
  );
  const text = readFileSync(path, 'utf8');
  for (const key of keys) {
    const bytes = clearBytes(key) as Buffer;
    assert.equal(key.kcv, keyCheckValue(key.algorithm, bytes));
    assert.ok(text.includes(`"kcv": "${key.kcv}"`));
    for (const form of ['hex', 'base64'] as const) assert.ok(!text.includes(bytes.toString(form)));
  }
});

test('a key file may be formatted differently if its content is the same', async () => {
  const path = await made();
  const { keys, seal, ...file } = JSON.parse(readFileSync(path, 'utf8')) as StoredKeyFile;
  const turned = keys.map((key) => Object.fromEntries(Object.entries(key).reverse()));
  writeFileSync(path, JSON.stringify({ seal, keys: turned, ...file }));
  await openKeyFile(path, kek);
});

test('a key file sealed with a passphrase opens with that passphrase', async () => {
  const path = await made(passphrase);
  assert.equal((await openKeyFile(path, passphrase)).keys.length, PURPOSES.length);
  await assert.rejects(
    openKeyFile(path, { kind: 'passphrase', passphrase: new Secret('another passphrase') }),
    /does not fit/,
  );
});

test('a key file is never overwritten, and one of two processes that make it at once wins', async () => {
  const path = await made();
  const before = readFileSync(path, 'utf8');
  await assert.rejects(createKeyFile(path, kek, new Date()), { code: 'EEXIST' });
  assert.equal(readFileSync(path, 'utf8'), before);
  const contested = join(scratch, 'contested.json');
  const attempts = await Promise.allSettled(Array.from({ length: 5 }, () => createKeyFile(contested, kek, new Date())));
  assert.equal(attempts.filter(({ status }) => status === 'fulfilled').length, 1);
  await openKeyFile(contested, kek);
});

test('one of three processes makes the key file, and the others say that it exists', async (t) => {
  const hex = '5a'.repeat(32);
  const installation = install(t, {
    env: { PINWARD_MODE: 'production', DATABASE_URL: 'postgres://not-needed', PINWARD_KEK: hex },
  });
  const outcomes = await Promise.all(Array.from({ length: 3 }, () => installation.run(['keys', 'init'])));
  assert.deepEqual(outcomes.map(({ status }) => status).sort(), [0, 1, 1]);
  for (const { status, stderr } of outcomes) if (status === 1) assert.match(stderr, /already; nothing was changed\n$/);
  assert.deepEqual(readdirSync(installation.dataDir), ['keys.json'], 'no drafts are left');
  await openKeyFile(join(installation.dataDir, 'keys.json'), { kind: 'key', key: new Secret(Buffer.from(hex, 'hex')) });
});

/** A key file as the platform made it before files had a seal. */
async function madeBeforeSeals(source = kek): Promise<string> {
  const path = await made(source);
  const { seal: _, ...file } = JSON.parse(readFileSync(path, 'utf8'));
  writeFileSync(path, JSON.stringify({ ...file, format: 'pinward-keys-1' }));
  return path;
}

describe('a key file is refused, and the fault says what to repair', () => {
  const refused = (path: string, source: KekSource, words: RegExp) =>
    assert.rejects(
      openKeyFile(path, source),
      (error: Error) => error instanceof KeyFileError && words.test(error.message) && error.message.includes(path),
    );

  test('if it is missing', () => refused(join(scratch, 'nothing.json'), kek, /keys init/));
  test('if it is sealed with another key', async () =>
    refused(await made(), { kind: 'key', key: new Secret(Buffer.alloc(32, 2)) }, /does not fit/));
  test('if it needs the other kind of key', async () => {
    await refused(await made(), passphrase, /was sealed with a key-encryption key/);
    await refused(await made(passphrase), kek, /was sealed with a passphrase/);
  });

  test('if it is not JSON, or another file', async () => {
    const path = join(scratch, 'other.json');
    writeFileSync(path, 'not json');
    await refused(path, kek, /no JSON/);
    writeFileSync(path, '{}');
    await refused(path, kek, /not a key file/);
  });

  test('if the parameters for its passphrase were altered', async () => {
    const path = await made(passphrase);
    const text = readFileSync(path, 'utf8');
    for (const cost of ['3', '0', '"131072x"', '2']) {
      writeFileSync(path, text.replace('"cost": 131072', `"cost": ${cost}`));
      await refused(path, passphrase, /altered|does not fit|not a key file/);
    }
  });

  const first = (file: StoredKeyFile) => file.keys[0] as StoredKey;
  const edits: [what: string, edit: (file: StoredKeyFile) => unknown][] = [
    ['an expiry order', (file) => Object.assign(file.keys[4] as StoredKey, { expiry_order: 'MMYY' })],
    ['when a key becomes active', (file) => Object.assign(first(file), { active_from: '2020-01-01T00:00:00.000Z' })],
    ['when a key was made', (file) => Object.assign(first(file), { created_at: '2020-01-01T00:00:00.000Z' })],
    ['a check value', (file) => Object.assign(first(file), { kcv: '000000' })],
    ['a version', (file) => Object.assign(first(file), { version: 2 })],
    ['the id', (file) => Object.assign(file, { id: 'another' })],
    ['the version of the KEK', (file) => Object.assign(file.kek, { version: 2 })],
    ['a retired KEK', (file) => Object.assign(file, { retired_keks: [] })],
    ['a member that nothing knows', (file) => Object.assign(file, { note: 'x' })],
    ['the order of its keys', (file) => file.keys.reverse()],
    ['the seal', (file) => Object.assign(file, { seal: Buffer.alloc(32).toString('base64') })],
    ['the length of the seal', (file) => Object.assign(file, { seal: file.seal?.slice(0, 8) })],
  ];
  for (const [what, edit] of edits)
    test(`if ${what} was altered`, async () => {
      const path = await made();
      const file = JSON.parse(readFileSync(path, 'utf8')) as StoredKeyFile;
      edit(file);
      writeFileSync(path, JSON.stringify(file));
      await refused(path, kek, /was altered: its seal is not that of its content; bring back a copy/);
    });

  test('if the seal was taken out, or a key is listed twice', async () => {
    const path = await made();
    const file = JSON.parse(readFileSync(path, 'utf8')) as StoredKeyFile;
    const { seal: _, ...unsealed } = file;
    writeFileSync(path, JSON.stringify(unsealed));
    await refused(path, kek, /not a key file/);
    writeFileSync(path, JSON.stringify({ ...file, keys: [...file.keys, file.keys[0]] }));
    await refused(path, kek, /has pin-verify version 1 twice: restore its last copy/);
    for (const keys of [[null], [1], ['x'], [[]], [{}], [{ purpose: 'toString', version: 1 }]]) {
      writeFileSync(path, JSON.stringify({ ...file, keys }));
      await refused(path, kek, /not a key file/);
      writeFileSync(path, JSON.stringify({ ...unsealed, format: 'pinward-keys-1', keys }));
      await refused(path, kek, /not a key file/);
    }
  });

  test('if a check value that it shows is not its key’s', async () => {
    const path = await madeBeforeSeals();
    const file = JSON.parse(readFileSync(path, 'utf8')) as { keys: { kcv: string }[] };
    writeFileSync(
      path,
      JSON.stringify({ ...file, keys: file.keys.map((key, index) => (index === 0 ? { ...key, kcv: '000000' } : key)) }),
    );
    await refused(path, kek, /pin-verify/);
  });

  for (const purpose of PURPOSES) {
    test(`if ${purpose} was altered, swapped for another, or taken out`, async () => {
      const path = await madeBeforeSeals();
      const file = JSON.parse(readFileSync(path, 'utf8')) as { keys: { purpose: string; wrapped: string }[] };
      const one = file.keys.find((key) => key.purpose === purpose);
      assert.ok(one);
      const other = file.keys.find((key) => key.purpose !== purpose)?.wrapped as string;
      const bytes = Buffer.from(one.wrapped, 'base64');
      const flipped = Array.from(bytes, (byte, at) =>
        Buffer.from(bytes)
          .fill(byte ^ 1, at, at + 1)
          .toString('base64'),
      );
      for (const wrapped of [...flipped, bytes.subarray(0, 20).toString('base64'), '', other]) {
        writeFileSync(
          path,
          JSON.stringify({ ...file, keys: file.keys.map((key) => (key === one ? { ...key, wrapped } : key)) }),
        );
        await refused(path, kek, new RegExp(`${purpose} version 1 does not open`));
      }
      writeFileSync(path, JSON.stringify({ ...file, keys: file.keys.filter((key) => key !== one) }));
      await refused(path, kek, new RegExp(`no key for ${purpose}`));
    });
  }
});

test('a wrapped value opens only for the same row and version', async () => {
  const { pan, kek: wrapping } = keysOf(await openKeyFile(await made(), kek), Date.now);
  const wrapped = pan.wrap(Buffer.from('9999990000000014'), 'pan:C1');
  assert.equal(pan.unwrap(wrapped, 'pan:C1').toString(), '9999990000000014');
  assert.throws(() => pan.unwrap(wrapped, 'pan:C2'), /does not open/);
  assert.throws(
    () => pan.unwrap(Buffer.concat([Buffer.from([0, 9]), wrapped.subarray(2)]), 'pan:C1'),
    /no pan-wrap key of version 9/,
  );
  for (let length = 0; length < wrapped.length; length++)
    assert.throws(() => pan.unwrap(wrapped.subarray(0, length), 'pan:C1'));
  await assert.rejects(
    wrapping.unwrap(await wrapping.wrap(Buffer.from('s'), 'credential:a'), 'credential:b'),
    /does not open/,
  );
});
