import { ApiError } from '../errors.ts';
import type { Services } from '../services.ts';
import { findBinToIssue, setDecided } from './application-store.ts';
import { type By, changeStatus } from './change-status.ts';
import type { IssuerScope } from './issue-card.ts';
import { lockCard } from './store.ts';

/** Refuses a card that was applied for; the merchant is told the reason. Once more it changes nothing. Errors: 4001, 4005. */
export async function failCard(
  { db, clock }: Pick<Services, 'db' | 'clock'>,
  { issuerId, merchantIds }: IssuerScope,
  { cardNo, reason }: { cardNo: string; reason: string },
  by: By,
): Promise<void> {
  const now = clock();
  await db.transaction(async (tx) => {
    const card = await lockCard(tx, merchantIds, cardNo);
    if (card === undefined || (await findBinToIssue(tx, issuerId, card.merchantId, cardNo)) === undefined)
      throw new ApiError('cardMissing');
    if (card.status === 'Fail') return;
    await changeStatus(tx, card, 'fail', by, now, reason);
    await setDecided(tx, card.merchantId, cardNo, now, reason);
  });
}
