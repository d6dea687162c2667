import { auditMerchant, detailsOf } from '../audit/append.ts';
import type { Database } from '../db/database.ts';
import { OperatorError } from '../merchants/administer.ts';
import { findMerchantId, updateMerchant } from '../merchants/store.ts';
import { type GuardMode, urlFault } from './address-guard.ts';
import { LEASE_MS } from './send-callbacks.ts';
import { findUsableCredential, lockSettings, retryEvents } from './store.ts';

/** What operators do to callbacks. Each change and its audit record are one transaction. */

/** What is given changes: where a merchant's callbacks go (null: nowhere), and whose secret signs them. The first time both are needed. */
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
    let credentialId = settings.credentialId;
    if (apiKey !== undefined) {
      credentialId = await findUsableCredential(tx, merchantId, apiKey, now());
      if (credentialId === undefined) throw new OperatorError(`${merchantNo} has no credential ${apiKey} that is enabled`);
    }
    if (url !== null && credentialId === undefined) throw new OperatorError('whose secret is to sign? Give --credential API_KEY too');
    if (url === undefined && settings.url === undefined) throw new OperatorError('where are they to go? Give --url URL too');
    const callbackUrl = typeof url === 'string' ? new URL(url).href : url;
    await updateMerchant(tx, merchantNo, {
      ...(callbackUrl !== undefined && { callbackUrl }),
      ...(credentialId !== undefined && { callbackCredentialId: credentialId }),
    });
    const details = {
      // Without its query, which may be a secret: the trail is exported.
      ...(callbackUrl !== undefined && { callback_url: callbackUrl?.replace(/\?.*$/s, '?...') ?? null }),
      ...(apiKey !== undefined && { callback_credential: apiKey }),
    };
    await auditMerchant(tx, merchantId, now(), 'merchant_updated', detailsOf('operator', details));
  });
}

/** Puts one event in at once, or all that are parked of a merchant. Gives how many. */
export async function retryCallbacks(
  { db, now }: { db: Database; now: () => number },
  which: { pushId: string } | { merchantNo: string },
): Promise<number> {
  return db.transaction(async (tx) => {
    if ('pushId' in which) {
      const [retried] = await retryEvents(tx, which, now(), LEASE_MS);
      if (retried === undefined)
        throw new OperatorError(
          `no callback ${which.pushId} is parked, or waits for longer than ${LEASE_MS / 1000} s; nothing was changed`,
        );
      await auditMerchant(tx, retried[0], now(), 'callbacks_retried', detailsOf('operator', { push_id: which.pushId }));
      return 1;
    }
    const merchantId = await findMerchantId(tx, which.merchantNo);
    if (merchantId === undefined) throw new OperatorError(`there is no merchant ${which.merchantNo}`);
    const { length } = await retryEvents(tx, { merchantId }, now(), LEASE_MS);
    if (length > 0) await auditMerchant(tx, merchantId, now(), 'callbacks_retried', detailsOf('operator', { parked: length }));
    return length;
  });
}
