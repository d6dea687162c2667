import assert from 'node:assert/strict';
import { createHash, createPublicKey, randomUUID, verify } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { exportAudit } from '../src/audit/export-audit.ts';
import { pruneAudit } from '../src/audit/prune-audit.ts';
import { signAuditHeads } from '../src/audit/sign-heads.ts';
import { verifyAudit } from '../src/audit/verify-audit.ts';
import { changeAllowlist } from '../src/merchants/change-allowlist.ts';
import { createCredential } from '../src/merchants/create-credential.ts';
import { disableCredential } from '../src/merchants/disable-credential.ts';
import { updateMerchant } from '../src/merchants/update-merchant.ts';
import { CARD_TO_ACTIVATE, CARDHOLDER_NO, MERCHANT_NO, pinBody, seal } from './support/sandbox.ts';
import { merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

interface Row {
  merchantId: number;
  chain: string;
  seq: number;
  atMs: number;
  action: string;
  details: string;
  hash: Buffer;
}

let platform: TestPlatform;
before(async () => {
  platform = await startPlatform();
});
after(() => platform.close());

/**
 * Reads every chain and computes its hashes anew, by the words of the schema and not by its code.
 */
async function verifyChains(): Promise<number> {
  const records = await platform.db.query<Row>(
    'records',
    `select merchant_id as "merchantId", audit_chain(subject_kind, subject) as chain, seq, (extract(epoch from at) * 1000)::bigint as "atMs",
            action, details, hash from audit_records order by merchant_id, 2, seq`,
  );
  const heads = new Map<string, { seq: number; hash: Buffer }>();
  for (const { merchantId, chain, seq, atMs, action, details, hash } of records) {
    const before = heads.get(`${merchantId}/${chain}`) ?? { seq: 0, hash: Buffer.alloc(32) };
    assert.equal(seq, before.seq + 1, `a gap in the chain of ${chain}`);
    const sized = (text: string) => `${Buffer.byteLength(text)}:${text}`;
    const content = `${merchantId} ${sized(chain)} ${seq} ${atMs} ${sized(action)} ${sized(details)}`;
    assert.deepEqual(hash, createHash('sha256').update(before.hash).update(content).digest(), `${chain} record ${seq}`);
    heads.set(`${merchantId}/${chain}`, { seq, hash });
  }
  const owners = await platform.db.tuples<[number, string, number, Buffer]>(
    'heads',
    `select * from (select merchant_id, card_no, audit_count, audit_head from cards union all select merchant_id, '', audit_count, audit_head from merchants
      union all select merchant_id, 'cardholder:' || cardholder_no, audit_count, audit_head from cardholders
      union all select 0, 'issuer:' || issuer_no, audit_count, audit_head from issuers union all select 0, '', audit_count, audit_head from installation
     ) o where audit_count > 0`,
  );
  assert.equal(owners.length, heads.size);
  for (const [merchantId, cardNo, count, head] of owners)
    assert.deepEqual(heads.get(`${merchantId}/${cardNo}`), { seq: count, hash: head });
  return records.length;
}

test('every chain is unbroken after all of these calls, and the row of its subject holds its head', async () => {
  const merchant = merchantOf(platform);
  const now = () => platform.clock.now;
  const start = await verifyChains();
  const card = { card_no: CARD_TO_ACTIVATE.cardNo, cardholder_no: CARDHOLDER_NO };
  await merchant.call('POST', '/card/active', { ...card, cvv: seal('000'), card_last_no: '0030' });
  await merchant.call('POST', '/card/active', { ...card, cvv: seal('685'), card_last_no: '0030' });
  for (const pin of ['142536', '902847', '058291'])
    assert.equal((await merchant.call('POST', '/card/pin/set', pinBody(pin, card))).code, 0);
  await merchant.call('POST', '/card/status/update', { card_no: card.card_no, status: 'Frozen' });
  await updateMerchant({ db: platform.db, now }, MERCHANT_NO, { name: 'Händler – 商户' });
  const { apiKey } = await createCredential(
    { db: platform.db, keys: platform.keys, now, config: platform.services.config },
    { merchantNo: MERCHANT_NO, ipAllowlist: ['::1'] },
  );
  await changeAllowlist({ db: platform.db, now }, apiKey, { add: ['192.0.2.1'] });
  await disableCredential({ db: platform.db, now }, apiKey);
  assert.equal(await verifyChains(), start + 10);
});

test('a record of a PIN set says who did it, from where and in which request', async () => {
  const answer = await merchantOf(platform).call('POST', '/card/pin/set', pinBody('142536'));
  const [row] = await platform.db.tuples<[string]>(
    'last',
    `select details from audit_records where subject = 'C202605220001' order by seq desc limit 1`,
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
  const details = await platform.db.tuples<[string, string]>('details', 'select action, details from audit_records');
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
  await assert.rejects(
    platform.db.script(`delete from audit_records where subject = 'C202605220001' and seq = 2`),
    /append-only/,
  );
  await verifyChains();
});

const LAST = `subject = 'C202605220003' and seq = 3`;
const CARD = 'card C202605220003 of merchant M202605220001';
const ALTERED = new RegExp(`^${CARD}: record 3 was altered, or is in another's place$`);
const tamperings: [what: string, sql: string, named: RegExp][] = [
  [
    'other words',
    `update audit_records set details = replace(details, '127.0.0.1', '192.0.2.1') where ${LAST}`,
    ALTERED,
  ],
  ['another action', `update audit_records set action = 'card_frozen' where ${LAST}`, ALTERED],
  ['another time', `update audit_records set at = at + interval '1 millisecond' where ${LAST}`, ALTERED],
  [
    'another merchant',
    `update audit_records set merchant_id = 2 where ${LAST}`,
    new RegExp(`^${CARD}: record 3 is missing$`),
  ],
  ['a record too few', `delete from audit_records where ${LAST}`, new RegExp(`^${CARD}: record 3 is missing$`)],
  [
    'the last record too few',
    `delete from audit_records where subject = 'C202605220003' and seq = (select max(seq) from audit_records where subject = 'C202605220003')`,
    new RegExp(`^${CARD}: the records after 6 are missing, up to 7$`),
  ],
  [
    'a record too many',
    `insert into audit_records select merchant_id, subject, 8, at, action, details,
            audit_hash(hash, merchant_id, subject, 8, (extract(epoch from at) * 1000)::bigint, action, details), subject_kind
       from audit_records where subject = 'C202605220003' and seq = 7`,
    new RegExp(`^${CARD}: there are 1 records more than were written$`),
  ],
  [
    'two records exchanged',
    `update audit_records set seq = 7 - seq + 100 where subject = 'C202605220003' and seq in (3, 4);
    update audit_records set seq = seq - 100 where seq > 100`,
    ALTERED,
  ],
  [
    'letters moved from one column to the next',
    `update audit_records set action = action || left(details, 1), details = substr(details, 2) where ${LAST}`,
    ALTERED,
  ],
];
for (const [what, sql, named] of tamperings) {
  test(`whoever gets around that and leaves ${what} breaks the chain, and audit verify names the place`, async () => {
    await platform.db.script(
      `create table kept as table audit_records; alter table audit_records disable trigger user; ${sql}`,
    );
    await assert.rejects(verifyChains(), assert.AssertionError);
    const { breaks } = await verifyAudit(platform.db, platform.keys);
    assert.match(breaks[0] as string, named);
    await platform.db.script(`delete from audit_records; insert into audit_records table kept; drop table kept;
      alter table audit_records enable trigger user`);
    await verifyChains();
    assert.deepEqual((await verifyAudit(platform.db, platform.keys)).breaks, []);
  });
}

/**
 * What an attacker does who may write everything in the database: a chain that is whole again, over
 * other words.
 */
const REWRITE = [
  'alter table audit_records disable trigger user',
  `do $$ declare r record; h bytea := decode(repeat('00', 32), 'hex'); begin
    for r in select * from audit_records where subject = 'C202605220003' order by seq loop
      h := audit_hash(h, r.merchant_id, r.subject, r.seq, (extract(epoch from r.at) * 1000)::bigint, r.action, replace(r.details, '127.0.0.1', '192.0.2.1'));
      update audit_records set details = replace(details, '127.0.0.1', '192.0.2.1'), hash = h where subject = r.subject and seq = r.seq;
    end loop;
    update cards set audit_head = h where card_no = 'C202605220003';
  end $$`,
];

describe('signed heads', () => {
  const sign = () => signAuditHeads(platform.db, platform.keys, () => platform.clock.now);
  const breaks = async () => (await verifyAudit(platform.db, platform.keys)).breaks;

  test('cover every changed chain once', async () => {
    const [[chains] = [0]] = await platform.db.tuples<[number]>(
      'chains',
      'select count(distinct (merchant_id, subject_kind, subject)) from audit_records',
    );
    assert.equal(await sign(), chains);
    assert.equal(await sign(), 0, 'nothing has changed since');
    assert.equal((await merchantOf(platform).call('POST', '/card/pin/set', pinBody('902847'))).code, 0);
    assert.equal(await sign(), 1);
    assert.deepEqual(await breaks(), []);
    assert.equal((await verifyAudit(platform.db, platform.keys)).signings, 2);
  });

  test('are made by one of two processes that sign at the same time', async () => {
    await merchantOf(platform).call('POST', '/card/pin/set', pinBody('142536'));
    const signed = await Promise.all([sign(), sign(), sign()]);
    assert.deepEqual(signed.sort(), [0, 0, 1]);
  });

  const inTransaction = async (statements: string[], named: RegExp) => {
    await platform.db
      .transaction(async (tx) => {
        for (const [i, statement] of statements.entries()) await tx.tuples(`tamper ${randomUUID()} ${i}`, statement);
        assert.match((await verifyAudit(tx, platform.keys)).breaks[0] as string, named);
        throw new Error('undo');
      })
      .catch((error: Error) => assert.equal(error.message, 'undo', error.stack));
    assert.deepEqual(await breaks(), []);
  };

  test('show that a whole chain was rewritten, with its head', () =>
    inTransaction(
      REWRITE,
      /C202605220003 .*: record 7 is not the one whose hash was signed on .*: the chain was rewritten$/,
    ));
  test('show that a chain was cut, with its head', () =>
    inTransaction(
      [
        'alter table audit_records disable trigger user',
        `delete from audit_records where subject = 'C202605220003' and seq > 5`,
        `update cards set audit_count = 5, audit_head = (select hash from audit_records where subject = 'C202605220003' and seq = 5)
          where card_no = 'C202605220003'`,
      ],
      /C202605220003 .*: the records after 5 are missing: record 7 was signed$/,
    ));
  const other = /^signing 1 of .*: its heads are not those that were signed$/;
  test('cannot be changed', () =>
    inTransaction([`update audit_heads set hash = sha256(hash) where subject = 'C202605220003'`], other));
  test('cannot be left out', () => inTransaction([`delete from audit_heads where subject = 'C202605220003'`], other));
  test('cannot be signed by somebody else', () =>
    inTransaction(
      ['update audit_signings set signature = sha256(signature) || sha256(signature) where signing_id = 2'],
      /^signing 2 of .*: its signature is not good$/,
    ));
  test('cannot be removed, except the last one', () =>
    inTransaction(
      ['delete from audit_heads where signing_id = 2', 'delete from audit_signings where signing_id = 2'],
      /^signing 2: it is missing$/,
    ));
});

test('an export has every record, and its reader can verify the heads with the public key in it', async () => {
  const lines: Record<string, string | number>[] = [];
  for await (const line of exportAudit(platform.db, platform.keys, 0)) lines.push(JSON.parse(line));
  const [[count] = [0]] = await platform.db.tuples<[number]>('count', 'select count(*) from audit_records');
  assert.equal(lines.filter(({ type }) => type === 'record').length, count);
  const [signing] = lines.filter(({ type }) => type === 'signing');
  const heads = lines.filter((line) => line.type === 'head' && line.signing_id === 1);
  assert.equal(heads.length, signing?.chains);
  // By the words of docs/operating.md, and not by the platform's code.
  const field = (value: string | number | Buffer): Buffer => {
    const bytes = typeof value === 'number' ? Buffer.alloc(8) : Buffer.from(value as Buffer);
    if (typeof value === 'number') bytes.writeBigInt64BE(BigInt(value));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return Buffer.concat([length, bytes]);
  };
  const digest = createHash('sha256').update(
    Buffer.concat(['pinward/audit-signing/v1', 1, Number(signing?.at), Buffer.alloc(32)].map(field)),
  );
  for (const head of heads)
    digest.update(
      Buffer.concat(
        [Number(head.merchant_id), String(head.card_no), Number(head.seq), Buffer.from(String(head.hash), 'hex')].map(
          field,
        ),
      ),
    );
  const digested = digest.digest();
  assert.equal(digested.toString('hex'), signing?.digest);
  const text = Buffer.concat(
    ['pinward/audit-heads/v1', 1, Number(signing?.at), Number(signing?.chains), digested].map(field),
  );
  const key = createPublicKey({ key: Buffer.from(String(signing?.public_key), 'base64'), format: 'der', type: 'spki' });
  assert.ok(verify(null, text, key, Buffer.from(String(signing?.signature), 'base64')));
});

test('old records can be pruned: a signed checkpoint replaces them, and later records still verify', async () => {
  const now = () => platform.clock.now;
  platform.clock.now += 100 * 86_400_000;
  const merchant = merchantOf(platform);
  for (const pin of ['142536', '902847'])
    assert.equal((await merchant.call('POST', '/card/pin/set', pinBody(pin))).code, 0);
  await platform.db.script(`create table kept as table audit_records; alter table audit_records disable trigger user;
    update audit_records set details = '{}' where subject = 'C202605220003' and seq = 2`);
  await assert.rejects(
    pruneAudit(platform.db, platform.keys, now, now()),
    /the audit trail is broken, and nothing was taken away: card C202605220003/,
  );
  await platform.db.script(
    'delete from audit_records; insert into audit_records table kept; drop table kept; alter table audit_records enable trigger user',
  );
  const gone = await pruneAudit(platform.db, platform.keys, now, now() - 86_400_000);
  assert.ok(gone > 20, `${gone} records`);
  const verdict = await verifyAudit(platform.db, platform.keys);
  assert.deepEqual(verdict.breaks, []);
  assert.equal(verdict.records, 3, 'two sets, and the record of the pruning itself');
  await merchant.call('POST', '/card/status/update', { card_no: CARD_TO_ACTIVATE.cardNo, status: 'Activated' });
  assert.deepEqual(
    (await verifyAudit(platform.db, platform.keys)).breaks,
    [],
    'a chain of which nothing was left goes on',
  );

  await platform.db.script(`update audit_checkpoints set seq = seq - 1 where subject = 'C202605220001'`);
  assert.match(
    (await verifyAudit(platform.db, platform.keys)).breaks[0] as string,
    /C202605220001 .*: the checkpoint at record \d+ is not signed$/,
  );
  await assert.rejects(platform.db.script(`delete from audit_records where subject = 'C202605220001'`), /append-only/);
});
