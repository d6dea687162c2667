import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readConfig } from '../src/config.ts';
import { openPlatform, type Platform } from '../src/platform.ts';
import { remoteMerchant, validPin } from './support/calls.ts';
import { emptyDatabase } from './support/empty-database.ts';
import { API_KEY, FIRST_CARD, MERCHANT_NO } from './support/sandbox.ts';
import { type Installation, install, type ServerProcess } from './support/server-process.ts';
import { storedPin } from './support/stored-pin.ts';

/**
 * What every process has taken notice of a change within. It either has asked the database since,
 * or asks it now.
 */
const NOTICED_AFTER_MS = 1_000;
const LOCAL = '127.0.0.0/8';
const SANDBOX_MERCHANT = MERCHANT_NO;

// One sandbox that serves, for all tests that look at what a command does to it.
let installation: Installation;
let server: ServerProcess;
let platform: Platform;
const atTheEnd: (() => Promise<void>)[] = [];
before(async () => {
  installation = install({ after: (work) => atTheEnd.push(work) });
  server = await installation.serve({ LIMIT_PIN_SETS_PER_CARD_PER_MINUTE: '1000000' });
  platform = await openPlatform(readConfig({ PINWARD_DATA_DIR: installation.dataDir }));
});
after(async () => {
  await platform?.close();
  for (const work of atTheEnd) await work();
});

async function succeeds(args: string[], input?: string, on = installation): Promise<string> {
  const { status, stdout, stderr } = await on.run(args, input === undefined ? {} : { input });
  assert.equal(status, 0, stderr);
  assert.equal(stderr, '');
  return stdout;
}

async function newCredential(
  args: string[],
  on = installation,
): Promise<{ apiKey: string; apiSecret: string; shown: string }> {
  const shown = await succeeds(['credential', 'create', ...args], undefined, on);
  const apiKey = /^Api-Key {4}(\S+)$/m.exec(shown)?.[1] ?? '';
  const apiSecret = /^apiSecret {2}(\S+)$/m.exec(shown)?.[1] ?? '';
  return { apiKey, apiSecret, shown };
}

const newMerchant = async (name: string): Promise<string> =>
  (await succeeds(['merchant', 'create', '--name', name])).trim();
const codeOf = async (apiKey: string, apiSecret?: string) =>
  (await remoteMerchant(server.url, apiKey, apiSecret).listCards()).code;

/** Everything that an operator's command could change. */
async function state(): Promise<unknown> {
  return Promise.all([
    platform.db.tuples('all-merchants', 'select * from merchants order by 1'),
    platform.db.tuples('all-credentials', 'select * from credentials order by 1'),
    platform.db.tuples('all-records', 'select count(*) from audit_records'),
    platform.db.tuples('all-pins', 'select card_no, pin_version, pin_prv from cards order by 1'),
  ]);
}

test('credential create shows the secret once, and it works at once', async () => {
  const merchantNo = await newMerchant('Shown once');
  const { apiKey, apiSecret, shown } = await newCredential(['--merchant', merchantNo, '--allow-ip', LOCAL]);
  assert.match(apiSecret, /^[0-9A-Za-z]{32}$/);
  assert.ok(shown.includes('The secret is not shown again.'));
  assert.equal(await codeOf(apiKey, apiSecret), 0);

  const list = await succeeds(['credential', 'list', '--merchant', merchantNo]);
  assert.ok(list.includes(apiKey) && list.includes(LOCAL) && list.includes('Enabled') && list.includes('never'));
  assert.ok(!list.includes(API_KEY), 'of that merchant alone');
  for (const text of [list, await succeeds(['credential', 'list']), await succeeds(['merchant', 'list'])])
    assert.ok(!text.includes(apiSecret));
  assert.ok(!JSON.stringify(await state()).includes(apiSecret));
});

test('a credential is rotated: the new one works beside the old one, which ends within a second of disabling it', async () => {
  const merchantNo = await newMerchant('Rotates');
  const old = await newCredential(['--merchant', merchantNo, '--allow-ip', LOCAL]);
  const caller = remoteMerchant(server.url, old.apiKey, old.apiSecret);
  assert.equal((await caller.listCards()).code, 0);
  const next = await newCredential([
    '--merchant',
    merchantNo,
    '--allow-ip',
    LOCAL,
    '--expires',
    '2099-12-31T00:00:00Z',
  ]);
  assert.deepEqual(
    [await codeOf(old.apiKey), await codeOf(next.apiKey)],
    [0, 0],
    'both work for as long as the merchant needs',
  );

  await succeeds(['credential', 'disable', old.apiKey]);
  await sleep(NOTICED_AFTER_MS);
  assert.equal((await caller.listCards()).code, 1010, 'its token too');
  assert.equal(await codeOf(next.apiKey), 0);
});

test('an allowlist grows and shrinks under a running platform', async () => {
  const { apiKey, shown } = await newCredential(['--merchant', SANDBOX_MERCHANT]);
  assert.ok(shown.includes(`Nobody may call with it yet: pinward-server credential allow-ip ${apiKey} ADDRESS`));
  const caller = remoteMerchant(server.url, apiKey);
  const token = () =>
    caller.headers().then(
      () => 0,
      (error: Error) => Number(error.message.split(' ').at(-1)),
    );
  assert.equal(await token(), 1003);
  assert.equal(
    await succeeds(['credential', 'allow-ip', apiKey, '127.0.0.1', '2001:db8::/32']),
    `${apiKey} may be used from: 127.0.0.1, 2001:db8::/32\n`,
  );
  await sleep(NOTICED_AFTER_MS);
  assert.equal(await token(), 0);
  assert.equal(
    await succeeds(['credential', 'allow-ip', apiKey, '127.0.0.1', '--remove']),
    `${apiKey} may be used from: 2001:db8::/32\n`,
  );
  await sleep(NOTICED_AFTER_MS);
  assert.equal((await caller.listCards()).code, 1003);
});

test('a disabled merchant answers 1022; enabled again it needs new tokens', async () => {
  const merchantNo = await newMerchant('Comes back');
  const { apiKey } = await newCredential(['--merchant', merchantNo, '--allow-ip', LOCAL]);
  const caller = remoteMerchant(server.url, apiKey);
  assert.equal((await caller.listCards()).code, 0);
  await succeeds(['merchant', 'disable', merchantNo]);
  await sleep(NOTICED_AFTER_MS);
  assert.equal((await caller.listCards()).code, 1022);
  await succeeds([
    'merchant',
    'update',
    merchantNo,
    '--enable',
    '--name',
    'Came back',
    '--callbacks',
    'Card_update,Pin_set',
  ]);
  await sleep(NOTICED_AFTER_MS);
  assert.equal((await caller.listCards()).code, 1007);
  assert.equal(await codeOf(apiKey), 0);
  const line = (await succeeds(['merchant', 'list'])).split('\n').find((text) => text.startsWith(merchantNo));
  assert.match(line ?? '', /Came back +Active +AUTHORIZATION +arithmetic +Card_update Pin_set +1 +off +-$/);
});

test('a merchant set to refuse 8-9-0 refuses it within a second', async () => {
  const merchant = remoteMerchant(server.url);
  assert.equal((await merchant.setPin('890246')).code, 0);
  await succeeds(['merchant', 'update', SANDBOX_MERCHANT, '--pin-runs', 'keypad']);
  await sleep(NOTICED_AFTER_MS);
  assert.equal((await merchant.setPin('890246')).code, 4016);
  await succeeds(['merchant', 'update', SANDBOX_MERCHANT, '--pin-runs', 'arithmetic']);
});

for (const secret of [
  'sixteen-bytes-16',
  'twenty-four-bytes-is-24b',
  'thirty-two-bytes-are-the-usual-3',
  'ключ-из-24байт',
]) {
  test(`takes a credential along whose secret has ${Buffer.byteLength(secret)} bytes in ${secret.length} characters`, async () => {
    const apiKey = `brought-${secret.length}`;
    const shown = await succeeds(
      ['credential', 'create', '--merchant', SANDBOX_MERCHANT, '--allow-ip', LOCAL, '--import', apiKey],
      `${secret}\n`,
    );
    assert.ok(!shown.includes(secret));
    assert.equal((await remoteMerchant(server.url, apiKey, secret).setPin(validPin(7))).code, 0);
  });
}

const create = ['credential', 'create', '--merchant', SANDBOX_MERCHANT];

test('a secret that is not UTF-8 is refused: it would be stored as another one', async () => {
  const input = Buffer.from('\xe9'.repeat(16), 'latin1');
  const { status, stderr } = await installation.run([...create, '--import', 'latin'], { input });
  assert.deepEqual([status, stderr], [1, 'pinward-server: standard input is not text in UTF-8\n']);
});

const SECRET_20 = 'twenty-bytes-secret!';
const SECRET_32 = 'a-secret-that-must-not-be-shown!';
const mistakes: [what: string, args: string[], told: RegExp, input?: string][] = [
  ['a credential of no merchant', ['credential', 'create', '--merchant', 'M000'], /there is no merchant M000$/],
  [
    'a block that is too wide',
    [...create, '--allow-ip', '10.0.0.0/33'],
    /10\.0\.0\.0\/33 is neither an IP address nor a CIDR block$/,
  ],
  ['an address that is none', [...create, '--allow-ip', LOCAL, '300.1.1.1'], /300\.1\.1\.1 is neither/],
  ['an expiry in words', [...create, '--expires', 'tomorrow'], /not an ISO 8601 time/],
  ['an expiry that is a number', [...create, '--expires', '5'], /not an ISO 8601 time/],
  ['an expiry in another order', [...create, '--expires', '12/31/2099'], /not an ISO 8601 time/],
  ['an expiry on the 31st of February', [...create, '--expires', '2099-02-31T00:00:00Z'], /not an ISO 8601 time/],
  ['an Api-Key that is there', [...create, '--import', API_KEY], /exists already; nothing was changed$/, SECRET_32],
  ['an Api-Key of nothing', [...create, '--import', ''], /Api-Key/, SECRET_32],
  ['an Api-Key that no header carries', [...create, '--import', 'two\nlines'], /Api-Key/, SECRET_32],
  ['a secret of 20 bytes', [...create, '--import', 'twenty'], /has 16, 24 or 32 bytes/, SECRET_20],
  ['no secret', [...create, '--import', 'nothing'], /has 16, 24 or 32 bytes/],
  ['a merchant without a name', ['merchant', 'create'], /--name/],
  ['a merchant with an empty name', ['merchant', 'create', '--name', ' '], /name/],
  ['a mode that is none', ['merchant', 'create', '--name', 'x', '--mode', 'OTHER'], /AUTHORIZATION, CREDIT_EXTENSION/],
  [
    'a callback that is none',
    ['merchant', 'update', 'M1', '--callbacks', 'Pin_Set'],
    /Pin_Set is not one of Card_update, Pin_set/,
  ],
  ['a change of no merchant', ['merchant', 'update', 'M000', '--name', 'x'], /there is no merchant M000$/],
  ['a change of nothing', ['merchant', 'update', SANDBOX_MERCHANT], /nothing to change was given$/],
  ['the end of no merchant', ['merchant', 'disable', 'M000'], /there is no merchant M000$/],
  ['the end of no credential', ['credential', 'disable', 'ak_0'], /there is no credential ak_0$/],
  ['an address for no credential', ['credential', 'allow-ip', 'ak_0', LOCAL], /there is no credential ak_0$/],
  [
    'an address that was not allowed',
    ['credential', 'allow-ip', API_KEY, '--remove', '10.0.0.1'],
    /not on the allowlist/,
  ],
  ['keys that the sandbox makes itself', ['keys', 'init'], /the sandbox makes its keys at its first start$/],
  ['a word that is no command', ['merchnat', 'list'], /unknown command 'merchnat'/],
];
for (const [what, args, told, input] of mistakes) {
  test(`refuses ${what} in one clear line and changes nothing`, async () => {
    const before = await state();
    const { status, stdout, stderr } = await installation.run(args, { input: input ?? '' });
    assert.equal(status, 1);
    assert.equal(stdout, '');
    const [line = ''] = stderr.split('\n');
    assert.match(line, /^(pinward-server|error): /);
    assert.match(line, told);
    for (const secret of [SECRET_20, SECRET_32, '\n    at ']) assert.ok(!stderr.includes(secret), stderr);
    assert.deepEqual(await state(), before);
  });
}

test('the sandbox is reset while a platform serves it', async () => {
  const merchant = remoteMerchant(server.url);
  assert.equal((await merchant.setPin(validPin(3))).code, 0);
  const made = await newCredential(['--merchant', await newMerchant('Goes'), '--allow-ip', LOCAL]);
  assert.equal(await succeeds(['sandbox', 'reset']), 'the sandbox is as new\n');
  assert.equal(await storedPin(platform, FIRST_CARD.cardNo), undefined, 'the old PINs are gone');
  assert.equal((await succeeds(['merchant', 'list'])).trim().split('\n').length, 5, 'a head and four merchants');
  await sleep(NOTICED_AFTER_MS);
  assert.equal(await codeOf(made.apiKey).catch((error: Error) => error.message), 'no token: 1008');
  assert.equal((await remoteMerchant(server.url).setPin(validPin(4))).code, 0);
  assert.equal((await storedPin(platform, FIRST_CARD.cardNo))?.version, 1);
});

test('a reset waits for another session that holds a table', async () => {
  const began = performance.now();
  const held = platform.db.transaction(async (tx) => {
    await tx.tuples('hold', 'lock table callback_events in row exclusive mode');
    await sleep(2_500); // more than twice what a lock is waited for
  });
  assert.equal(await succeeds(['sandbox', 'reset']), 'the sandbox is as new\n');
  assert.ok(performance.now() - began >= 2_400);
  await held;
});

test('a PIN set during a reset works on the old world or on the new one, never on a mix', async () => {
  const merchant = remoteMerchant(server.url);
  const codes: number[] = [];
  let resetting = true;
  const setting = Array.from({ length: 8 }, async (_, index) => {
    while (resetting) codes.push((await merchant.setPin(validPin(index))).code);
  });
  for (let round = 0; round < 3; round++) await succeeds(['sandbox', 'reset']).finally(() => (resetting = round < 2));
  await Promise.all(setting);
  assert.ok(codes.length > 8);
  assert.deepEqual([...new Set(codes)], [0]);
});

test('commands need no running platform, and one before the first start leaves room for the sandbox world', async (t) => {
  const fresh = install(t);
  const merchantNo = (await succeeds(['merchant', 'create', '--name', 'Early'], undefined, fresh)).trim();
  const { apiKey } = await newCredential(['--merchant', merchantNo, '--allow-ip', LOCAL], fresh);
  assert.equal(fresh.databasePid(), undefined);
  const { url } = await fresh.serve();
  assert.equal((await remoteMerchant(url, apiKey).listCards()).code, 0);
  assert.equal((await remoteMerchant(url).setPin(validPin(1))).code, 0, 'what the greeting tells to paste works');
});

test('production does not start without database and key-encryption key: it names both and creates nothing', async (t) => {
  const bare = install(t, { env: { PINWARD_MODE: 'production' } });
  const { status, stdout, stderr } = await bare.run(['serve']);
  assert.equal(status, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /DATABASE_URL is missing/);
  assert.match(stderr, /a key-encryption key is missing: set PINWARD_KEK .*PINWARD_KEK_FILE.*PINWARD_KEK_PASSPHRASE/);
  assert.ok(!existsSync(bare.dataDir));
});

test('production is set up step by step, each refusal naming the next step, and serves no sandbox', async (t) => {
  const kek = randomBytes(32).toString('hex');
  const production = install(t, {
    env: { PINWARD_MODE: 'production', DATABASE_URL: await emptyDatabase(t), PINWARD_KEK: kek },
  });
  const keyFile = join(production.dataDir, 'keys.json');

  await refuses(production, ['serve'], /run: pinward-server migrate$/);
  assert.match(await succeeds(['keys', 'init'], undefined, production), new RegExp(`^made ${keyFile}\n`));
  const keys = readFileSync(keyFile, 'utf8');
  await refuses(production, ['keys', 'init'], /there is a key file at .* already; nothing was changed$/);
  assert.equal(readFileSync(keyFile, 'utf8'), keys);
  await refuses(production, ['serve'], /0001_platform is not applied[\s\S]*run: pinward-server migrate$/);
  assert.match(await succeeds(['migrate'], undefined, production), /^applied 0001_platform$/m);
  assert.equal(await succeeds(['migrate'], undefined, production), 'nothing to do: the schema is up to date\n');
  await refuses(production, ['sandbox', 'reset'], /there is no sandbox in production mode; nothing was changed$/);

  const { url, stdout } = await production.serve();
  const probe = (apiKey: string, apiSecret?: string) =>
    remoteMerchant(url, apiKey, apiSecret)
      .listCards()
      .then(
        ({ code }) => code,
        ({ message }: Error) => message,
      );
  assert.equal(await probe(API_KEY), 'no token: 1008');
  const merchantNo = (await succeeds(['merchant', 'create', '--name', 'First'], undefined, production)).trim();
  const { apiKey, apiSecret } = await newCredential(['--merchant', merchantNo, '--allow-ip', LOCAL], production);
  assert.equal(await probe(apiKey, apiSecret), 0);
  assert.ok(!stdout().includes('Paste this'));
});

async function refuses(
  on: Installation,
  args: string[],
  told: RegExp,
  env: Record<string, string> = {},
): Promise<void> {
  const { status, stdout, stderr } = await on.run(args, { env });
  assert.equal(status, 1, stdout);
  assert.match(stderr.trimEnd(), told);
  assert.match(stderr, /^pinward-server: /);
  assert.ok(!stderr.includes('\n    at '), `no stack:\n${stderr}`);
}

test('a database refuses another mode or other keys, and says which one is wrong', async (t) => {
  const kek = randomBytes(32).toString('hex');
  const production = install(t, {
    env: { PINWARD_MODE: 'production', DATABASE_URL: await emptyDatabase(t), PINWARD_KEK: kek },
  });
  for (const args of [['migrate'], ['keys', 'init'], ['merchant', 'create', '--name', 'Only']])
    await succeeds(args, undefined, production);
  const list = ['merchant', 'list'];
  const shown = await succeeds(list, undefined, production);
  await refuses(production, list, /made in production mode and cannot be used in sandbox mode$/, {
    PINWARD_MODE: 'sandbox',
  });

  const sandboxUrl = await emptyDatabase(t);
  await succeeds(list, undefined, install(t, { env: { DATABASE_URL: sandboxUrl } }));
  await refuses(production, list, /made in sandbox mode and cannot be used in production mode$/, {
    DATABASE_URL: sandboxUrl,
  });

  await refuses(production, list, /does not fit the key file .*keys\.json \(check value [0-9A-F]{6}\)$/, {
    PINWARD_KEK: randomBytes(32).toString('hex'),
  });
  await refuses(production, list, /was sealed with a key-encryption key, and a passphrase was given$/, {
    PINWARD_KEK: '',
    PINWARD_KEK_PASSPHRASE: 'correct horse battery staple',
  });
  const otherFile = join(production.dataDir, 'other.json');
  await refuses(production, list, /other\.json is gone, and the database was made with it \(id .*\): bring it back$/, {
    PINWARD_KEY_FILE: otherFile,
  });
  assert.equal((await production.run(['keys', 'init'], { env: { PINWARD_KEY_FILE: otherFile } })).status, 0);
  await refuses(production, list, /made with another key file \(id .*\) than .*other\.json \(id .*\)$/, {
    PINWARD_KEY_FILE: otherFile,
  });

  const altered = join(production.dataDir, 'altered.json');
  const text = readFileSync(join(production.dataDir, 'keys.json'), 'utf8');
  for (const [content, told] of [
    [
      text.replace(/("wrapped": ")(.)/, (_, before, first) => `${before}${first === 'A' ? 'B' : 'A'}`),
      /was altered: its seal is not that of its content; bring back a copy that was not edited$/,
    ],
    [text.replace(/"kek": \{[^}]*\},/, ''), /altered\.json/],
    [text.replace(/"keys": \[[\s\S]*\]/, '"keys": {}'), /altered\.json/],
    [text.slice(0, -20), /cannot be read: it is no JSON$/],
    ['null', /is not a key file of this version of the platform$/],
    ['{}', /is not a key file of this version of the platform$/],
  ] as [string, RegExp][]) {
    writeFileSync(altered, content, { mode: 0o600 });
    await refuses(production, list, told, { PINWARD_KEY_FILE: altered });
  }
  assert.equal(await succeeds(list, undefined, production), shown, 'with what belongs together it is as it was');
});
