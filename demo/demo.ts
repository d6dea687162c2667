/**
 * Starts a temporary platform, sets a PIN, and provokes every refusal of the contract. The exit
 * status is 0 only if every answer is as the contract says. It is written as a merchant would write
 * it: with the sandbox's public values and no code of the platform.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createCipheriv, hkdfSync, randomBytes, randomUUID } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CompactEncrypt, importJWK, type JWK } from 'jose';

const SECRET = 'sandbox-api-secret-0123456789abc';
const CARD = { card_no: 'C202605220001', cardholder_no: 'U202605220001' };
const OTHER = { card_no: 'C202605220005', cardholder_no: 'U202605220002' };
const SETS_A_MINUTE = 25;

/** The `ecb` envelope: AES/ECB/PKCS5Padding under the bytes of the apiSecret, in Base64. */
function encipher(pin: string): string {
  const cipher = createCipheriv('aes-256-ecb', SECRET, null);
  return Buffer.concat([cipher.update(pin), cipher.final()]).toString('base64');
}

/**
 * The `bound` envelope: the same cipher under a key for this card, cardholder and Timestamp. It is
 * useless on another card and after 60 s.
 */
function bind(pin: string, timestamp: string): string {
  const info = ['pinward/pin/v1', CARD.card_no, CARD.cardholder_no, timestamp].join('\0');
  const cipher = createCipheriv('aes-256-ecb', Buffer.from(hkdfSync('sha256', SECRET, '', info, 32)), null);
  return Buffer.concat([cipher.update(pin), cipher.final()]).toString('base64');
}

/**
 * The `jwe` envelope: encrypted to the platform's published key, for example in the cardholder's
 * browser. Nobody between the browser and the platform sees the PIN. It works once.
 */
async function sealToPlatform(pin: string): Promise<string> {
  const { keys } = (await (await fetch(`${url}/.well-known/jwks.json`)).json()) as { keys: [JWK] };
  const claims = { pin, card_no: CARD.card_no, iat: Math.floor(Date.now() / 1000), jti: randomUUID() };
  return new CompactEncrypt(Buffer.from(JSON.stringify(claims)))
    .setProtectedHeader({ alg: 'ECDH-ES+A256KW', enc: 'A256GCM', kid: keys[0].kid as string })
    .encrypt(await importJWK(keys[0], 'ECDH-ES+A256KW'));
}

/** What the card network knows: the sandbox's zone key, and the PAN of its first card. */
const ZONE_KEY = Buffer.from('53414E44424F582D5A4F4E452D50494E2D4B45592D30313233343536373839AB', 'hex');
const PAN = '9999990000000014';

/** A PIN block, ISO 9564-1 format 4: encrypt the PIN field, XOR the PAN field, encrypt again. */
function pinBlock(pin: string): string {
  const aes = createCipheriv('aes-256-ecb', ZONE_KEY, null).setAutoPadding(false);
  const pinField = Buffer.concat([Buffer.from(`4${pin.length}${pin}`.padEnd(16, 'A'), 'hex'), randomBytes(8)]);
  const panField = Buffer.from(`${PAN.length - 12}${PAN}`.padEnd(32, '0'), 'hex');
  return aes.update(aes.update(pinField).map((byte, i) => byte ^ (panField[i] as number))).toString('hex');
}

/** What the platform answers the issuer about a PIN. */
async function verify(pin: string): Promise<string> {
  const response = await fetch(`${url}/issuer/v1/pin/verify`, {
    method: 'POST',
    headers: { Authorization: 'Bearer sandbox_issuer_key', 'Content-Type': 'application/json' },
    body: JSON.stringify({ card_no: CARD.card_no, pin_block: pinBlock(pin), format: 4, zone_key: 'sandbox_zpk' }),
  });
  const { data } = (await response.json()) as { data?: { result: string; tries_left?: number } };
  return data?.tries_left === undefined ? String(data?.result) : `${data.result}, ${data.tries_left} left`;
}

interface Step {
  says: string;
  expect: number;
  headers?: Record<string, string | undefined>;
  body?: Record<string, unknown> | string;
}

let url = '';
let token = '';

async function set(step: Step): Promise<{ code: number; msg: string }> {
  const headers: Record<string, string | undefined> = {
    'Content-Type': 'application/json',
    'Api-Key': 'sandbox_api_key',
    Timestamp: String(Date.now()),
    'Access-Token': token,
    ...step.headers,
  };
  const body = step.body ?? { pin: encipher('142536') };
  const response = await fetch(`${url}/open-api/v1/card/pin/set`, {
    method: 'POST',
    headers: Object.fromEntries(
      Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined),
    ),
    body: typeof body === 'string' ? body : JSON.stringify({ ...CARD, ...body }),
  });
  return (await response.json()) as { code: number; msg: string };
}

const steps: Step[] = [
  { says: 'set the PIN 142536', expect: 0 },
  { says: 'the same PIN again', expect: 0 },
  { says: 'no Api-Key', expect: 1002, headers: { 'Api-Key': undefined } },
  { says: 'an Api-Key that nobody has', expect: 1008, headers: { 'Api-Key': 'nobodys_api_key' } },
  { says: 'a disabled Api-Key', expect: 1010, headers: { 'Api-Key': 'disabled_api_key' } },
  { says: 'an expired Api-Key', expect: 1011, headers: { 'Api-Key': 'expired_api_key' } },
  { says: 'a suspended merchant', expect: 1022, headers: { 'Api-Key': 'suspended_merchant_api_key' } },
  { says: 'an address that is not allowed', expect: 1003, headers: { 'Api-Key': 'elsewhere_api_key' } },
  { says: 'a timestamp 61 seconds old', expect: 1005, headers: { Timestamp: String(Date.now() - 61_000) } },
  { says: 'a timestamp from the future', expect: 1005, headers: { Timestamp: String(Date.now() + 60_000) } },
  { says: 'no Access-Token', expect: 1006, headers: { 'Access-Token': undefined } },
  { says: "another Api-Key's token", expect: 1007, headers: { 'Api-Key': 'other_api_key' } },
  { says: 'a body without a pin', expect: 1004, body: { pin: undefined } },
  { says: 'a body that is not JSON', expect: 1004, body: '{"card_no":' },
  { says: 'a card that does not exist', expect: 4001, body: { card_no: 'C000000000000', pin: encipher('142536') } },
  { says: "another cardholder's card", expect: 4001, body: { card_no: 'C202605220005', pin: encipher('142536') } },
  {
    says: "another merchant's card",
    expect: 4001,
    body: { card_no: 'C202605220006', cardholder_no: 'U202605220003', pin: encipher('142536') },
  },
  { says: 'a virtual card', expect: 4017, body: { card_no: 'C202605220002', pin: encipher('142536') } },
  { says: 'a card not yet activated', expect: 4005, body: { card_no: 'C202605220003', pin: encipher('142536') } },
  { says: 'a frozen card', expect: 4005, body: { card_no: 'C202605220004', pin: encipher('142536') } },
  { says: 'the PIN 111235: three equal digits', expect: 4016, body: { pin: encipher('111235') } },
  { says: 'the PIN 912375: three rising digits', expect: 4016, body: { pin: encipher('912375') } },
  { says: 'the PIN 259876: three falling digits', expect: 4016, body: { pin: encipher('259876') } },
  { says: 'a PIN of four digits', expect: 4016, body: { pin: encipher('1425') } },
  { says: 'a PIN that is not encrypted', expect: 4016, body: { pin: '142536' } },
  { says: 'the same, in Chinese', expect: 4016, body: { pin: '142536' }, headers: { Language: 'zh_CN' } },
];

async function start(dataDir: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [new URL('../server/dist/main.js', import.meta.url).pathname, 'serve'], {
    env: {
      ...process.env,
      PORT: '0',
      PINWARD_MODE: 'sandbox',
      PINWARD_DATA_DIR: dataDir,
      DATABASE_URL: '',
      LOG_LEVEL: 'error',
      LIMIT_PIN_SETS_PER_CARD_PER_MINUTE: String(SETS_A_MINUTE),
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const note = join(dataDir, 'running.json');
  for (let tries = 0; tries < 600 && !existsSync(note); tries++) {
    if (child.exitCode !== null) throw new Error('the platform did not start');
    await sleep(100);
  }
  url = (JSON.parse(readFileSync(note, 'utf8')) as { url: string }).url;
  return child;
}

const dataDir = mkdtempSync(join(tmpdir(), 'pinward-demo-'));
// Run by root, PostgreSQL has its own user. If that user cannot reach the folders below,
// PostgreSQL's files go to another place and stay there.
chmodSync(dataDir, 0o711);
let platform: ChildProcess | undefined;
let failures = 0;
let counted = 0;

function report(says: string, expect: number, { code, msg }: { code: number; msg: string }): void {
  counted++;
  const fits = code === expect;
  if (!fits) failures++;
  const expected = fits ? '' : `   (the contract says ${expect})`;
  console.log(`${fits ? '✔' : '✘'} ${says.padEnd(38)} ${String(code).padStart(4)}  ${msg}${expected}`);
}

try {
  platform = await start(dataDir);
  const answer = await fetch(`${url}/open-api/v1/merchant/token`, {
    headers: { 'Api-Key': 'sandbox_api_key', Timestamp: String(Date.now()) },
  });
  token = ((await answer.json()) as { data: { access_token: string } }).data.access_token;
  for (const step of steps) report(step.says, step.expect, await set(step));

  const now = String(Date.now());
  const bound = { body: { pin: bind('902847', now) }, headers: { Timestamp: now, 'Pin-Envelope': 'bound' } };
  report('bound to this card and moment', 0, await set({ says: '', expect: 0, ...bound }));
  report(
    'the same on another card',
    4016,
    await set({
      says: '',
      expect: 0,
      ...bound,
      body: { ...bound.body, card_no: OTHER.card_no, cardholder_no: OTHER.cardholder_no },
    }),
  );
  const sealed = { body: { pin: await sealToPlatform('058291') }, headers: { 'Pin-Envelope': 'jwe' } };
  report('sealed to the platform (JWE)', 0, await set({ says: '', expect: 0, ...sealed }));
  report('the same once more', 4016, await set({ says: '', expect: 0, ...sealed }));

  for (const [says, pin, expect] of [
    ['the issuer verifies 058291', '058291', 'match'],
    ['a wrong PIN', '902847', 'mismatch, 2 left'],
    ['another wrong PIN', '142536', 'mismatch, 1 left'],
    ['the third wrong PIN', '736194', 'mismatch, 0 left'],
    ['the right PIN, which is now blocked', '058291', 'blocked'],
  ] as const) {
    const result = await verify(pin);
    if (result !== expect) failures++;
    counted++;
    console.log(`${result === expect ? '✔' : '✘'} ${says.padEnd(38)}       ${result}`);
  }

  // The card's limit counts refused PINs too. This loop uses up the rest of it.
  let last = { code: 0, msg: '' };
  for (let tries = 0; tries <= SETS_A_MINUTE && last.code !== 1009; tries++) last = await set({ says: '', expect: 0 });
  report(`more than ${SETS_A_MINUTE} sets a minute on one card`, 1009, last);
  console.log(
    failures === 0
      ? `\nAll ${counted} answers are as the contract says.`
      : `\n${failures} of ${counted} answers are not as the contract says.`,
  );
} finally {
  if (platform?.exitCode === null) {
    platform.kill('SIGTERM');
    await new Promise((resolve) => platform?.once('exit', resolve));
  }
  rmSync(dataDir, { recursive: true, force: true });
}
process.exit(failures === 0 ? 0 : 1);
