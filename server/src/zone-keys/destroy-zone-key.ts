import { ApiError } from '../api-error.ts';
import type { IssuerActor, IssuerScope } from '../audit/actor.ts';
import { auditIssuer } from '../audit/append.ts';
import type { Services } from '../services.ts';
import { destroyIssuerKey } from './store.ts';

/** Destroys a zone key for good; its label stays taken. Errors: 5002. */
export async function destroyZoneKey(
  { db, clock }: Services,
  { issuerId }: IssuerScope,
  label: string,
  by: IssuerActor,
): Promise<void> {
  const now = clock();
  await db.transaction(async (tx) => {
    const destroyed = await destroyIssuerKey(tx, { issuerId, kind: 'zpk', label }, now);
    if (!destroyed) throw new ApiError('zoneKeyUnknown');
    await auditIssuer(tx, issuerId, { atMs: now, action: 'zone_key_destroyed', by, details: { label } });
  });
}
