import type { Queryable } from '../db/queryable.ts';
import { fromMs } from '../db/sql-time.ts';

/**
 * Makes events due at once: the one with a push id, or all dead letters of a merchant.
 * Returns the merchant's id for each. A dead letter starts again, with no attempts and 24
 * hours from now, and is once more the earliest of its card. A waiting event keeps its
 * attempts and its 24 hours; if it is due within the lease it may be under way, and stays.
 */
export async function retryEvents(
  tx: Queryable,
  which: { pushId: string } | { merchantId: number },
  { nowMs, leaseMs }: { nowMs: number; leaseMs: number },
): Promise<number[]> {
  const rows = await tx.query<{ merchantId: number }>(
    'retry-callbacks',
    `with given as (select ${fromMs('$3')} as now, ${fromMs('($3::bigint + $4::int)')} as lease_end),
          parked as (
            update callback_events set due_at = now, attempts = 0, created_at = now, parked_at = null from given
             where parked_at is not null and (push_id = $1::uuid or merchant_id = $2) returning merchant_id),
          waiting as (
            update callback_events set due_at = now from given
             where due_at is not null and due_at > lease_end and push_id = $1::uuid returning merchant_id)
     select merchant_id as "merchantId" from parked union all select merchant_id from waiting`,
    ['pushId' in which ? which.pushId : null, 'merchantId' in which ? which.merchantId : null, nowMs, leaseMs],
  );
  return rows.map(({ merchantId }) => merchantId);
}
