import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { xorInto } from '../src/crypto/cmac.ts';
import { aesCheckValue, tdesCheckValue } from '../src/crypto/key-check-value.ts';
import { isPublishedKey } from '../src/crypto/published-keys.ts';
import { credentials, ISSUER, SANDBOX_CVK } from '../src/sandbox/world.ts';
import { emptyDatabase } from './support/empty-database.ts';
import { API_KEY, SANDBOX_SECRET } from './support/sandbox.ts';
import { type Installation, install, until } from './support/server-process.ts';
import { wrapKeyBlock } from './support/wrap-key-block.ts';

const [ZPK, KBPK] = ISSUER.keys.map(({ bytes }) => Buffer.from(bytes, 'hex')) as [Buffer, Buffer];

/** Every key in the test vectors. */
function vectorKeys(): Buffer[] {
  const path = new URL('../../contract/vectors/pin-vectors.json', import.meta.url);
  const vectors = JSON.parse(readFileSync(path, 'utf8')) as Record<string, string>[];
  const fields = vectors.flatMap(({ algorithm, key, cvk, kbpk, expected }) => [
    key,
    cvk,
    kbpk,
    algorithm?.startsWith('tr31.unwrap') ? expected : undefined,
  ]);
  return fields.flatMap((hex) => (/^([0-9A-F]{2})+$/i.test(hex ?? '') ? [Buffer.from(hex as string, 'hex')] : []));
}

test('every key and secret of the sandbox and of the test vectors is known as published', () => {
  const world = [Buffer.from(SANDBOX_CVK, 'hex'), ZPK, KBPK];
  const secrets = credentials.map(({ apiSecret }) => Buffer.from(apiSecret, 'utf8'));
  const keys = [...world, ...secrets, ...vectorKeys()].filter(({ length }) => [8, 16, 24, 32].includes(length));
  assert.ok(keys.length > 90);
  const missing = keys
    .filter((key) => !isPublishedKey(key))
    .map((key) => [key.length > 8 && aesCheckValue(key, 8), key.length < 32 && tdesCheckValue(key, 8)]);
  assert.deepEqual(missing, [], 'add these to src/crypto/published-keys.ts');
});

test('a published TDES key is known with other parity bits and in three parts too; a random key is not', () => {
  const cvk = Buffer.from(SANDBOX_CVK, 'hex');
  assert.ok(isPublishedKey(Buffer.from(cvk.map((byte) => byte ^ 1))));
  assert.ok(isPublishedKey(Buffer.concat([cvk, cvk.subarray(0, 8)])));
  for (const length of [16, 24, 32]) assert.ok(!isPublishedKey(randomBytes(length)));
});

/** A production platform that is ready to serve. */
async function production(t: TestContext): Promise<Installation> {
  const kek = randomBytes(32).toString('hex');
  const env = { PINWARD_MODE: 'production', DATABASE_URL: await emptyDatabase(t), PINWARD_KEK: kek };
  const installation = install(t, { env });
  for (const args of [['keys', 'init'], ['migrate']]) await succeeds(installation, args);
  return installation;
}

async function succeeds(on: Installation, args: string[], input?: string): Promise<string> {
  const { status, stdout, stderr } = await on.run(args, input === undefined ? {} : { input });
  assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
  return stdout.trim();
}

async function refuses(
  on: Installation,
  args: string[],
  words: RegExp,
  more: { env?: Record<string, string>; input?: string } = {},
): Promise<void> {
  const { status, stderr } = await on.run(args, more);
  assert.equal(status, 1, args.join(' '));
  assert.match(stderr, words);
  assert.equal(stderr.trimEnd().split('\n').length, 1, 'one line');
}

test("production refuses a sandbox's key file on a fresh database, and a published key-encryption key", async (t) => {
  const sandbox = install(t, { env: { DATABASE_URL: await emptyDatabase(t) } });
  await succeeds(sandbox, ['keys', 'list']);
  const fresh = install(t, { env: { PINWARD_MODE: 'production', DATABASE_URL: await emptyDatabase(t) } });
  const kek = { PINWARD_KEK: readFileSync(join(sandbox.dataDir, 'kek'), 'utf8').trim() };
  assert.equal((await fresh.run(['migrate'], { env: kek })).status, 0);
  const keyFile = join(fresh.scratch, 'keys.json');
  copyFileSync(join(sandbox.dataDir, 'keys.json'), keyFile);
  const words =
    /keys\.json is not for production: it holds published keys: cvv version 1 \(KCV 08D7B4\)\. .* run keys init$/m;
  for (const args of [['serve'], ['merchant', 'list']])
    await refuses(fresh, args, words, { env: { ...kek, PINWARD_KEY_FILE: keyFile } });

  const published = { PINWARD_KEK: ZPK.toString('hex') };
  for (const args of [['keys', 'init'], ['serve']])
    await refuses(fresh, args, /the key-encryption key is published, and so not for production/, { env: published });
});

test('production refuses published keys and secrets from operators', async (t) => {
  const one = await production(t);
  const merchantNo = await succeeds(one, ['merchant', 'create', '--name', 'First']);
  const create = ['credential', 'create', '--merchant', merchantNo, '--import', API_KEY, '--allow-ip', '127.0.0.1'];
  await refuses(one, create, /the apiSecret is published .* not for production/, { input: SANDBOX_SECRET });
  await succeeds(one, create, 'a-secret-of-32-bytes-of-its-own-');

  const issuer = (
    await succeeds(one, ['issuer', 'create', '--name', 'Issuer', '--merchant', merchantNo, '--allow-ip', '127.0.0.1'])
  ).split('\n')[0];
  const issuerNo = /I[0-9A-Za-z]{12}/.exec(issuer as string)?.[0] as string;
  const ofIssuer = (kind: string) => [kind, '--issuer', issuerNo, '--label', `a-${kind}`, '--algorithm', 'AES-256'];
  for (const [target, key] of [
    [['cvv'], Buffer.from(SANDBOX_CVK, 'hex')],
    [ofIssuer('zpk'), ZPK],
    [ofIssuer('kbpk'), KBPK],
  ] as const) {
    const first = randomBytes(key.length);
    const second = Buffer.from(key);
    xorInto(second, first);
    const share = (number: number) => ['keys', 'import-components', ...target, '--share', String(number)];
    await succeeds(one, share(1), first.toString('hex'));
    await refuses(one, share(2), /the key is published \(KCV [0-9A-F]{6}\), and so not for production/, {
      input: second.toString('hex'),
    });
    assert.match(await succeeds(one, share(2), randomBytes(key.length).toString('hex')), /the key is whole/);
  }
});

test('production refuses published zone keys over the issuer API', async (t) => {
  const one = await production(t);
  const merchantNo = await succeeds(one, ['merchant', 'create', '--name', 'First']);
  const created = await succeeds(one, [
    'issuer',
    'create',
    '--name',
    'Issuer',
    '--merchant',
    merchantNo,
    '--allow-ip',
    '127.0.0.1',
  ]);
  const issuerNo = /I[0-9A-Za-z]{12}/.exec(created)?.[0] as string;
  const secret = /is_[0-9A-Za-z]+/.exec(created)?.[0] as string;
  const kbpk = randomBytes(32);
  const first = randomBytes(32);
  const second = Buffer.from(kbpk);
  xorInto(second, first);
  const target = ['kbpk', '--issuer', issuerNo, '--label', 'own', '--algorithm', 'AES-256'];
  for (const [i, component] of [first, second].entries())
    await succeeds(one, ['keys', 'import-components', ...target, '--share', String(i + 1)], component.toString('hex'));

  const server = await one.serve();
  const bring = async (label: string, algorithm: string, key: Buffer): Promise<number> => {
    const header = {
      version: 'D',
      usage: 'P0',
      algorithm,
      modeOfUse: 'D',
      keyVersion: '00',
      exportability: 'N',
    } as const;
    const response = await fetch(`${server.url}/issuer/v1/zone-keys`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${secret}`, 'Content-Type': 'application/json' },
      body: JSON.stringify({
        label,
        kbpk: 'own',
        key_block: wrapKeyBlock(kbpk, { ...header, optionalBlocks: [] }, key),
      }),
    });
    return ((await response.json()) as { code: number }).code;
  };
  assert.equal(await bring('sandbox', 'A', ZPK), 5003);
  assert.equal(await bring('sandbox-tdes', 'T', Buffer.from(SANDBOX_CVK, 'hex')), 5003);
  assert.equal(await bring('fresh', 'A', randomBytes(32)), 0);
  await until('the log says why', () =>
    server.log().some(({ msg, fault }) => msg === 'a key block was refused' && fault === 'published key'),
  );
});
