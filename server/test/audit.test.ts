import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { changeAllowlist, changeMerchant, createCredential, endCredential } from '../src/merchants/administer.ts';
import { pinBody, seal } from './support/sandbox.ts';
import { merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

type Record = [merchantId: number, cardNo: string, seq: number, atMs: number, action: string, details: string, hash: Buffer];

let platform: TestPlatform;
before(async () => {
  platform = await startPlatform();
});
after(() => platform.close());

/** Reads every chain and computes its hashes anew, by the words of the schema and not by its code. */
async function verifyChains(): Promise<number> {
  const records = await platform.db.query<Record>(
    'records',
    'select merchant_id, card_no, seq, (extract(epoch from at) * 1000)::bigint, action, details, hash from audit_records order by merchant_id, card_no, seq',
  );
  const heads = new Map<string, { seq: number; hash: Buffer }>();
  for (const [merchantId, cardNo, seq, atMs, action, details, hash] of records) {
    const before = heads.get(`${merchantId}/${cardNo}`) ?? { seq: 0, hash: Buffer.alloc(32) };
    assert.equal(seq, before.seq + 1, `a gap in the chain of ${cardNo}`);
    const sized = (text: string) => `${Buffer.byteLength(text)}:${text}`;
    const content = `${merchantId} ${sized(cardNo)} ${seq} ${atMs} ${sized(action)} ${sized(details)}`;
    assert.deepEqual(hash, createHash('sha256').update(before.hash).update(content).digest(), `${cardNo} record ${seq}`);
    heads.set(`${merchantId}/${cardNo}`, { seq, hash });
  }
  const owners = await platform.db.query<[number, string, number, Buffer]>(
    'heads',
    `select merchant_id, card_no, audit_count, audit_head from cards union all select merchant_id, '', audit_count, audit_head from merchants`,
  );
  assert.equal(owners.length, heads.size);
  for (const [merchantId, cardNo, count, head] of owners)
    assert.deepEqual(heads.get(`${merchantId}/${cardNo}`), { seq: count, hash: head });
  return records.length;
}

test('every chain is unbroken after whatever happened, and its owner holds its head', async () => {
  const merchant = merchantOf(platform);
  const now = () => platform.clock.now;
  const start = await verifyChains();
  const card = { card_no: 'C202605220003', cardholder_no: 'U202605220001' };
  await merchant.call('POST', '/card/active', { ...card, cvv: seal('000'), card_last_no: '0030' });
  await merchant.call('POST', '/card/active', { ...card, cvv: seal('685'), card_last_no: '0030' });
  for (const pin of ['142536', '902847', '058291'])
    assert.equal((await merchant.call('POST', '/card/pin/set', pinBody(pin, card))).code, 0);
  await merchant.call('POST', '/card/status/update', { card_no: card.card_no, status: 'Frozen' });
  await changeMerchant({ db: platform.db, now }, 'M202605220001', { name: 'Händler – 商户' });
  const { apiKey } = await createCredential(
    { db: platform.db, keys: platform.keys, now },
    { merchantNo: 'M202605220001', ipAllowlist: ['::1'] },
  );
  await changeAllowlist({ db: platform.db, now }, apiKey, ['192.0.2.1'], false);
  await endCredential({ db: platform.db, now }, apiKey);
  assert.equal(await verifyChains(), start + 10);
});

test('a record of a PIN set says who did it, from where and in which request', async () => {
  const answer = await merchantOf(platform).call('POST', '/card/pin/set', pinBody('142536'));
  const [row] = await platform.db.query<[string]>(
    'last',
    `select details from audit_records where card_no = 'C202605220001' order by seq desc limit 1`,
  );
  assert.deepEqual(JSON.parse((row as [string])[0]), {
    version: 1,
    credential_id: 1,
    ip: '127.0.0.1',
    request_id: answer.headers['x-request-id'],
    envelope: 'ecb',
    channel: 'merchant-api',
  });
});

test("every record says who did it, the merchant's server or the operator, and none holds a PIN, a CVV or what enciphers them", async () => {
  const details = await platform.db.query<[string, string]>('details', 'select action, details from audit_records');
  const actions = new Set(details.map(([action]) => action));
  assert.deepEqual(
    [
      'card_activated',
      'card_activation_failed',
      'card_frozen',
      'pin_set',
      'merchant_updated',
      'credential_created',
      'credential_updated',
    ].filter((action) => !actions.has(action)),
    [],
    'each kind was looked at',
  );
  for (const [action, text] of details) {
    const { by, credential_id, ip, request_id } = JSON.parse(text);
    if (by === undefined) {
      assert.deepEqual([credential_id, ip], [1, '127.0.0.1'], text);
      assert.match(request_id, /^[0-9a-f-]{36}$/);
    } else assert.ok(['operator', 'sandbox'].includes(by), `${action} by ${by}`);
    for (const digits of ['142536', '902847', '058291', '685']) {
      assert.doesNotMatch(text, new RegExp(`(?<![0-9a-z-])${digits}(?![0-9a-z-])`));
      assert.ok(!text.includes(seal(digits)));
    }
  }
});

test('the database refuses to change or delete a record', async () => {
  await assert.rejects(platform.db.script(`update audit_records set action = 'x'`), /append-only/);
  await assert.rejects(platform.db.script(`update audit_records set seq = seq where false`), /append-only/);
  await assert.rejects(platform.db.script('delete from audit_records'), /append-only/);
  await assert.rejects(platform.db.script(`delete from audit_records where card_no = 'C202605220001' and seq = 2`), /append-only/);
  await verifyChains();
});

const LAST = `card_no = 'C202605220003' and seq = 3`;
const tamperings: [what: string, sql: string][] = [
  ['other words', `update audit_records set details = replace(details, '127.0.0.1', '192.0.2.1') where ${LAST}`],
  ['another action', `update audit_records set action = 'card_frozen' where ${LAST}`],
  ['another time', `update audit_records set at = at + interval '1 millisecond' where ${LAST}`],
  ['another merchant', `update audit_records set merchant_id = 2 where ${LAST}`],
  ['a record too few', `delete from audit_records where ${LAST}`],
  [
    'the last record too few',
    `delete from audit_records where card_no = 'C202605220003' and seq = (select max(seq) from audit_records where card_no = 'C202605220003')`,
  ],
  [
    'two records exchanged',
    `update audit_records set seq = 7 - seq + 100 where card_no = 'C202605220003' and seq in (3, 4);
    update audit_records set seq = seq - 100 where seq > 100`,
  ],
  [
    'letters moved from one column to the next',
    `update audit_records set action = action || left(details, 1), details = substr(details, 2) where ${LAST}`,
  ],
];
for (const [what, sql] of tamperings) {
  test(`whoever gets around that and leaves ${what} breaks the chain`, async () => {
    await platform.db.script(`create table kept as table audit_records; alter table audit_records disable trigger user; ${sql}`);
    await assert.rejects(verifyChains(), assert.AssertionError);
    await platform.db.script(`delete from audit_records; insert into audit_records table kept; drop table kept;
      alter table audit_records enable trigger user`);
    await verifyChains();
  });
}
