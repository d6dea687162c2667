import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { findOrphan, readHeads } from '../src/audit/store.ts';
import { verifyAudit } from '../src/audit/verify-audit.ts';
import type { Queryable } from '../src/db/queryable.ts';
import { startPlatform, type TestPlatform } from './support/test-platform.ts';

const CARDS = Number(process.env.TEST_MANY_CARDS ?? 4_000);

let platform: TestPlatform;
before(async () => {
  platform = await startPlatform();
  // A collation in which the order of the index is not that of the bytes.
  await platform.db.session(async (session) => {
    await session.script(`alter table cards alter column card_no type text collate "en-x-icu";
      insert into cards (merchant_id, card_no, card_unique_no, cardholder_no, card_type, status)
      select 1, no, no, 'U202605220001', 'Virtual', 'Pending' from generate_series(1, ${CARDS}) i, concat((array['b', 'A', 'a', 'B'])[i % 4 + 1], '-', i) no;
      with head as (
        update cards set audit_count = 1, audit_head = audit_hash(audit_head, merchant_id, card_no, 1, 0, 'card_created', '{}')
         where card_no like '_-%' returning merchant_id, card_no, audit_head)
      insert into audit_records select merchant_id, card_no, 1, to_timestamp(0), 'card_created', '{}', audit_head, 'card' from head;`);
    await session.script('vacuum analyze');
  });
});
after(() => platform.close());

/** Keeps the plan of every statement that goes through it. */
function explaining(db: Queryable): { db: Queryable; plans: Map<string, string> } {
  const plans = new Map<string, string>();
  return {
    plans,
    db: {
      ...db,
      async query(name, text, values) {
        const lines = await db.tuples<[string]>(`explain-${name}`, `explain ${text}`, values);
        plans.set(name, lines.map(([line]) => line).join('\n'));
        return db.query(name, text, values);
      },
    },
  };
}

test('every chain is visited once, in any order of the index, and reading a page costs only that page', async () => {
  const { db, plans } = explaining(platform.db);
  const seen: string[] = [];
  for await (const heads of readHeads(db))
    seen.push(...heads.map(({ merchantId, kind, subject }) => `${merchantId}/${kind}/${subject}`));
  const [[expected] = [0]] = await platform.db.tuples<[number]>(
    'owners',
    `select (select count(*) from cards) + (select count(*) from cardholders) + (select count(*) from merchants) + (select count(*) from issuers) + 1`,
  );
  assert.equal(seen.length, expected);
  assert.equal(new Set(seen).size, expected);
  for (const name of ['first-heads-cards', 'next-heads-cards']) {
    assert.match(plans.get(name) as string, /Index Scan using cards_pkey on cards/);
    assert.doesNotMatch(plans.get(name) as string, /Sort|Seq Scan/);
  }
});

test('a record without a chain is found in one pass over records and owners, without a query for each record', async () => {
  const { db, plans } = explaining(platform.db);
  assert.equal(await findOrphan(db), undefined);
  assert.match(plans.get('audit-orphan') as string, /SetOp Except/);
  await platform.db
    .transaction(async (tx) => {
      await tx.tuples(
        'orphan',
        `insert into audit_records (merchant_id, subject_kind, subject, seq, at, action, details, hash)
         select merchant_id, subject_kind, 'gone', 1, at, action, details, hash from audit_records limit 1`,
      );
      assert.equal((await findOrphan(tx))?.subject, 'gone');
      throw new Error('undo');
    })
    .catch((error: Error) => assert.equal(error.message, 'undo', error.stack));
});

test('that many chains verify', async (t) => {
  const startedAt = performance.now();
  const verdict = await verifyAudit(platform.db, platform.keys);
  t.diagnostic(`${verdict.chains} chains in ${Math.round(performance.now() - startedAt)} ms`);
  assert.deepEqual(verdict.breaks, []);
  assert.ok(verdict.chains > CARDS);
});
