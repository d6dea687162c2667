import assert from 'node:assert/strict';
import { createDecipheriv } from 'node:crypto';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, mock, test } from 'node:test';
import pino from 'pino';
import { buildApp } from '../src/app.ts';
import { type Config, readConfig } from '../src/config.ts';
import { cardVerificationValue } from '../src/crypto/cvv.ts';
import { logOptions } from '../src/log.ts';
import { updateMerchant } from '../src/merchants/update-merchant.ts';
import { openPlatform, type Platform } from '../src/platform.ts';
import { seedSandbox } from '../src/sandbox/seed.ts';
import { cards, credentials, EXPIRY_YYMM, SANDBOX_CVK, SANDBOX_MERCHANT_NO } from '../src/sandbox/world.ts';
import { buildServices, type Services } from '../src/services.ts';
import { validPin } from './support/calls.ts';
import { countSixDigits, formsOf, searchFor } from './support/find-values.ts';
import {
  CARD_TO_ACTIVATE,
  CARDHOLDER_NO,
  FROZEN_CARD,
  OTHER_API_KEY,
  OTHER_SECRET,
  pinBody,
  SANDBOX_SECRET,
  SECOND_CARDHOLDER_NO,
  seal,
} from './support/sandbox.ts';
import { type Merchant, merchantOf } from './support/test-platform.ts';

/** A hundred PINs that are set or refused, and as many that nobody ever used. */
const usedPins = Array.from({ length: 100 }, (_, i) => validPin(100 + i));
const controlPins = Array.from({ length: 100 }, (_, i) => validPin(600 + i));
/** Left on purpose, where a merchant's name stands: the search has to find both. */
const PLANTED_MARKER = 'planted-marker-7f3a';
const PLANTED_PIN = '385016';

let scratch: string;
let platform: Platform;
let services: Services;
let merchant: Merchant;
let stop: () => Promise<unknown>;
/**
 * Every place where something could have been left, by its name: texts, and the database's own
 * files.
 */
const texts = new Map<string, string>();
const files = new Map<string, Buffer>();
const secrets = new Map<string, string>();

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'pinward-leak-'));
  chmodSync(scratch, 0o711); // as in run.ts
  const config = readConfig({ PINWARD_DATA_DIR: join(scratch, 'data') });
  platform = await openPlatform(config);
  await seedSandbox(platform.db, platform.keys);
  await updateMerchant({ db: platform.db, now: Date.now }, SANDBOX_MERCHANT_NO, {
    callbackUrl: 'http://127.0.0.1:9/',
    callbackActions: ['Pin_set', 'Card_update'],
    name: `${PLANTED_MARKER} ${PLANTED_PIN}`,
  });
  await driveEveryFlow(config);
  await collectWhatIsLeft();
});
after(async () => {
  await stop();
  await platform.close();
  rmSync(scratch, { recursive: true, force: true });
});

async function driveEveryFlow(config: Config): Promise<void> {
  const log: string[] = [];
  const answers: string[] = [];
  const clock = { now: Date.now() };
  const { db, keys } = platform;
  // No process id and no host name: a small one could be taken for a CVV.
  const options = { ...logOptions('trace'), base: null };
  services = buildServices({
    config,
    clock: () => clock.now,
    log: pino(options, { write: (line: string) => void log.push(line) }),
    db,
    keys,
  });
  const app = await buildApp(services);
  stop = () => app.close();
  merchant = merchantOf({ app, clock });
  const call = async (path: string, body?: object | string, headers?: Record<string, string>) => {
    const answer = await merchant.call(body === undefined ? 'GET' : 'POST', path, body, headers);
    answers.push(JSON.stringify(answer.headers), answer.text);
    return answer.code;
  };
  const token = await merchant.token();
  secrets.set('the access token', token);
  secrets.set('the token of another credential', await merchantOf({ app, clock }, OTHER_API_KEY).token());
  const sealed = (pin: string, secret = SANDBOX_SECRET) => {
    const field = seal(pin, secret);
    secrets.set(`the enciphered PIN ${pin}`, field);
    return { ...pinBody(pin), pin: field };
  };
  const set = (body: object | string) =>
    call('/card/pin/set', body, { 'access-token': token, 'content-type': 'application/json' });

  for (const pin of usedPins.slice(0, 70)) assert.equal(await set(sealed(pin)), 0);
  for (const pin of usedPins.slice(70, 75))
    assert.equal(await set({ ...sealed(pin), card_no: FROZEN_CARD.cardNo }), 4005);
  for (const pin of usedPins.slice(75, 80))
    assert.equal(await set({ ...sealed(pin), cardholder_no: SECOND_CARDHOLDER_NO }), 4001);
  for (const pin of usedPins.slice(80, 83)) assert.equal(await set(sealed(pin, OTHER_SECRET)), 4016);
  for (const pin of usedPins.slice(83, 86)) assert.equal(await set({ ...sealed(pin), card_no: 17 }), 1004);
  // Mistakes that merchants make: the PIN in clear, in another field, in a body that is no JSON.
  for (const pin of usedPins.slice(86, 88)) assert.equal(await set({ ...sealed(pin), pin }), 4016);
  for (const pin of usedPins.slice(88, 90)) assert.equal(await set({ ...sealed(pin), pin: { clear: pin } }), 1004);
  for (const pin of usedPins.slice(90, 92))
    assert.equal(await set({ ...sealed(pin), cardholder_no: `${pin} ${seal(pin)}` }), 1004);
  for (const pin of usedPins.slice(92, 94)) assert.equal(await set(`${JSON.stringify(sealed(pin))} ${pin}`), 1004);
  assert.equal(await set(sealed('111235')), 4016);
  // Writes that the database refuses, and tells of with the whole row.
  await db.script(`alter table cards add constraint broken check (pin_version = 0) not valid`);
  for (const pin of usedPins.slice(94, 97)) assert.equal(await set(sealed(pin)), 1001);
  await db.script('alter table cards drop constraint broken');
  await db.script(`alter table callback_events add constraint broken check (action <> 'Pin_set') not valid`);
  for (const pin of usedPins.slice(97)) assert.equal(await set(sealed(pin)), 1001);
  await db.script('alter table callback_events drop constraint broken');

  const card = { card_no: CARD_TO_ACTIVATE.cardNo, cardholder_no: CARDHOLDER_NO, card_last_no: '0030' };
  for (const [cvv, code] of [
    ['000', 4003],
    ['685', 0],
  ] as const) {
    secrets.set(`the enciphered CVV ${cvv}`, seal(cvv));
    assert.equal(await call('/card/active', { ...card, cvv: seal(cvv) }), code);
  }
  assert.equal(await call('/card/status/update', { card_no: card.card_no, status: 'Frozen' }), 0);
  assert.equal(
    await call('/card/list', { start_time: '2026-05-01', end_time: '2026-06-30', page_num: 1, page_size: 10 }),
    0,
  );
  assert.equal(await call('/card/C202605220001/detail'), 0);
  assert.equal(await call('/card/C202605220001/detail', undefined, { 'access-token': `${token}x` }), 1007);
  assert.equal(await call('/card/C202605220001/detail', undefined, { 'api-key': SANDBOX_SECRET }), 1008);
  assert.equal(
    await call(`/nowhere?access_token=${token}&pin=${encodeURIComponent(seal(usedPins[0] as string))}`),
    1004,
  );
  assert.ok(log.length > 100 && answers.length > 200);
  texts.set('the log', log.join(''));
  texts.set('the answers', answers.join('\n'));
}

async function collectWhatIsLeft(): Promise<void> {
  for (const { apiKey, apiSecret } of credentials) secrets.set(`the secret of ${apiKey}`, apiSecret);
  for (const { cardNo, pan } of cards) secrets.set(`the PAN of ${cardNo}`, pan);
  const tables = await platform.db.tuples<[string]>(
    'tables',
    `select tablename from pg_tables where schemaname = 'public'`,
  );
  for (const [table] of tables) {
    const rows = await platform.db.tuples<[string]>(`read-${table}`, `select to_json(t)::text from ${table} t`);
    texts.set(`the table ${table}`, rows.flat().join('\n'));
  }
  await platform.db.script('checkpoint');
  for (const path of readdirSync(platform.place, { recursive: true, encoding: 'utf8' })) {
    const whole = join(platform.place, path);
    if (statSync(whole).isFile()) files.set(path, readFileSync(whole));
  }
  const log = files.get('log')?.toString('utf8') ?? '';
  assert.match(log, /violates check constraint "broken"/, 'this is the log that knows of the failed writes');
  texts.set("the database's log", log);
}

function hitsOf(pins: string[], text: string): number {
  const counts = countSixDigits(text);
  return pins.reduce((sum, pin) => sum + (counts.get(pin) ?? 0), 0);
}

const wholeFiles = () => [...files.values()].map((bytes) => bytes.toString('latin1')).join('\n');

test('the search finds values that were planted in a table, in a file and in the write-ahead log', () => {
  const look = searchFor(new Map([['planted', Buffer.from(PLANTED_MARKER)]]));
  const found = [...files].filter(([, bytes]) => look(bytes).length > 0).map(([path]) => path);
  for (const folder of ['data/base/', 'data/pg_wal/'])
    assert.ok(
      found.some((path) => path.startsWith(folder)),
      folder,
    );
  assert.ok(texts.get('the table merchants')?.includes(PLANTED_MARKER));
  assert.equal(hitsOf([PLANTED_PIN], texts.get('the table merchants') as string), 1);
  assert.ok(hitsOf([PLANTED_PIN], wholeFiles()) >= 2, 'in the file and in the write-ahead log');
  const forms = formsOf('a field', seal('142536'));
  const among = Buffer.concat(forms.flatMap(([, form]) => [Buffer.from([0]), form]));
  assert.deepEqual(
    searchFor(new Map(forms))(among),
    forms.map(([name]) => name),
  );
  assert.equal(forms.length, 5);
  assert.equal(hitsOf(['142536'], 'pin 142536, "142536", no 1425367 and no a142536'), 2);
});

test('rule 11: no clear PIN is in a log, an answer or a table', () => {
  assert.equal(new Set([...usedPins, ...controlPins]).size, 200);
  for (const [place, text] of texts) {
    assert.equal(hitsOf(usedPins, text), 0, place);
    assert.equal(hitsOf(controlPins, text), 0, place);
  }
});

test('rule 11: used PINs are in the files and the write-ahead log no more often than unused PINs', () => {
  const text = wholeFiles();
  const used = hitsOf(usedPins, text);
  const control = hitsOf(controlPins, text);
  // Seventy stored PINs would stand there at least once each. Chance hardly gives either side one:
  // all these files together hold about ten words of six digits, in PostgreSQL's settings and
  // planted by us.
  assert.ok(used <= control, `${used} hits of used PINs, ${control} of others`);
});

test('rule 11: no PAN, secret, token or enciphered field is anywhere: plain, in hex, in Base64, or decoded', () => {
  assert.ok(secrets.size > 100);
  const look = searchFor(new Map([...secrets].flatMap(([what, value]) => formsOf(what, value))));
  for (const [place, text] of texts) assert.deepEqual(look(Buffer.from(text, 'utf8')), [], place);
  for (const [path, bytes] of files) assert.deepEqual(look(bytes), [], path);
});

test('rule 11: no CVV is the value of a member, a header or a column', () => {
  const cvvs = cards.map(({ pan }) => cardVerificationValue(Buffer.from(SANDBOX_CVK, 'hex'), pan, EXPIRY_YYMM, '000'));
  assert.ok(cvvs.includes('685'));
  const numbersThatMayBeAnything = /"(ms|status|content-length)":"?[0-9.]+"?/g;
  for (const [place, text] of texts)
    assert.doesNotMatch(
      text.replaceAll(numbersThatMayBeAnything, ''),
      new RegExp(`[:'"\\s]"?(${cvvs.join('|')})["'\\s,}\\]]`),
      place,
    );
});

test('rule 11: the bytes of the clear PIN are zero after the call, also if it was refused or failed', async () => {
  const held: Buffer[] = [];
  const keep = <T>(bytes: T): T => {
    if (Buffer.isBuffer(bytes)) held.push(bytes);
    return bytes;
  };
  let clearSeen = 0;
  const { mac } = services.keys.pinVerify;
  const faults: (Error | undefined)[] = [undefined, undefined, new Error('no key')];
  mock.method(services.keys.pinVerify, 'mac', async (version: number, message: Buffer) => {
    keep(message);
    clearSeen += held.filter((bytes) => bytes.includes('902847')).length;
    const fault = faults.shift();
    if (fault !== undefined) throw fault;
    return mac(version, message);
  });
  const deciphers = Object.getPrototypeOf(createDecipheriv('aes-256-ecb', SANDBOX_SECRET, null));
  const { update } = deciphers;
  mock.method(deciphers, 'update', function (this: unknown, ...given: unknown[]) {
    return keep(update.apply(this, given));
  });
  try {
    const codes: number[] = [];
    for (const pin of ['902847', '902847', '902847', '111235', '90284'])
      codes.push((await merchant.call('POST', '/card/pin/set', pinBody(pin))).code);
    assert.deepEqual(codes, [0, 0, 1001, 4016, 4016]);
  } finally {
    mock.restoreAll();
  }
  assert.equal(clearSeen, 3 * 2, 'the block and what the reference value is made of, each time, were under watch');
  for (const [i, bytes] of held.entries())
    assert.ok(bytes.equals(Buffer.alloc(bytes.length)), `buffer ${i} of ${bytes.length} bytes`);
});
