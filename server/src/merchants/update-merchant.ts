import { auditMerchant } from '../audit/append.ts';
import type { Database } from '../db/database.ts';
import { OperatorError } from '../operator-error.ts';
import { requireName } from '../text.ts';
import { type MerchantChange, updateStoredMerchant } from './store.ts';

/** Changes a merchant; absent members stay. Disabling it ends the tokens of all its credentials. */
export async function updateMerchant(
  { db, now }: { db: Database; now: () => number },
  merchantNo: string,
  change: MerchantChange,
): Promise<void> {
  if (change.name !== undefined) requireName('a merchant', change.name);
  await db.transaction(async (tx) => {
    const merchantId = await updateStoredMerchant(tx, merchantNo, change);
    if (merchantId === undefined) throw new OperatorError(`there is no merchant ${merchantNo}`);
    const details = { ...change };
    await auditMerchant(tx, merchantId, { atMs: now(), action: 'merchant_updated', by: 'operator', details });
  });
}
