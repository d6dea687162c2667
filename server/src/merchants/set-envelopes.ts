import { isStrongEnough, type PinEnvelope } from '@pinward/contract/pin-envelope';
import { auditMerchant } from '../audit/append.ts';
import type { Database } from '../db/database.ts';
import { OperatorError } from '../operator-error.ts';
import { type Envelopes, storeEnvelopes } from './store.ts';

/**
 * Sets how a credential's PINs travel. Returns the default and the minimum. Refuses a default
 * below the minimum, since then every call that names no envelope would be refused.
 */
export async function setEnvelopes(
  { db, now }: { db: Database; now: () => number },
  apiKey: string,
  change: { envelope?: PinEnvelope | undefined; minimum?: PinEnvelope | undefined },
): Promise<Envelopes> {
  return db.transaction(async (tx) => {
    const stored = await storeEnvelopes(tx, apiKey, change);
    if (stored === undefined) throw new OperatorError(`there is no credential ${apiKey}`);
    const { merchantId, envelope, minimum } = stored;
    if (!isStrongEnough(envelope, minimum))
      throw new OperatorError(`the envelope ${envelope} is weaker than the minimum ${minimum}: set both`);
    const details = { api_key: apiKey, pin_envelope: envelope, pin_envelope_minimum: minimum };
    await auditMerchant(tx, merchantId, { atMs: now(), action: 'credential_updated', by: 'operator', details });
    return { envelope, minimum };
  });
}
