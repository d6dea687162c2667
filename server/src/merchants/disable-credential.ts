import { auditMerchant } from '../audit/append.ts';
import type { Database } from '../db/database.ts';
import { OperatorError } from '../operator-error.ts';
import { disableStoredCredential } from './store.ts';

/**
 * Disables a credential and ends all its tokens. It cannot be enabled again: to rotate a secret,
 * create a second credential first.
 */
export async function disableCredential(
  { db, now }: { db: Database; now: () => number },
  apiKey: string,
): Promise<void> {
  await db.transaction(async (tx) => {
    const merchantId = await disableStoredCredential(tx, apiKey);
    if (merchantId === undefined) throw new OperatorError(`there is no credential ${apiKey}`);
    const details = { api_key: apiKey, status: 'Disabled' };
    await auditMerchant(tx, merchantId, { atMs: now(), action: 'credential_updated', by: 'operator', details });
  });
}
