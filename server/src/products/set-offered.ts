import { auditPlatform } from '../audit/append.ts';
import type { Database } from '../db/database.ts';
import { OperatorError } from '../operator-error.ts';
import { type OfferChange, storeOffered } from './store.ts';

/** Starts or stops offering a BIN or package to merchants. Cards that were issued stay. */
export async function setProductOffered(
  { db, now }: { db: Database; now: () => number },
  change: OfferChange,
): Promise<void> {
  const { product, number, offered } = change;
  await db.transaction(async (tx) => {
    if (!(await storeOffered(tx, change)))
      throw new OperatorError(`there is no ${product === 'bin' ? 'BIN' : 'package'} ${number}`);
    const details = { product: number, status: offered ? 'Enabled' : 'Disabled' };
    await auditPlatform(tx, { atMs: now(), action: 'product_updated', by: 'operator', details });
  });
}
