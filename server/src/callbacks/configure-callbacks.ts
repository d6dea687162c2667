import { auditMerchant } from '../audit/append.ts';
import type { Database } from '../db/database.ts';
import { updateStoredMerchant } from '../merchants/store.ts';
import { type GuardMode, urlFault } from '../net/address-guard.ts';
import { OperatorError } from '../operator-error.ts';
import { findUsableCredential, lockSettings } from './settings-store.ts';

/**
 * Changes where a merchant's callbacks go (null: nowhere) and whose secret signs them. What
 * is not given stays as it is. The first time both are needed.
 */
export async function configureCallbacks(
  { db, now }: { db: Database; now: () => number },
  mode: GuardMode,
  merchantNo: string,
  change: { url?: string | null; apiKey?: string },
): Promise<void> {
  const { url, apiKey } = change;
  if (url === undefined && apiKey === undefined) throw new OperatorError('nothing to change was given');
  const fault = typeof url === 'string' ? urlFault(url, mode) : undefined;
  if (fault !== undefined) throw new OperatorError(`the URL cannot be used: ${fault}`);
  await db.transaction(async (tx) => {
    const settings = await lockSettings(tx, merchantNo);
    if (settings === undefined) throw new OperatorError(`there is no merchant ${merchantNo}`);
    const { merchantId } = settings;
    let { credentialId } = settings;
    if (apiKey !== undefined) {
      credentialId = (await findUsableCredential(tx, { merchantId, apiKey, nowMs: now() })) ?? null;
      if (credentialId === null) throw new OperatorError(`${merchantNo} has no credential ${apiKey} that is enabled`);
    }
    if (url !== null && credentialId === null)
      throw new OperatorError('no credential signs the callbacks yet: give --credential API_KEY too');
    if (url === undefined && settings.url === null)
      throw new OperatorError('the merchant has no callback URL yet: give --url URL too');
    const callbackUrl = typeof url === 'string' ? new URL(url).href : url;
    await updateStoredMerchant(tx, merchantNo, {
      ...(callbackUrl !== undefined && { callbackUrl }),
      ...(credentialId !== null && { callbackCredentialId: credentialId }),
    });
    const details = {
      // Without its query, which may be a secret: the audit trail is exported.
      ...(callbackUrl !== undefined && { callback_url: callbackUrl?.replace(/\?.*$/s, '?...') ?? null }),
      ...(apiKey !== undefined && { callback_credential: apiKey }),
    };
    await auditMerchant(tx, merchantId, { atMs: now(), action: 'merchant_updated', by: 'operator', details });
  });
}
