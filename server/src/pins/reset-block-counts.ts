import { auditIssuer } from '../audit/append.ts';
import type { Database } from '../db/database.ts';
import { findIssuerScope } from '../issuers/store.ts';
import { OperatorError } from '../operator-error.ts';
import { type Counted, resetCounts } from './malformed-blocks.ts';

/**
 * Forgets the malformed blocks of a card, a caller or a zone key, so that its PIN blocks are taken
 * again.
 */
export async function resetBlockCounts(
  { db, now }: { db: Database; now: () => number },
  issuerNo: string,
  source: { counted: Counted; name: string },
): Promise<void> {
  await db.transaction(async (tx) => {
    const issuer = await findIssuerScope(tx, issuerNo);
    if (issuer === undefined) throw new OperatorError(`there is no issuer ${issuerNo}`);
    if (!(await resetCounts(tx, issuer, source)))
      throw new OperatorError(`no malformed blocks are counted for the ${source.counted} ${source.name}`);
    const record = { atMs: now(), action: 'limit_reset', by: 'operator', details: { ...source } } as const;
    await auditIssuer(tx, issuer.issuerId, record);
  });
}
