import { ApiError } from '../api-error.ts';
import type { IssuerActor, IssuerScope } from '../audit/actor.ts';
import { auditCard } from '../audit/append.ts';
import { appendEvent } from '../outbox/append-event.ts';
import type { Services } from '../services.ts';
import { clearTries, findToVerify } from './try-store.ts';

/** Clears a PIN's failed tries and its block; the PIN stays. Errors: 4001, 4018. */
export async function unblockPin(
  { db, clock }: Services,
  issuer: IssuerScope,
  cardNo: string,
  by: IssuerActor,
): Promise<void> {
  const now = clock();
  await db.transaction(async (tx) => {
    const card = await findToVerify(tx, issuer, { cardNo }, undefined);
    if (card === undefined) throw new ApiError('cardMissing');
    const { merchantId } = card;
    const cleared = await clearTries(tx, merchantId, cardNo);
    if (cleared === undefined) throw new ApiError('pinNotSet');
    const { blocked, failedTries, cardholderNo } = cleared;
    const details = { blocked, failed_tries: failedTries };
    const time = await auditCard(tx, { merchantId, cardNo }, { atMs: now, action: 'pin_unblocked', by, details });
    const data = { card_no: cardNo, cardholder_no: cardholderNo, time };
    await appendEvent(tx, { merchantId, cardNo, action: 'Pin_unblocked', data, atMs: time, dueAtMs: now });
  });
}
