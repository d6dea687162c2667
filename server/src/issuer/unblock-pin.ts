import { auditCard, detailsOf } from '../audit/append.ts';
import { appendEvent } from '../callbacks/store.ts';
import { ApiError } from '../errors.ts';
import type { Services } from '../services.ts';
import type { IssuerOrigin } from './authenticate.ts';
import { clearTries, findToVerify, type Issuer } from './store.ts';

/** Clears a PIN's failed tries and its block; the PIN stays. Errors: 4001, 4018. */
export async function unblockPin({ db, clock }: Services, issuer: Issuer, cardNo: string, origin: IssuerOrigin): Promise<void> {
  const now = clock();
  await db.transaction(async (tx) => {
    const card = await findToVerify(tx, issuer, { cardNo }, undefined);
    if (card === undefined) throw new ApiError('cardMissing');
    const { merchantId } = card;
    const cleared = await clearTries(tx, merchantId, cardNo);
    if (cleared === undefined) throw new ApiError('pinNotSet');
    const { blocked, failedTries } = cleared;
    await auditCard(tx, merchantId, cardNo, now, 'pin_unblocked', detailsOf(origin, { blocked, failed_tries: failedTries }));
    await appendEvent(tx, merchantId, cardNo, 'Pin_unblocked', { card_no: cardNo, cardholder_no: cleared.cardholderNo, time: now }, now);
  });
}
