import { auditIssuer } from '../audit/append.ts';
import type { Database } from '../db/database.ts';
import { OperatorError } from '../operator-error.ts';
import { disableStoredIssuer, findIssuerScope } from './store.ts';

/** Ends the issuer's credential, within a second on every process. */
export async function disableIssuer({ db, now }: { db: Database; now: () => number }, issuerNo: string): Promise<void> {
  await db.transaction(async (tx) => {
    const issuer = await findIssuerScope(tx, issuerNo);
    if (issuer === undefined) throw new OperatorError(`there is no issuer ${issuerNo}`);
    await disableStoredIssuer(tx, issuer.issuerId);
    const details = { status: 'Disabled' };
    await auditIssuer(tx, issuer.issuerId, { atMs: now(), action: 'issuer_updated', by: 'operator', details });
  });
}
