/*
 * The canary: every flow of the product is driven with PINs, PANs, CVVs, secrets, tokens and keys
 * that this test knows, on both key providers, in a process of its own. Then everything that is
 * left is searched for them: log, answers, events, tables, database files, write-ahead log, and the
 * V8 heap. PINs count as whole tokens, against as many PINs that nobody ever used, so that chance
 * is seen for what it is.
 */
import assert from 'node:assert/strict';
import { createSecretKey, randomBytes, randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PIN_POLICY_NAMES } from '@pinward/contract/pin-policies';
import type { JWK } from 'jose';
import { cardVerificationValue } from '../src/crypto/cvv.ts';
import { openDatabase } from '../src/db/database.ts';
import { cards, credentials, EXPIRY_YYMM, ISSUER, SANDBOX_CVK, sandboxPan } from '../src/sandbox/world.ts';
import { remoteMerchant, validPin } from './support/calls.ts';
import { sealBound, sealJwe } from './support/envelopes.ts';
import { countSixDigits, formsOf, searchFor } from './support/find-values.ts';
import { panOf, pinBlock } from './support/issuer.ts';
import { startReceiver } from './support/receiver.ts';
import {
  API_KEY,
  BIN_NO,
  CARD_TO_ACTIVATE,
  CARDHOLDER_NO,
  FIRST_CARD,
  FROZEN_CARD,
  MERCHANT_NO,
  PROTECTION_KEY,
  SANDBOX_SECRET,
  SECOND_CARDHOLDER_NO,
  SECOND_CARDHOLDERS_CARD,
  seal,
  ZONE_KEY,
} from './support/sandbox.ts';
import { type Installation, install, until } from './support/server-process.ts';
import { noHsm, softHsm } from './support/soft-hsm.ts';
import { wrapKeyBlock } from './support/wrap-key-block.ts';

const usedPins = Array.from({ length: 120 }, (_, i) => validPin(100 + i));
const controlPins = Array.from({ length: 120 }, (_, i) => validPin(600 + i));
const CARD = FIRST_CARD.cardNo;
const HOLDER = CARDHOLDER_NO;
const BORN = '1987-11-23';
const PHONE = '8613770519642';

/** Everything that was left behind, by place. */
interface Remains {
  texts: Map<string, string>;
  files: Map<string, Buffer>;
  heap: string;
  secrets: Map<string, string>;
}

async function drive(installation: Installation): Promise<Remains> {
  const texts = new Map<string, string>();
  const secrets = new Map<string, string>();
  const answers: string[] = [];
  const server = await installation.serve({
    LOG_LEVEL: 'trace',
    LIMIT_PIN_SETS_PER_CARD_PER_MINUTE: '100000',
    LIMIT_MALFORMED_BLOCKS_PER_HOUR: '1000',
    NODE_OPTIONS: `--heapsnapshot-signal=SIGUSR2 --diagnostic-dir=${installation.scratch}`,
  });
  const merchant = remoteMerchant(server.url);
  const token = (await merchant.headers())['Access-Token'] as string;
  secrets.set('the access token', token);
  const pins = usedPins.values();
  const next = (): string => pins.next().value as string;
  const keep = (what: string, value: string): string => {
    secrets.set(`${what} ${secrets.size}`, value);
    return value;
  };
  const call = async (path: string, body?: unknown, headers: Record<string, string> = {}): Promise<number> => {
    const answer = await merchant.call(path, body, headers);
    answers.push(answer.text);
    return answer.code;
  };
  const set = (pin: string, headers: Record<string, string> = {}, more = {}) =>
    call('/card/pin/set', { card_no: CARD, cardholder_no: HOLDER, pin, ...more }, headers);
  const answerTo = async (method: string, path: string, body?: object) => {
    const response = await fetch(`${server.url}/issuer/v1${path}`, {
      method,
      headers: { Authorization: `Bearer ${ISSUER.secret}`, ...(body && { 'Content-Type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
    });
    return response.text();
  };
  const issuer = async (method: string, path: string, body?: object) => {
    const text = await answerTo(method, path, body);
    answers.push(text);
    return JSON.parse(text) as { code: number; data?: { result?: string } };
  };
  const verify = async (pin: string, more = {}) =>
    (
      await issuer('POST', '/pin/verify', {
        card_no: CARD,
        pin_block: keep('a PIN block', pinBlock(pin)),
        format: 4,
        zone_key: ZONE_KEY,
        ...more,
      })
    ).data?.result;
  const operate = async (args: string[], more = {}): Promise<string> => {
    const { status, stdout, stderr } = await installation.run(args, more);
    assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
    texts.set(`what ${args.slice(0, 2).join(' ')} said on standard error`, stderr);
    return stdout;
  };

  await operate(['merchant', 'update', MERCHANT_NO, '--callbacks', 'Card_update,Pin_set,Pin_blocked,Pin_unblocked']);
  const receiver = await startReceiver();
  await operate(['callbacks', 'configure', MERCHANT_NO, '--url', receiver.url, '--credential', API_KEY]);
  const personal = {
    cardholder_no: HOLDER,
    birth_date: keep('a birth date', BORN),
    phone: keep('a phone number', PHONE),
  };
  assert.equal((await issuer('POST', '/cardholder/personal', personal)).code, 0);
  await sleep(1_000); // until the gate has heard

  // The three envelopes, set and refused, with every mistake that merchants make.
  const [jwk] = ((await (await fetch(`${server.url}/.well-known/jwks.json`)).json()) as { keys: [JWK] }).keys;
  const claims = (pin: string) => ({ pin, card_no: CARD, iat: Math.floor(Date.now() / 1000), jti: randomUUID() });
  for (let i = 0; i < 12; i++) {
    assert.equal(await set(keep('an ecb envelope', seal(next()))), 0);
    const timestamp = String(Date.now());
    assert.equal(
      await set(keep('a bound envelope', sealBound(next(), timestamp)), {
        'Pin-Envelope': 'bound',
        Timestamp: timestamp,
      }),
      0,
    );
    assert.equal(await set(keep('a jwe envelope', await sealJwe(jwk, claims(next()))), { 'Pin-Envelope': 'jwe' }), 0);
  }
  for (let i = 0; i < 4; i++) {
    assert.equal(await set(keep('an envelope', seal(next())), {}, { card_no: FROZEN_CARD.cardNo }), 4005);
    assert.equal(await set(keep('an envelope', seal(next())), {}, { cardholder_no: SECOND_CARDHOLDER_NO }), 4001);
    assert.equal(await set(keep('an envelope', seal(next(), 'other-api-secret-0123456789abcde'))), 4016);
    assert.equal(await set(next()), 4016, 'in clear');
    assert.equal(
      await set(await sealJwe(jwk, { ...claims(next()), card_no: SECOND_CARDHOLDERS_CARD.cardNo }), {
        'Pin-Envelope': 'jwe',
      }),
      4016,
    );
    assert.equal(
      await call('/card/pin/set', { card_no: next(), cardholder_no: `${next()}!`, pin: { clear: next() } }),
      1004,
    );
  }
  assert.equal(await call(`/nowhere?pin=${next()}&token=${token}`), 1004);

  // Policies that look at everything, and PINs that they refuse.
  const policies = PIN_POLICY_NAMES.filter((name) => name !== 'history').map((name) => `${name}=refuse`);
  await operate(['merchant', 'update', MERCHANT_NO, '--pin-policy', ...policies, 'history=refuse:5']);
  await sleep(1_000);
  const again = next();
  assert.equal(await set(keep('an envelope', seal(again))), 0);
  assert.equal(await set(keep('an envelope', seal(again))), 4016);
  for (const weak of ['272727', '135791', '159357', '280276', '112377', '964217', '730014'])
    assert.equal(await set(keep('an envelope', seal(weak))), 4016);

  // The issuer's side.
  const present = next();
  assert.equal(await set(keep('an envelope', seal(present))), 0);
  assert.equal(await verify(present), 'match');
  assert.equal(await verify(present, { card_no: undefined, pan: panOf(CARD) }), 'match');
  assert.equal(await verify(present, { pin_block: '00'.repeat(16) }), 'malformed');
  for (let i = 0; i < 3; i++) assert.equal(await verify(next()), 'mismatch');
  assert.equal(await verify(present), 'blocked');
  await issuer('GET', `/pin/${CARD}`);
  assert.equal((await issuer('POST', '/pin/unblock', { card_no: CARD })).code, 0);
  const zone = randomBytes(32);
  keep('a zone key', zone.toString('hex'));
  const header = {
    version: 'D',
    usage: 'P0',
    algorithm: 'A',
    modeOfUse: 'D',
    keyVersion: '00',
    exportability: 'N',
    optionalBlocks: [],
  } as const;
  const block = wrapKeyBlock(Buffer.from(ISSUER.keys[1].bytes, 'hex'), { ...header, optionalBlocks: [] }, zone);
  assert.equal(
    (await issuer('POST', '/zone-keys', { label: 'canary', kbpk: PROTECTION_KEY, key_block: block })).code,
    0,
  );
  assert.equal(
    (
      await issuer('POST', '/zone-keys', {
        label: 'canary2',
        kbpk: PROTECTION_KEY,
        key_block: `${block.slice(0, -1)}${block.endsWith('0') ? '1' : '0'}`,
      })
    ).code,
    5003,
  );
  const under = pinBlock(present, CARD, { algorithm: 'AES-256', key: createSecretKey(zone) });
  assert.equal(await verify(present, { pin_block: keep('a PIN block', under), zone_key: 'canary' }), 'match');
  await issuer('DELETE', '/zone-keys/canary');

  // Cards.
  for (const [cvv, code] of [
    ['000', 4003],
    ['685', 0],
  ] as const)
    assert.equal(
      await call('/card/active', {
        card_no: CARD_TO_ACTIVATE.cardNo,
        cardholder_no: HOLDER,
        cvv: keep('a sealed CVV', seal(cvv)),
        card_last_no: '0030',
      }),
      code,
    );
  assert.equal(await call('/card/status/update', { card_no: CARD_TO_ACTIVATE.cardNo, status: 'Frozen' }), 0);
  assert.equal(await call('/card/list', { start_time: '2026-05-01', end_time: '2026-06-30' }), 0);
  assert.equal(await call(`/card/${CARD}/detail`), 0);
  assert.equal(await call(`/card/${CARD}/detail`, undefined, { 'Access-Token': `${token}x` }), 1007);
  assert.equal(await call(`/card/${CARD}/detail`, undefined, { 'Api-Key': SANDBOX_SECRET }), 1008);

  // From applications to cards. What the issuer is told of PANs and share tokens, and the merchant
  // of its token, is told to them alone.
  const shareToken = keep('a share token', `approve-${randomBytes(24).toString('hex')}`);
  const cardholder = { cardholder_unique_no: 'canary', sumsub_share_token: shareToken };
  assert.equal(await call('/cardholder/apply', cardholder), 0);
  assert.equal(await call('/cardholder/apply', { ...cardholder, sumsub_share_token: `${shareToken}x` }), 2001);
  assert.equal(
    await call('/cardholder/apply', { ...cardholder, sumsub_share_token: keep('a share token', randomUUID()) }),
    2006,
  );
  assert.ok((await answerTo('GET', '/cardholder/pending')).includes(shareToken));
  const [, holder = ''] =
    /"cardholder_no":"(U[^"]+)"/.exec((await merchant.call('/cardholder/apply', cardholder)).text) ?? [];
  await until('the sandbox has verified', async () =>
    (await merchant.call(`/cardholder/${holder}/info`)).text.includes('"Approved"'),
  );
  const address = {
    first_name: keep('an address', 'Wilhelmina'),
    last_name: keep('an address', 'Featherstonehaugh'),
    phone_code: '44',
    phone: keep('an address', '7911123456'),
    postal_code: 'SW1A 1AA',
    country: 'GB',
    state: 'Greater London',
    city: 'London',
    address_line1: keep('an address', '4711 Canary Yellow Lane'),
  };
  const application = {
    card_bin_no: BIN_NO,
    cardholder_no: holder,
    card_unique_no: 'pending-canary',
    card_type: 'Physical',
  };
  assert.equal(await call('/card/apply', { ...application, address_info: { ...address, city: '伦敦' } }), 2008);
  assert.equal(
    await call('/card/apply', { ...application, address_info: address }, { 'Idempotency-Key': 'canary' }),
    0,
  );
  assert.equal(await call('/card/apply', { ...application, address_info: { ...address, city: 'Leeds' } }), 4002);
  assert.ok((await answerTo('GET', '/card/pending')).includes(address.address_line1));
  const [, applied = ''] =
    /"card_no":"(C[^"]+)"/.exec((await merchant.call('/card/apply', { ...application, address_info: address })).text) ??
    [];
  assert.equal(
    (await issuer('POST', '/card/issued', { card_no: applied, pan: keep('a PAN', sandboxPan(4_710)), expiry: '2001' }))
      .code,
    1004,
  );
  assert.equal((await issuer('POST', '/card/issued', { card_no: applied, pan: panOf(CARD) })).code, 5005);
  const issuedText = await answerTo('POST', '/card/issued', {
    card_no: applied,
    pan: keep('a PAN', sandboxPan(4_711)),
    expiry: '3012',
  });
  const { cvv2 } = (JSON.parse(issuedText) as { data: { cvv2: string } }).data;
  const activation = {
    card_no: applied,
    cardholder_no: holder,
    cvv: keep('a sealed CVV', seal(cvv2)),
    card_last_no: sandboxPan(4_711).slice(-4),
  };
  assert.equal(await call('/card/active', activation), 0);
  assert.equal(await call(`/card/${applied}/private/info`), 0);
  const clientToken = await merchant.call(`/merchant/client/${applied}/token`);
  keep('a client access token', clientToken.data?.client_access_token as string);
  const lines = [sandboxPan(4_712), '4111111111111111'].map((pan) => ({
    ...{
      merchant_no: MERCHANT_NO,
      card_unique_no: keep('a PAN', pan).slice(-4),
      cardholder_no: holder,
      card_type: 'Physical',
    },
    ...{ status: 'Activated', pan, expiry: '3012' },
  }));
  writeFileSync(
    join(installation.scratch, 'cards.jsonl'),
    `${lines.map((one) => JSON.stringify(one)).join('\n')}\n{"pan":"${sandboxPan(4_711)}",\n`,
  );
  const imported = await installation.run([
    'cards',
    'import',
    join(installation.scratch, 'cards.jsonl'),
    '--issuer',
    ISSUER.issuerNo,
  ]);
  assert.match(imported.stdout, /^1 cards added, 0 were there already, 2 lines refused$/m);
  texts.set('what cards import said', imported.stdout + imported.stderr);

  // Operators. What a command shows once, it shows to them alone.
  const made = await operate(['credential', 'create', '--merchant', MERCHANT_NO, '--allow-ip', '127.0.0.1']);
  keep('a secret that was made', /apiSecret +(\S+)/.exec(made)?.[1] as string);
  const issued = await operate([
    'issuer',
    'create',
    '--name',
    'Canary',
    '--merchant',
    MERCHANT_NO,
    '--allow-ip',
    '127.0.0.1',
  ]);
  keep("an issuer's secret", /bearer secret +(\S+)/.exec(issued)?.[1] as string);
  await operate(['keys', 'export-components', 'pan-wrap', '--out', join(installation.scratch, 'shares')]);
  for (const file of readdirSync(join(installation.scratch, 'shares')))
    keep('a component', readFileSync(join(installation.scratch, 'shares', file), 'utf8').trim());
  for (const share of [1, 2]) {
    const hex = keep('a component', randomBytes(16).toString('hex'));
    await operate(['keys', 'import-components', 'cvv', '--share', String(share)], { input: hex });
  }
  await operate(['keys', 'rotate', 'pan-wrap', '--active-in', '0']);
  texts.set('what keys rewrap said', await operate(['keys', 'rewrap']));
  texts.set('what keys list said', await operate(['keys', 'list']));
  texts.set('the exported audit trail', await operate(['audit', 'export']));
  assert.match(await operate(['audit', 'verify']), /^the audit trail is whole/);

  // Writes that the database refuses, and tells of with the whole row.
  const db = openDatabase({ url: (await installation.open()).url });
  for (const [table, check] of [
    ['cards', 'pin_version = 0'],
    ['callback_events', "action <> 'Pin_set'"],
  ]) {
    await db.script(`alter table ${table} add constraint broken check (${check}) not valid`);
    for (let i = 0; i < 3; i++) assert.equal(await set(keep('an envelope', seal(next()))), 1001);
    await db.script(`alter table ${table} drop constraint broken`);
  }
  await db.script("alter table card_applications add constraint broken check (card_no = '') not valid");
  assert.equal(await call('/card/apply', { ...application, card_unique_no: 'broken', address_info: address }), 1001);
  await db.script('alter table card_applications drop constraint broken');
  const tables = await db.tuples<[string]>('tables', `select tablename from pg_tables where schemaname = 'public'`);
  for (const [table] of tables)
    texts.set(
      `the table ${table}`,
      (await db.tuples<[string]>(`read-${table}`, `select to_json(t)::text from ${table} t`)).flat().join('\n'),
    );
  await db.script('checkpoint');

  process.kill(server.pid, 'SIGUSR2');
  const snapshot = await until('the heap is written', () => {
    const name = readdirSync(installation.scratch).find((file) => file.endsWith('.heapsnapshot'));
    const path = name && join(installation.scratch, name);
    return path && readFileSync(path, 'utf8').trimEnd().endsWith('}') ? path : undefined;
  });
  const heap = (JSON.parse(readFileSync(snapshot, 'utf8')) as { strings: string[] }).strings.join('\n');
  await server.stop('SIGTERM');
  await receiver.close();
  assert.ok(receiver.received.length > 0);
  texts.set(
    'what the merchant was told',
    receiver.received.map((told) => JSON.stringify({ ...told, headers: undefined })).join('\n'),
  );
  // Without what it prints for the eye: the sandbox's published credential and a PIN to try.
  texts.set(
    'the log',
    server
      .log()
      .map((line) => JSON.stringify({ ...line, pid: 0 }))
      .join('\n'),
  );
  texts.set('standard error', server.stderr());
  texts.set('the answers', answers.join('\n'));
  const files = new Map<string, Buffer>();
  const place = join(installation.dataDir, 'postgres');
  for (const path of readdirSync(place, { recursive: true, encoding: 'utf8' })) {
    const whole = join(place, path);
    if (statSync(whole).isFile()) files.set(path, readFileSync(whole));
  }
  await db.close();
  for (const { apiKey, apiSecret } of credentials) secrets.set(`the secret of ${apiKey}`, apiSecret);
  for (const { cardNo, pan } of cards) secrets.set(`the PAN of ${cardNo}`, pan);
  secrets.set("the sandbox issuer's secret", ISSUER.secret);
  for (const { label, bytes } of ISSUER.keys) secrets.set(`the key ${label}`, bytes);
  return { texts, files, heap, secrets };
}

function hitsOf(pins: string[], text: string): number {
  const counts = countSixDigits(text);
  return pins.reduce((sum, pin) => sum + (counts.get(pin) ?? 0), 0);
}

/** In Base64 and in hex, which are long enough to stand for themselves. */
function encodedHitsOf(pins: string[], text: string): string[] {
  return pins.filter((pin) =>
    ['base64', 'hex'].some((form) => text.includes(Buffer.from(pin).toString(form as 'hex'))),
  );
}

for (const provider of ['a sealed file', 'an HSM'] as const) {
  describe(`with keys in ${provider}`, { skip: provider === 'an HSM' && noHsm }, () => {
    let remains: Remains;
    test('every flow runs', async (t) => {
      const soft = provider === 'an HSM' ? softHsm() : undefined;
      after(() => soft?.close());
      const installation = install({ after: (work) => after(work) }, { env: soft?.env ?? {} });
      mkdirSync(join(installation.scratch, 'shares'), { recursive: true });
      remains = await drive(installation);
      assert.ok(
        remains.secrets.size > 80 &&
          remains.heap.length > 1_000_000 &&
          (remains.texts.get('the log')?.length ?? 0) > 10_000,
      );
      t.diagnostic(
        `${remains.secrets.size} secrets, ${remains.texts.size} texts, ${remains.files.size} files, ${remains.heap.length} characters of heap`,
      );
    });

    test('no used PIN is in any text: log, answer, event, table, output of a command', () => {
      for (const [place, text] of remains.texts) {
        assert.equal(hitsOf(usedPins, text), 0, place);
        assert.deepEqual(encodedHitsOf(usedPins, text), [], place);
      }
    });

    test('used PINs are in the database files and the write-ahead log no more often than unused PINs', () => {
      const text = [...remains.files.values()].map((bytes) => bytes.toString('latin1')).join('\n');
      const [used, control] = [hitsOf(usedPins, text), hitsOf(controlPins, text)];
      // Chance gives both sides a few; sets that left their PIN would give one a set, at least.
      assert.ok(used <= control + 5, `${used} hits of used PINs, ${control} of others`);
      assert.deepEqual(encodedHitsOf(usedPins, text), []);
    });

    test('no used PIN is on the V8 heap', (t) => {
      const [used, control] = [hitsOf(usedPins, remains.heap), hitsOf(controlPins, remains.heap)];
      t.diagnostic(`${used} hits of used PINs, ${control} of others`);
      assert.ok(hitsOf(['142536'], remains.heap) > 0, 'the search finds the PIN that stands in the greeting');
      assert.ok(used <= control, `${used} hits of used PINs, ${control} of others`);
      assert.deepEqual(encodedHitsOf(usedPins, remains.heap), []);
    });

    test('no PAN, secret, token, key, component or envelope is in a text or a file: plain, in hex, in Base64, or decoded', () => {
      const look = searchFor(new Map([...remains.secrets].flatMap(([what, value]) => formsOf(what, value))));
      for (const [place, text] of remains.texts) assert.deepEqual(look(Buffer.from(text, 'utf8')), [], place);
      for (const [path, bytes] of remains.files) assert.deepEqual(look(bytes), [], path);
    });

    test('no CVV is the value of a member or a column', () => {
      const cvvs = cards.map(({ pan }) =>
        cardVerificationValue(Buffer.from(SANDBOX_CVK, 'hex'), pan, EXPIRY_YYMM, '000'),
      );
      const anything = /"(ms|status|content-length|seq|version|time|pid)":"?[0-9.]+"?/g;
      for (const [place, text] of remains.texts)
        assert.doesNotMatch(text.replaceAll(anything, ''), new RegExp(`":"?(${cvvs.join('|')})["\\s,}\\]]`), place);
    });

    test('the heap has no other secrets than SECURITY.md says', (t) => {
      const look = searchFor(new Map([...remains.secrets].map(([what, value]) => [what, Buffer.from(value)])));
      const kinds = new Set(
        look(Buffer.from(remains.heap, 'utf8')).map((what) =>
          what.replace(/ \d+$/, '').replace(/^(the (secret|PAN)) of .*/, '$1'),
        ),
      );
      t.diagnostic(`on the heap: ${[...kinds].sort().join('; ')}`);
      const told =
        /<!-- on the heap: (.*) -->/
          .exec(readFileSync(new URL('../../SECURITY.md', import.meta.url), 'utf8'))?.[1]
          ?.split('; ') ?? [];
      for (const kind of kinds)
        assert.ok(told.includes(kind), `SECURITY.md does not say that ${kind} stays on the heap`);
    });
  });
}
