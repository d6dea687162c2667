import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { merchantDocument } from '../src/api/openapi.ts';
import { simulateTurn } from '../src/sandbox/simulated-issuer.ts';
import { sandboxPan } from '../src/sandbox/world.ts';
import { type Contract, contractOf, documentFaults, type JudgedAnswer } from './support/contract.ts';
import { type IssuerHost, issuerOf } from './support/issuer.ts';
import {
  BIN_NO,
  CARD_TO_ACTIVATE,
  CARDHOLDER_NO,
  CREDIT_API_KEY,
  CREDIT_MERCHANTS_CARDHOLDER_NO,
  FIRST_CARD,
  FROZEN_CARD,
  MERCHANT_NO,
  OTHER_API_KEY,
  SECOND_CARDHOLDER_NO,
  seal,
  VIRTUAL_CARD,
  VIRTUAL_PACKAGE_NO,
} from './support/sandbox.ts';
import {
  type Answer,
  type Headers,
  type Merchant,
  merchantOf,
  startPlatform,
  type TestPlatform,
} from './support/test-platform.ts';

/*
 * The published API's own sample requests, with what they leave open filled in, and the refusals of
 * each call. Every answer is held against the OpenAPI document, and the members of `data` against
 * those that the published samples show.
 */

const PREFIX = '/open-api/v1';
const JSON_TYPE = { 'content-type': 'application/json' }; // which the published samples send with GET too
const LIST_HEADERS = { ...JSON_TYPE, timezone: 'UTC+8' };
/** The samples' own range, and one in which the sandbox has something. */
const SAMPLE_RANGE = { start_time: '2026-01-01', end_time: '2026-03-31' };
const RANGE = { start_time: '2026-05-01', end_time: '2026-06-30' };
const PAGE = { page: 0, size: 10 };

const CARD = 'card_no card_unique_no cardholder_no card_type card_last_no organization status time';
const LIMITS = 'limit_balance limit_week_balance limit_atm_day_balance limit_atm_month_balance';
const PACKAGE = [
  'package_no package_en_name package_cn_name card_bin card_bin_no organization package_type en_desc cn_desc',
  'en_tag_list cn_tag_list consumption_limit fee_detail',
].join(' ');
const FEES = [
  'consume_rate open_cost cross_consume_rate small_consume_threshold small_consume_deduct free_small_consume_count',
  'free_small_excuse_type free_small_excuse_days refund_rate consume_cancle_fee consume_cancel_threshold decline_fee',
  'decline_fee_free_count decline_fee_free_type decline_fee_free_days atm_rate atm_min_fee apple_pay_fee manage_fee_type',
  'manage_fee management_fee_free_type free_management_fee_threshold',
].join(' ');

let platform: TestPlatform;
let merchant: Merchant;
let credit: Merchant;
let issuer: IssuerHost;
let contract: Contract;
let issuerContract: Contract;
let issuerDocument: object;
/** Operations that were answered, and those that were refused. */
const answered = new Set<string>();
const refused = new Set<string>();

before(async () => {
  platform = await startPlatform();
  merchant = merchantOf(platform);
  credit = merchantOf(platform, CREDIT_API_KEY);
  issuer = issuerOf(platform);
  issuerDocument = (await platform.app.inject('/issuer/openapi.json')).json();
  contract = contractOf(merchantDocument(platform.app));
  issuerContract = contractOf(issuerDocument);
});
after(() => platform.close());

type Method = 'GET' | 'POST';

/** Calls, and gives the answer once the document has been found to have it. */
async function ask(
  as: Merchant,
  code: number,
  method: Method,
  path: string,
  body?: object,
  headers: Headers = JSON_TYPE,
): Promise<Answer> {
  const answer = await as.call(method, path, body, headers);
  const operation = await contract.judgeAnswer(method, `${PREFIX}${path}`, answer);
  assert.equal(answer.code, code, answer.text);
  if (code === 0 && body !== undefined) await contract.judgeRequest(method, `${PREFIX}${path}`, body);
  (code === 0 ? answered : refused).add(operation);
  return answer;
}

async function askAsIssuer(
  code: number,
  method: Method,
  path: string,
  body?: object,
  headers: Headers = {},
): Promise<Answer> {
  const answer = await issuer.call(method, path, body, headers);
  const operation = await issuerContract.judgeAnswer(method, `/issuer/v1${path}`, answer);
  assert.equal(answer.code, code, answer.text);
  if (code === 0 && body !== undefined) await issuerContract.judgeRequest(method, `/issuer/v1${path}`, body);
  (code === 0 ? answered : refused).add(operation);
  return answer;
}

function hasMembers(object: unknown, names: string): void {
  assert.deepEqual(Object.keys(object as object).sort(), names.split(' ').sort());
}

const dataOf = (answer: Answer) => answer.data as Record<string, unknown>;
const listOf = (answer: Answer) => (answer.data as { list: Record<string, unknown>[] }).list;
/** The sandbox decides on what has been applied for. */
async function decide(): Promise<void> {
  platform.clock.now += 1_000;
  await simulateTurn(platform.services);
}

const ADDRESS = {
  first_name: 'San',
  last_name: 'Zhang',
  phone_code: '86',
  phone: '13800138000',
  postal_code: '518000',
  country: 'CN',
  state: 'Guangdong',
  city: 'Shenzhen',
  address_line1: 'No. 1 Shennan Road',
  address_line2: '',
};
const CARDHOLDER = {
  cardholder_no: '',
  cardholder_unique_no: 'MERCHANT_USER_001',
  sumsub_share_token: 'approve-your_sumsub_share_token',
};
const APPLICATION = {
  card_bin_no: BIN_NO,
  cardholder_no: CARDHOLDER_NO,
  package_no: '',
  card_type: 'Virtual',
  card_unique_no: 'MERCHANT_CARD_001',
  address_info: ADDRESS,
};
const BY_PACKAGE = {
  ...APPLICATION,
  card_bin_no: '',
  package_no: VIRTUAL_PACKAGE_NO,
  cardholder_no: CREDIT_MERCHANTS_CARDHOLDER_NO,
};
const ACTIVATION = {
  cardholder_no: CARDHOLDER_NO,
  card_no: CARD_TO_ACTIVATE.cardNo,
  cvv: seal('685'),
  card_last_no: '0030',
};
const PIN = { card_no: FIRST_CARD.cardNo, cardholder_no: CARDHOLDER_NO, pin: seal('142536') };
const FREEZE = { card_no: FIRST_CARD.cardNo, status: 'Frozen' };

describe('the OpenAPI documents', () => {
  test('are OpenAPI 3.1', async () => {
    assert.deepEqual(await documentFaults(merchantDocument(platform.app)), []);
    assert.deepEqual(await documentFaults(issuerDocument), []);
  });

  test('fail the check if they are not', async () => {
    type Broken = {
      info?: object;
      paths: Record<string, { post: { parameters: { in?: string }[]; responses: object; requestBody: never } }>;
    };
    const broken = (change: (document: Broken) => void) => {
      const document = structuredClone(merchantDocument(platform.app)) as unknown as Broken;
      change(document);
      return documentFaults(document);
    };
    const call = `${PREFIX}/card/list`;
    assert.notDeepEqual(await broken((document) => delete document.info), []);
    assert.notDeepEqual(await broken((document) => delete document.paths[call]?.post.parameters[0]?.in), []);
    assert.notDeepEqual(
      await broken((document) => Object.assign(document.paths[call]!.post.responses, { 299: {} })),
      [],
    );
    const schema = { type: 'strong' };
    const content = { 'application/json': { schema } };
    assert.notDeepEqual(
      await broken((document) => Object.assign(document.paths[call]!.post, { requestBody: { content } })),
      [],
    );
  });
});

describe('a published sample is answered as the document and the sample say', () => {
  test('merchant/token', async () => {
    const answer = await merchant.call('GET', '/merchant/token', undefined, {
      ...JSON_TYPE,
      'access-token': undefined,
    });
    answered.add(await contract.judgeAnswer('GET', `${PREFIX}/merchant/token`, answer));
    hasMembers(answer.data, 'access_token expired_time');
  });

  test('cardholder/apply', async () => {
    hasMembers(
      (await ask(merchant, 0, 'POST', '/cardholder/apply', CARDHOLDER)).data,
      'cardholder_no cardholder_unique_no',
    );
    await decide();
  });

  test('cardholder/list', async () => {
    const body = { cardholder_no: '', cardholder_unique_no: '', ...SAMPLE_RANGE, ...PAGE };
    assert.deepEqual(listOf(await ask(merchant, 0, 'POST', '/cardholder/list', body, LIST_HEADERS)), []);
    const list = listOf(await ask(merchant, 0, 'POST', '/cardholder/list', { ...body, ...RANGE }, LIST_HEADERS));
    assert.equal(list.length, 3);
    for (const one of list) hasMembers(one, 'cardholder_no cardholder_unique_no email fail_reason status time');
  });

  test('cardholder/{cardholder_no}/info', async () => {
    const { data } = await ask(merchant, 0, 'GET', '/cardholder/U202605220001/info');
    hasMembers(data, 'cardholder_no cardholder_unique_no email status total_balance time card_list');
    const { card_list } = data as { card_list: object[] };
    assert.equal(card_list.length, 4);
    for (const card of card_list) hasMembers(card, CARD);
  });

  test('card/support/bins', async () => {
    const [bin] = listOf(await ask(merchant, 0, 'POST', '/card/support/bins', { card_bin_no: '', ...PAGE }));
    hasMembers(bin, 'card_bin_no card_bin organization support_physical support_virtual currencies balance_limit');
    hasMembers(bin?.balance_limit, LIMITS);
  });

  test('card/package/list', async () => {
    const list = listOf(
      await ask(credit, 0, 'POST', '/card/package/list', { type: 'Virtual', package_no: '', ...PAGE }),
    );
    assert.equal(list.length, 1);
    hasMembers(list[0], PACKAGE);
    hasMembers(list[0]?.consumption_limit, LIMITS);
    hasMembers(list[0]?.fee_detail, FEES);
  });

  test('card/apply, by BIN and by package', async () => {
    hasMembers((await ask(merchant, 0, 'POST', '/card/apply', APPLICATION)).data, 'card_no card_unique_no');
    const physical = { ...APPLICATION, card_unique_no: 'MERCHANT_CARD_002', card_type: 'Physical' };
    hasMembers((await ask(merchant, 0, 'POST', '/card/apply', physical)).data, 'card_no card_unique_no');
    const { card_no: cardNo } = dataOf(await ask(credit, 0, 'POST', '/card/apply', BY_PACKAGE));

    const { data: pending } = await ask(credit, 0, 'GET', `/card/${cardNo}/detail`);
    assert.equal((pending as { status: string }).status, 'Pending');
    await decide();
    const { data } = await ask(credit, 0, 'GET', `/card/${cardNo}/detail`);
    const { status, package_name_en, fee_detail } = data as Record<string, unknown>;
    assert.deepEqual([status, package_name_en], ['Activated', 'Sandbox virtual card']);
    hasMembers(fee_detail, FEES);
  });

  test('card/list', async () => {
    const body = { cardholder_no: '', card_unique_no: '', card_no: '', ...SAMPLE_RANGE, ...PAGE };
    assert.deepEqual(listOf(await ask(merchant, 0, 'POST', '/card/list', body, LIST_HEADERS)), []);
    const list = listOf(await ask(merchant, 0, 'POST', '/card/list', { ...body, ...RANGE }, LIST_HEADERS));
    assert.equal(list.length, 7);
    for (const card of list) hasMembers(card, CARD);
  });

  test('card/{card_no}/detail', async () => {
    const { data } = await ask(merchant, 0, 'GET', '/card/C202605220001/detail');
    hasMembers(data, `${CARD} card_name package_name_en package_name_cn fee_detail`);
  });

  test('card/{card_no}/private/info', async () => {
    const { data } = await ask(merchant, 0, 'GET', '/card/C202605220001/private/info');
    assert.equal(typeof data, 'string');
  });

  test('merchant/client/{card_no}/token', async () => {
    hasMembers(
      (await ask(merchant, 0, 'GET', '/merchant/client/C202605220001/token')).data,
      'client_access_token expires_in',
    );
  });

  test('card/active, card/pin/set, card/status/update', async () => {
    assert.deepEqual((await ask(merchant, 0, 'POST', '/card/active', ACTIVATION)).data, { result: true });
    assert.deepEqual((await ask(merchant, 0, 'POST', '/card/pin/set', PIN)).data, { result: true });
    assert.deepEqual((await ask(merchant, 0, 'POST', '/card/status/update', FREEZE)).data, { result: true });
    assert.deepEqual((await ask(merchant, 0, 'POST', '/card/status/update', { ...FREEZE, status: 'Activated' })).data, {
      result: true,
    });
  });
});

describe('an answer that is repeated is as the document says', () => {
  const headers = { ...JSON_TYPE, 'idempotency-key': 'key-1' };

  test('a success', async () => {
    const first = await ask(merchant, 0, 'POST', '/card/status/update', FREEZE, headers);
    const second = await ask(merchant, 0, 'POST', '/card/status/update', FREEZE, headers);
    assert.deepEqual([second.text, second.headers['idempotent-replayed']], [first.text, 'true']);
    await ask(merchant, 0, 'POST', '/card/status/update', { ...FREEZE, status: 'Activated' });
  });

  test('a refusal', async () => {
    await ask(merchant, 1023, 'POST', '/card/status/update', { ...FREEZE, status: 'Delete' }, headers);
    await ask(merchant, 1004, 'POST', '/card/status/update', FREEZE, { ...headers, 'idempotency-key': ' ' });
  });
});

describe('a refusal is as the document says', () => {
  const list = { ...RANGE, ...PAGE };
  const refusals: [code: number, method: Method, path: string, body?: object, headers?: Headers][] = [
    [2001, 'POST', '/cardholder/apply', { ...CARDHOLDER, sumsub_share_token: 'approve-another' }],
    [2002, 'POST', '/cardholder/apply', { ...CARDHOLDER, cardholder_no: 'U000' }],
    [
      2003,
      'POST',
      '/cardholder/apply',
      { ...CARDHOLDER, cardholder_no: CARDHOLDER_NO, cardholder_unique_no: 'unique-U202605220001' },
    ],
    [2006, 'POST', '/cardholder/apply', { ...CARDHOLDER, sumsub_share_token: 'your_sumsub_share_token' }],
    [2011, 'POST', '/cardholder/apply', { ...CARDHOLDER, cardholder_no: CARDHOLDER_NO }],
    [1004, 'POST', '/cardholder/apply', { cardholder_no: '' }],
    [1019, 'POST', '/cardholder/list', { ...list, end_time: '2026-04-01' }],
    [2002, 'GET', '/cardholder/U000/info'],
    [1004, 'GET', '/cardholder/%20/info'],
    [1004, 'POST', '/card/support/bins', { size: 101 }],
    [1012, 'POST', '/card/package/list', { type: 'Virtual', package_no: '', ...PAGE }],
    [1004, 'POST', '/card/apply', { ...APPLICATION, card_bin_no: '' }],
    [1012, 'POST', '/card/apply', { ...APPLICATION, package_no: VIRTUAL_PACKAGE_NO }],
    [2002, 'POST', '/card/apply', { ...APPLICATION, card_unique_no: 'new', cardholder_no: 'U000' }],
    [2008, 'POST', '/card/apply', { ...APPLICATION, address_info: { ...ADDRESS, city: '深圳' } }],
    [2010, 'POST', '/card/apply', { ...APPLICATION, address_info: { ...ADDRESS, postal_code: '5180' } }],
    [4002, 'POST', '/card/apply', { ...APPLICATION, card_type: 'Physical' }],
    [4004, 'POST', '/card/apply', { ...APPLICATION, card_unique_no: 'new', card_bin_no: 'B000' }],
    [4010, 'POST', '/card/apply', { ...APPLICATION, address_info: { ...ADDRESS, phone_code: '999' } }],
    [1020, 'POST', '/card/list', { ...list, start_time: '2026-01-01' }],
    [1004, 'POST', '/card/list', list, { timezone: 'Mars' }],
    [4001, 'GET', '/card/C000/detail'],
    [4001, 'GET', '/card/C202605220006/private/info'],
    [4001, 'GET', '/merchant/client/C000/token'],
    [4005, 'POST', '/card/active', { ...ACTIVATION, card_no: FIRST_CARD.cardNo, card_last_no: '1234' }], // the published sample's own values
    [4017, 'POST', '/card/active', { ...ACTIVATION, card_no: VIRTUAL_CARD.cardNo }],
    [4001, 'POST', '/card/status/update', { ...FREEZE, card_no: 'C000' }],
    [4005, 'POST', '/card/status/update', { ...FREEZE, status: 'Activated' }],
    [1004, 'POST', '/card/status/update', { ...FREEZE, status: 'Pending' }],
    [4001, 'POST', '/card/pin/set', { ...PIN, cardholder_no: SECOND_CARDHOLDER_NO }],
    [4005, 'POST', '/card/pin/set', { ...PIN, card_no: FROZEN_CARD.cardNo }],
    [4016, 'POST', '/card/pin/set', { ...PIN, pin: 'Base64EncodedEncryptedPin...' }], // the published sample's own value
    [4017, 'POST', '/card/pin/set', { ...PIN, card_no: VIRTUAL_CARD.cardNo }],
  ];
  for (const [code, method, path, body, headers] of refusals)
    test(`${code} of ${method} ${path}, in English and in Chinese`, async () => {
      await ask(merchant, code, method, path, body, headers);
      await ask(merchant, code, method, path, body, { ...headers, language: 'zh_CN' });
    });

  test('in the other mode', async () => {
    await ask(credit, 1012, 'POST', '/card/support/bins', { card_bin_no: '', ...PAGE });
    await ask(merchantOf(platform, OTHER_API_KEY), 1013, 'GET', '/card/C202605220006/private/info');
    await ask(merchantOf(platform, OTHER_API_KEY), 1013, 'GET', '/merchant/client/C202605220006/token');
  });

  test('by the gate, of every call', async () => {
    for (const operation of contract.operations.filter((one) => one.includes(`${PREFIX}/`))) {
      const [method, template = ''] = operation.split(' ') as [Method, string];
      const path = template.slice(PREFIX.length).replaceAll(/\{\w+\}/g, FIRST_CARD.cardNo);
      const faulty: [number, Headers][] = [
        [1002, { 'api-key': undefined }],
        [1008, { 'api-key': 'nobody' }],
        [1005, { timestamp: '1716307200000' }], // the published samples' own
      ];
      if (path !== '/merchant/token')
        faulty.push([1006, { 'access-token': undefined }], [1007, { 'access-token': 'your_access_token' }]);
      for (const [code, headers] of faulty)
        await ask(merchant, code, method, path, method === 'POST' ? {} : undefined, headers);
    }
  });
});

describe('the issuer is answered as its document says', () => {
  const PENDING = 'card_no merchant_no card_unique_no cardholder_no card_type card_bin_no time';
  const imported = {
    merchant_no: MERCHANT_NO,
    card_unique_no: 'brought-1',
    cardholder_no: CARDHOLDER_NO,
    card_type: 'Physical',
    status: 'Activated',
    pan: sandboxPan(8_001),
    expiry: '2901',
  };
  const apply = async (uniqueNo: string) => {
    const body = { ...APPLICATION, card_type: 'Physical', card_unique_no: uniqueNo };
    return dataOf(await ask(merchant, 0, 'POST', '/card/apply', body)).card_no as string;
  };

  test('on cards that wait for it', async () => {
    const [first, second] = [await apply('pending-1'), await apply('pending-2')];
    const byPackage = { ...BY_PACKAGE, address_info: undefined, card_unique_no: 'pending-3' };
    await credit.call('POST', '/card/apply', byPackage);
    const list = listOf(await askAsIssuer(0, 'GET', '/card/pending?size=100'));
    const byNumber = new Map(list.map((card) => [card.card_unique_no, card]));
    hasMembers(byNumber.get('pending-1'), `${PENDING} address_info`);
    hasMembers(byNumber.get('pending-3'), `${PENDING} package_no`);
    const { data } = await askAsIssuer(0, 'POST', '/card/issued', {
      card_no: first,
      pan: sandboxPan(8_002),
      expiry: '3105',
    });
    hasMembers(data, 'card_no status pan expiry cvv2');
    await ask(merchant, 4005, 'GET', `/card/${first}/private/info`);
    await askAsIssuer(0, 'POST', '/card/failed', { card_no: second, reason: 'No stock' });
    await askAsIssuer(0, 'POST', '/card/import', imported);
    await askAsIssuer(0, 'POST', '/card/status', { card_no: first, status: 'Delete', reason: 'Lost' });
  });

  test('on cardholders that wait for it', async () => {
    const applied = dataOf(
      await ask(merchant, 0, 'POST', '/cardholder/apply', {
        cardholder_unique_no: 'p-1',
        sumsub_share_token: 'pending-1',
      }),
    );
    const list = listOf(await askAsIssuer(0, 'GET', '/cardholder/pending'));
    assert.equal(list.length, 1);
    const cardholder_no = applied.cardholder_no as string;
    await askAsIssuer(0, 'POST', '/cardholder/verification', { cardholder_no, status: 'In_progress' });
    const approval = { status: 'Approved', email: 'a@example.com', birth_date: '1990-01-31', phone: '13800138000' };
    await askAsIssuer(0, 'POST', '/cardholder/verification', { cardholder_no, ...approval });
    await askAsIssuer(0, 'POST', '/cardholder/personal', { cardholder_no, birth_date: '1990-01-31' });
  });

  const refusals: [code: number, method: Method, path: string, body?: object][] = [
    [1004, 'GET', '/card/pending?size=101'],
    [4001, 'POST', '/card/issued', { card_no: 'C000' }],
    [4001, 'POST', '/card/failed', { card_no: 'C000', reason: 'x' }],
    [5005, 'POST', '/card/import', { ...imported, card_unique_no: 'brought-2' }],
    [4001, 'POST', '/card/status', { card_no: 'C000', status: 'Frozen' }],
    [1004, 'GET', '/cardholder/pending?size=0'],
    [2002, 'POST', '/cardholder/verification', { cardholder_no: 'U000', status: 'Approved' }],
    [1004, 'POST', '/cardholder/personal', {}],
  ];
  for (const [code, method, path, body] of refusals)
    test(`when it is refused with ${code}: ${method} ${path}`, async () => {
      await askAsIssuer(code, method, path, body);
    });

  test('when its credential is unknown', async () => {
    for (const [, method, path, body] of refusals)
      await askAsIssuer(5001, method, path, body, { authorization: 'Bearer nobody' });
  });
});

test('every call of the documents was answered, and refused', () => {
  const gated = contract.operations.filter((operation) => operation.includes(' /open-api/'));
  const issuers = issuerContract.operations.filter((operation) => /\/issuer\/v1\/card(holder)?\//.test(operation));
  assert.deepEqual([...answered].sort(), [...gated, ...issuers].sort());
  assert.deepEqual([...refused].sort(), [...gated, ...issuers].sort());
});

describe('an answer that is not as the document says is found out', () => {
  const path = `${PREFIX}/card/list`;
  let good: JudgedAnswer;
  before(async () => {
    good = await merchant.call('POST', '/card/list', { ...RANGE, ...PAGE });
    await contract.judgeAnswer('POST', path, good);
  });
  type Body = {
    code: unknown;
    msg?: string;
    data?: { list: Record<string, unknown>[]; [more: string]: unknown };
    [more: string]: unknown;
  };
  const changed = (change: (body: Body) => unknown): JudgedAnswer => {
    const body = JSON.parse(good.text) as Body;
    change(body);
    return { ...good, text: JSON.stringify(body) };
  };
  const wrong: [what: string, answer: () => JudgedAnswer][] = [
    ['a member too many beside data', () => changed((body) => Object.assign(body, { trace: 'x' }))],
    ['a member too many in data', () => changed((body) => Object.assign(body.data!, { total: 7 }))],
    ['a member too many in an item', () => changed((body) => Object.assign(body.data!.list[0]!, { pan: 'x' }))],
    ['a member that is missing in an item', () => changed((body) => delete body.data!.list[0]!.status)],
    ['a status that is none', () => changed((body) => Object.assign(body.data!.list[0]!, { status: 'Active' }))],
    ['a time in words', () => changed((body) => Object.assign(body.data!.list[0]!, { time: '2026-06-01' }))],
    ['a success without data', () => changed((body) => delete body.data)],
    ['a success without msg', () => changed((body) => delete body.msg)],
    ['a code in quotes', () => changed((body) => Object.assign(body, { code: '0' }))],
    ['a failure with data', () => changed((body) => Object.assign(body, { code: 4001 }))],
    ['a code that is none', () => changed((body) => Object.assign(body, { code: 7, data: undefined }))],
    ['another HTTP status', () => ({ ...good, httpStatus: 500 })],
    ['another content type', () => ({ ...good, headers: { ...good.headers, 'content-type': 'text/plain' } })],
    ['a header too many', () => ({ ...good, headers: { ...good.headers, 'x-trace': 'x' } })],
    ['a Retry-After in words', () => ({ ...good, headers: { ...good.headers, 'retry-after': 'soon' } })],
  ];
  for (const [what, answer] of wrong)
    test(what, () => assert.rejects(contract.judgeAnswer('POST', path, answer()), { name: 'AssertionError' }));

  test('a call that is not in the document', async () => {
    await assert.rejects(contract.judgeAnswer('POST', `${PREFIX}/card/lost`, good), { name: 'AssertionError' });
    await assert.rejects(contract.judgeAnswer('GET', path, good), { name: 'AssertionError' });
    await assert.rejects(contract.judgeRequest('POST', path, { ...RANGE, page: '0' }), { name: 'AssertionError' });
  });
});
