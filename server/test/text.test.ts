import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { readText } from '../src/files.ts';
import { createIssuer } from '../src/issuers/create-issuer.ts';
import { readKeyFile } from '../src/keys/key-file.ts';
import { createMerchant } from '../src/merchants/create-merchant.ts';
import { updateMerchant } from '../src/merchants/update-merchant.ts';
import { createBin } from '../src/products/create-bin.ts';
import { createPackage } from '../src/products/create-package.ts';
import { ISSUER, sandboxPan } from '../src/sandbox/world.ts';
import {
  API_KEY,
  BIN_NO,
  CARD_TO_ACTIVATE,
  CARDHOLDER_NO,
  FIRST_CARD,
  ISSUER_NO,
  MERCHANT_NO,
  wireNamesOf,
} from './support/sandbox.ts';
import { MAIN } from './support/server-process.ts';
import {
  type Answer,
  answerOf,
  type Headers,
  merchantOf,
  operatorOf,
  startPlatform,
  type TestPlatform,
} from './support/test-platform.ts';

let platform: TestPlatform;
let token: string;
let scratch: string;
before(async () => {
  platform = await startPlatform();
  token = await merchantOf(platform).token();
  scratch = mkdtempSync(join(tmpdir(), 'pinward-text-'));
});
after(async () => {
  await platform.close();
  rmSync(scratch, { recursive: true });
});

/** How many rows each table has: what a refused call must leave as it is. */
async function rowsOf(): Promise<unknown> {
  const tables = ['cards', 'cardholders', 'audit_records', 'callback_events', 'idempotency_keys', 'card_bins'];
  const counts = tables.map((table) => `(select count(*) from ${table}) as ${table}`);
  return platform.db.query(`rows`, `select ${counts.join(', ')}`);
}
let rowsBefore: unknown;
beforeEach(async () => {
  rowsBefore = await rowsOf();
});

const JSON_TYPE = 'application/json';

/** Sends bytes to a call of the merchant or, by its path, of the issuer. */
async function sendBytes(path: string, bytes: Buffer | string, more: Headers = {}): Promise<Answer> {
  const ofIssuer = path.startsWith('/issuer');
  const who: Headers = ofIssuer
    ? { authorization: `Bearer ${ISSUER.secret}` }
    : { 'api-key': API_KEY, timestamp: String(platform.clock.now), 'access-token': token };
  const headers = Object.fromEntries(
    Object.entries({ ...who, 'content-type': JSON_TYPE, ...more }).filter(([, value]) => value !== undefined),
  ) as Record<string, string>;
  const url = ofIssuer ? path : `/open-api/v1${path}`;
  return answerOf(await platform.app.inject({ method: 'POST', url, headers, payload: bytes }));
}
const send = (path: string, body: object, more: Headers = {}) => sendBytes(path, JSON.stringify(body), more);

async function refusesWith(answer: Answer, text: string): Promise<void> {
  assert.equal(`${answer.httpStatus} ${answer.code} ${answer.msg}`, `200 1004 ${text}`);
  assert.deepEqual(await rowsOf(), rowsBefore, 'nothing is stored');
}

const ADDRESS = {
  first_name: 'Mary',
  last_name: 'Li',
  phone_code: '86',
  phone: '13800138000',
  postal_code: '518000',
  country: 'CN',
  state: 'Guangdong',
  city: 'Shenzhen',
  address_line1: 'No. 1 Shennan Road',
};
const APPLICATION = {
  card_bin_no: BIN_NO,
  cardholder_no: CARDHOLDER_NO,
  card_unique_no: 'text-1',
  card_type: 'Physical',
  address_info: ADDRESS,
};
const CARDHOLDER = { cardholder_unique_no: 'text-holder', sumsub_share_token: 'approve-text' };
const RANGE = { start_time: '2026-05-01', end_time: '2026-06-01' };
const IMPORTED = {
  merchant_no: MERCHANT_NO,
  card_no: 'C-text-1',
  card_unique_no: 'text-imported',
  cardholder_unique_no: 'text-imported-holder',
  email: 'anna@example.com',
  card_type: 'Physical',
  status: 'Activated',
  card_name: 'Gold',
  pan: sandboxPan(600_000),
  expiry: '3105',
};
const VERDICT = { cardholder_no: CARDHOLDER_NO, status: 'Rejected', reason: 'documents' };
const STATUS = { card_no: FIRST_CARD.cardNo, status: 'Frozen', reason: 'lost' };

/** Every text that a call stores, looks up or opens: path, body, the dotted path of the field. */
const TEXTS: [path: string, body: Record<string, unknown>, field: string][] = [
  ...['card_bin_no', 'cardholder_no', 'card_unique_no'].map(
    (field) => ['/card/apply', APPLICATION, field] satisfies [string, object, string],
  ),
  ...Object.keys(ADDRESS).map(
    (field) => ['/card/apply', APPLICATION, `address_info.${field}`] satisfies [string, object, string],
  ),
  ['/card/apply', APPLICATION, 'address_info.address_line2'],
  ['/cardholder/apply', CARDHOLDER, 'cardholder_unique_no'],
  ['/cardholder/apply', CARDHOLDER, 'sumsub_share_token'],
  ['/card/list', RANGE, 'card_unique_no'],
  ['/card/list', RANGE, 'start_time'],
  ['/cardholder/list', RANGE, 'cardholder_unique_no'],
  ['/card/support/bins', {}, 'card_bin_no'],
  ['/card/status/update', { card_no: FIRST_CARD.cardNo, status: 'Frozen' }, 'card_no'],
  ['/issuer/v1/card/import', IMPORTED, 'card_unique_no'],
  ['/issuer/v1/card/import', IMPORTED, 'cardholder_unique_no'],
  ['/issuer/v1/card/import', IMPORTED, 'card_name'],
  ['/issuer/v1/card/import', IMPORTED, 'email'],
  ['/issuer/v1/card/failed', { card_no: FIRST_CARD.cardNo, reason: 'address' }, 'reason'],
  ['/issuer/v1/card/status', STATUS, 'reason'],
  ['/issuer/v1/cardholder/verification', VERDICT, 'reason'],
  ['/issuer/v1/cardholder/personal', { cardholder_no: CARDHOLDER_NO, phone: '13800138000' }, 'phone'],
  ['/issuer/v1/pin/unblock', { card_no: FIRST_CARD.cardNo }, 'card_no'],
];

/** The body with another text in a field. */
function bodyWith(body: object, field: string, text: string): Record<string, unknown> {
  const [first = '', second] = field.split('.');
  const members = body as Record<string, object>;
  return { ...members, [first]: second === undefined ? text : { ...members[first], [second]: text } };
}

describe('a body', () => {
  test('whose bytes are not UTF-8 is refused, and nothing is stored', async () => {
    for (const bytes of ['café', '\xff', '\xc0\xaf', '\xed\xa0\x80', '\xf4\x90\x80\x80']) {
      const json = JSON.stringify({ ...APPLICATION, card_unique_no: bytes });
      await refusesWith(await sendBytes('/card/apply', Buffer.from(json, 'latin1')), 'Invalid request parameter');
      const byIssuer = Buffer.from(JSON.stringify({ ...IMPORTED, card_unique_no: bytes }), 'latin1');
      await refusesWith(await sendBytes('/issuer/v1/card/import', byIssuer), 'Invalid request parameter');
    }
    const utf16 = Buffer.from(`\ufeff${JSON.stringify(APPLICATION)}`, 'utf16le');
    await refusesWith(await sendBytes('/card/apply', utf16), 'Invalid request parameter');
  });

  for (const charset of ['utf-16', 'UTF-16LE', 'iso-8859-1', '"windows-1252"', 'gbk'])
    test(`with the charset ${charset} is refused on its Content-Type`, async () => {
      const type = { 'content-type': `${JSON_TYPE}; charset=${charset}` };
      await refusesWith(await send('/card/apply', APPLICATION, type), 'Content-Type invalid parameter');
      await refusesWith(await send('/issuer/v1/card/import', IMPORTED, type), 'Content-Type invalid parameter');
    });

  for (const charset of ['utf-8', 'UTF8', '"utf-8"', 'us-ascii'])
    test(`with the charset ${charset} is read`, async () => {
      const type = { 'content-type': `${JSON_TYPE};charset=${charset}` };
      assert.equal((await send('/card/list', RANGE, type)).code, 0);
    });

  test('may begin with a byte order mark', async () => {
    assert.equal((await sendBytes('/card/list', `\ufeff\r\n ${JSON.stringify(RANGE)}\r\n`)).code, 0);
  });

  test('may write characters beyond the first 65,536 as two escapes, and they are stored as what they are', async () => {
    const json = '{"cardholder_unique_no":"\\ud83d\\udcb3 1","sumsub_share_token":"approve-emoji"}';
    const made = await sendBytes('/cardholder/apply', json);
    assert.deepEqual((made.data as { cardholder_unique_no: string }).cardholder_unique_no, '💳 1');
    const found = await send('/cardholder/list', {
      start_time: '2026-06-01',
      end_time: '2026-06-02',
      cardholder_unique_no: '💳 1',
    });
    assert.equal((found.data as { list: object[] }).list.length, 1);
  });

  for (const [path, body, field] of TEXTS)
    test(`of ${path} with an unpaired surrogate or a NUL in ${field} is refused on it`, async () => {
      for (const text of ['\ud800', 'a\udfffb', '\udc00\ud800', 'a\u0000b']) {
        await refusesWith(await send(path, bodyWith(body, field, text)), `${field} invalid parameter`);
      }
    });

  test('is refused for an unpaired surrogate in any place', async () => {
    const lone = '\ud83d';
    const body = wireNamesOf(FIRST_CARD);
    await refusesWith(await send('/card/pin/set', { ...body, pin: lone }), 'pin invalid parameter');
    await refusesWith(
      await send('/card/list', { ...RANGE, unknown: [1, { a: lone }] }),
      'unknown.1.a invalid parameter',
    );
    await refusesWith(await send('/card/list', { ...RANGE, [lone]: 1 }), 'Invalid request parameter');
    await refusesWith(await send('/card/list', { ...RANGE, more: { [lone]: 1 } }), 'more invalid parameter');
    const deep = `{"card_no":"C0","status":"Frozen","x":${'['.repeat(5_000)}"\\ud800"${']'.repeat(5_000)}}`;
    assert.equal((await sendBytes('/card/status/update', deep)).code, 1004);
    assert.deepEqual(await rowsOf(), rowsBefore);
  });
});

describe('outside the body', () => {
  test('bytes that are not UTF-8 in a path or a query are refused', async () => {
    const headers = { 'api-key': API_KEY, timestamp: String(platform.clock.now), 'access-token': token };
    for (const cardNo of ['%FF', '%C0%AF', '%ED%A0%80', '%00', 'C%20'])
      for (const path of [`/card/${cardNo}/detail`, `/cardholder/${cardNo}/info`]) {
        const answer = answerOf(await platform.app.inject({ url: `/open-api/v1${path}`, headers }));
        assert.equal(answer.code, 1004, `${path} ${answer.text}`);
      }
    for (const after of ['%FF', '%00', '%ED%A0%80']) {
      const url = `/issuer/v1/card/pending?after=${after}`;
      const answer = answerOf(
        await platform.app.inject({ url, headers: { authorization: `Bearer ${ISSUER.secret}` } }),
      );
      assert.equal(`${answer.code} ${answer.msg}`, '1004 after invalid parameter', url);
    }
  });

  test('headers that are stored or compared have only ASCII', async () => {
    const frozen = { card_no: FIRST_CARD.cardNo, status: 'Frozen' };
    for (const [header, field] of [
      ['idempotency-key', 'Idempotency-Key'],
      ['pin-envelope', 'Pin-Envelope'],
      ['timezone', 'Timezone'],
    ] as const) {
      const [path, body] =
        header === 'pin-envelope'
          ? ['/card/pin/set', { ...wireNamesOf(FIRST_CARD), pin: 'x' }]
          : header === 'timezone'
            ? ['/card/list', RANGE]
            : ['/card/status/update', frozen];
      await refusesWith(await send(path, body, { [header]: 'k\u00e9\u00ff' }), `${field} invalid parameter`);
    }
    assert.equal((await send('/card/list', RANGE, { 'api-key': 'k\u00ff' })).code, 1008);
    assert.equal((await send('/card/list', RANGE, { 'access-token': 'k\u00ff' })).code, 1007);
  });
});

describe('a call without a body', () => {
  test('is not refused for its Content-Type', async () => {
    const headers = { authorization: `Bearer ${ISSUER.secret}`, 'content-type': JSON_TYPE };
    for (const more of [{}, { 'content-length': '0' }]) {
      const url = '/issuer/v1/zone-keys/no-such-key';
      const gone = answerOf(await platform.app.inject({ method: 'DELETE', url, headers: { ...headers, ...more } }));
      assert.equal(gone.code, 5002, gone.text);
    }
    const listed = answerOf(await platform.app.inject({ url: '/issuer/v1/zone-keys', headers }));
    assert.equal(listed.code, 0);
  });

  test('works where no member of the body is required, and only there', async () => {
    for (const type of [JSON_TYPE, undefined]) {
      assert.equal((await sendBytes('/card/support/bins', '', { 'content-type': type })).code, 0);
      assert.equal((await sendBytes('/card/list', '', { 'content-type': type })).code, 1004);
    }
    assert.equal((await sendBytes('/card/support/bins', 'null')).code, 1004);
  });
});

describe('a required text', () => {
  const BLANKS = [
    ' ',
    '\u3000',
    '.',
    "-'",
    '---',
    '#/()',
    '\u200b',
    '\u2060\u00ad',
    '\u3164',
    '\u2800',
    '\u0301\u0308',
  ];
  const REQUIRED = TEXTS.filter(
    ([path, body, field]) =>
      (path.endsWith('apply') || path.endsWith('import') || field === 'reason' || field === 'phone') &&
      !['card_bin_no', 'cardholder_no', 'card_name', 'address_info.address_line2'].includes(field) &&
      Object.keys(body).length > 0,
  );
  for (const [path, body, field] of REQUIRED)
    test(`of ${path} cannot be blank: ${field}`, async () => {
      for (const blank of BLANKS)
        await refusesWith(await send(path, bodyWith(body, field, blank)), `${field} invalid parameter`);
    });

  test('may be any visible text', async () => {
    for (const uniqueNo of ['0', '-1', '💳', '🇩🇪', '卡', "'; drop table cards; --", ' padded ', 'é', '½', '①', 'ａ'])
      assert.equal(
        (await send('/cardholder/apply', { ...CARDHOLDER, cardholder_unique_no: uniqueNo })).code,
        0,
        uniqueNo,
      );
  });

  test('of an operator cannot be blank', async () => {
    const operator = operatorOf(platform);
    const merchant = { integrationMode: 'AUTHORIZATION', pinRuns: 'arithmetic', pciEnabled: false } as const;
    const bin = { issuerNo: ISSUER_NO, bin: '988887', panDigits: 16, cardTypes: [], currencies: [] };
    const sheet = { package_no: 'P-text', card_bin_no: BIN_NO, package_type: 'Virtual', package_cn_name: '一' };
    const refused = { name: 'OperatorError' };
    for (const name of ['', ...BLANKS, 'two\nlines', 'x'.repeat(129)]) {
      await assert.rejects(createMerchant(operator, { ...merchant, name }), refused);
      await assert.rejects(updateMerchant(operator, MERCHANT_NO, { name }), refused);
      await assert.rejects(createIssuer(operator, { name, merchants: [], ipAllowlist: [] }), refused);
      await assert.rejects(createBin(operator, { ...bin, organization: name }), refused);
      await assert.rejects(createPackage(operator, JSON.stringify({ ...sheet, package_en_name: name })), refused);
    }
    assert.deepEqual(await rowsOf(), rowsBefore);
  });
});

describe("the operator's texts", () => {
  test('on the command line are UTF-8', () => {
    const shell = `exec "$0" "$1" merchant create --name "$(printf 'Caf\\351')"`;
    const env = { ...process.env, PINWARD_DATA_DIR: join(scratch, 'data') };
    const { status, stderr } = spawnSync('sh', ['-c', shell, process.execPath, MAIN], { encoding: 'utf8', env });
    assert.deepEqual(
      [status, stderr],
      [1, 'pinward-server: an argument is not text in UTF-8: check the locale of the terminal\n'],
    );
  });

  test('in a file are UTF-8; a byte order mark is skipped', async () => {
    const path = join(scratch, 'sheet.json');
    for (const bytes of [Buffer.from('{"a":"caf\xe9"}', 'latin1'), Buffer.from('\ufeff{}', 'utf16le')]) {
      writeFileSync(path, bytes);
      assert.throws(() => readText(path, 1_024), { name: 'UnfitFileError', message: /is not text in UTF-8/ });
    }
    writeFileSync(path, '\ufeff{"a":"é"}\r\n');
    assert.deepEqual(JSON.parse(readText(path, 1_024)), { a: 'é' });
  });

  test('in a package sheet have no unpaired surrogate and no NUL', async () => {
    const sheet = { package_no: 'P-text', card_bin_no: BIN_NO, package_type: 'Virtual', package_en_name: 'One' };
    for (const [member, text] of [
      ['package_cn_name', '\ud800'],
      ['en_desc', 'a\u0000'],
      ['cn_desc', '\udfff'],
    ] as const)
      await assert.rejects(
        createPackage(operatorOf(platform), JSON.stringify({ package_cn_name: '一', ...sheet, [member]: text })),
        { name: 'OperatorError', message: new RegExp(member) },
      );
  });

  test('a key file may begin with a byte order mark', async () => {
    const path = join(scratch, 'keys.json');
    writeFileSync(path, `\ufeff${readText(process.env.TEST_KEY_FILE as string, 1_000_000)}`);
    const withMark = await readKeyFile(path);
    assert.deepEqual(withMark, await readKeyFile(process.env.TEST_KEY_FILE as string));
  });
});

test('a card that waits for its activation is not found by another spelling of its number', async () => {
  const spelled = `${CARD_TO_ACTIVATE.cardNo}\ufeff`;
  await refusesWith(
    await send('/card/status/update', { card_no: spelled, status: 'Delete' }),
    'card_no invalid parameter',
  );
});
