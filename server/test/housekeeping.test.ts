import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { deleteExpiredKeys } from '../src/api/merchant/idempotency-store.ts';
import { deleteDelivered } from '../src/callbacks/store.ts';
import { deleteExpiredClientTokens } from '../src/cards/client-token-store.ts';
import { DELETE_LIMIT } from '../src/db/delete-expired.ts';
import type { Queryable } from '../src/db/queryable.ts';
import { deleteExpiredJtis, deleteUnneededHistory } from '../src/pins/store.ts';
import { startPlatform, type TestPlatform } from './support/test-platform.ts';

/** More than twice what one deletion takes. */
const MANY = 2_500;
const KEPT = 3;

let platform: TestPlatform;
before(async () => {
  platform = await startPlatform();
});
after(() => platform.close());

const at = "to_timestamp(case when n > 3 then 0 else extract(epoch from now()) end) + interval '1 second'";

for (const [what, table, insert, forget] of [
  ['one-use numbers', 'used_jtis', `insert into used_jtis select 1, 'jti-' || n, ${at}`, deleteExpiredJtis],
  [
    'client tokens',
    'client_tokens',
    `insert into client_tokens select sha256(convert_to('token-' || n, 'UTF8')), 1, 'C202605220001', 1, ${at}`,
    deleteExpiredClientTokens,
  ],
  [
    'kept answers',
    'idempotency_keys',
    `insert into idempotency_keys select 1, 'key-' || n, sha256('x'), '{}', null, ${at}`,
    deleteExpiredKeys,
  ],
  [
    'delivered callbacks',
    'callback_events',
    `insert into callback_events (merchant_id, card_no, action, data, created_at, delivered_at) select 1, 'C', 'Pin_set', '{}', now(), ${at}`,
    deleteDelivered,
  ],
  [
    'earlier PINs',
    'pin_history',
    `update merchants set pin_history = 5 where merchant_id = 2;
     insert into pin_history select case when n > 3 then 1 else 2 end, 'C', n, '', '', 1`,
    deleteUnneededHistory,
  ],
] as const)
  test(`${what} are forgotten once they have had their time, however many they are, also by two at once`, async () => {
    await platform.db.script(`${insert} from generate_series(1, ${MANY + KEPT}) n`);
    const batches: number[] = [];
    const db: Queryable = {
      ...platform.db,
      async query<R extends object>(name: string, text: string, values?: unknown[]): Promise<R[]> {
        const rows = await platform.db.query<R>(name, text, values);
        batches.push(rows.length);
        return rows;
      },
    };
    const gone = await Promise.all([forget(db, Date.now()), forget(db, Date.now())]);
    assert.equal(gone[0] + gone[1], MANY);
    assert.ok(
      batches.every((size) => size <= DELETE_LIMIT) && batches.filter((size) => size > 0).length >= 3,
      `${batches}`,
    );
    assert.deepEqual(await platform.db.tuples(`left-${table}`, `select count(*) from ${table}`), [[KEPT]]);
  });
