import { auditMerchant } from '../audit/append.ts';
import type { Database } from '../db/database.ts';
import { randomText } from '../random-text.ts';
import { requireName } from '../text.ts';
import { insertMerchant, type StoredMerchant } from './store.ts';

export type NewMerchant = Omit<StoredMerchant, 'merchantNo'> & {
  /** Undefined: a new one is made. */
  merchantNo?: string;
};

/** Creates a merchant. Returns its number. */
export async function createMerchant(
  { db, now }: { db: Database; now: () => number },
  merchant: NewMerchant,
): Promise<string> {
  const { name } = merchant;
  requireName('a merchant', name);
  const merchantNo = merchant.merchantNo ?? `M${randomText(12)}`;
  await db.transaction(async (tx) => {
    const merchantId = await insertMerchant(tx, { ...merchant, merchantNo });
    await auditMerchant(tx, merchantId, { atMs: now(), action: 'merchant_created', by: 'operator', details: { name } });
  });
  return merchantNo;
}
