import { auditMerchant } from '../audit/append.ts';
import type { Database } from '../db/database.ts';
import type { Queryable } from '../db/queryable.ts';
import { findMerchantId } from '../merchants/store.ts';
import { OperatorError } from '../operator-error.ts';
import { retryEvents } from './retry-store.ts';
import { LEASE_MS } from './send-callbacks.ts';

/** Makes one event due at once, or all dead letters of a merchant. Returns how many. */
export function retryCallbacks(
  { db, now }: { db: Database; now: () => number },
  which: { pushId: string } | { merchantNo: string },
): Promise<number> {
  return db.transaction((tx) =>
    'pushId' in which ? retryEvent(tx, which.pushId, now()) : retryDeadLetters(tx, which.merchantNo, now()),
  );
}

async function retryEvent(tx: Queryable, pushId: string, nowMs: number): Promise<number> {
  const [merchantId] = await retryEvents(tx, { pushId }, { nowMs, leaseMs: LEASE_MS });
  if (merchantId === undefined)
    throw new OperatorError(
      `no callback ${pushId} is parked, or waits for longer than ${LEASE_MS / 1000} s; nothing was changed`,
    );
  const details = { push_id: pushId };
  await auditMerchant(tx, merchantId, { atMs: nowMs, action: 'callbacks_retried', by: 'operator', details });
  return 1;
}

async function retryDeadLetters(tx: Queryable, merchantNo: string, nowMs: number): Promise<number> {
  const merchantId = await findMerchantId(tx, merchantNo);
  if (merchantId === undefined) throw new OperatorError(`there is no merchant ${merchantNo}`);
  const { length } = await retryEvents(tx, { merchantId }, { nowMs, leaseMs: LEASE_MS });
  const details = { parked: length };
  if (length > 0)
    await auditMerchant(tx, merchantId, { atMs: nowMs, action: 'callbacks_retried', by: 'operator', details });
  return length;
}
