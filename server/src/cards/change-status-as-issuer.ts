import { ApiError } from '../errors.ts';
import type { Services } from '../services.ts';
import { type By, changeStatus } from './change-status.ts';
import { freezeCard, unfreezeCard } from './freeze-card.ts';
import type { IssuerScope } from './lock-application.ts';
import { type CardStatus, isCardOfIssuer, lockCard } from './store.ts';

/**
 * The issuer freezes, unfreezes or deletes a card, and gets the status that the card then has. Errors: 4001, also for a card under another
 * issuer's BIN; 4005.
 */
export async function changeStatusAsIssuer(
  { db, clock }: Pick<Services, 'db' | 'clock'>,
  { issuerId, merchantIds }: IssuerScope,
  { cardNo, status, reason }: { cardNo: string; status: 'Frozen' | 'Activated' | 'Delete'; reason: string },
  by: By,
): Promise<CardStatus> {
  const now = clock();
  return db.transaction(async (tx) => {
    const card = await lockCard(tx, merchantIds, cardNo);
    if (card === undefined || !(await isCardOfIssuer(tx, issuerId, card.merchantId, cardNo))) throw new ApiError('cardMissing');
    if (status === 'Delete') return changeStatus(tx, card, 'delete', by, now, reason);
    return (status === 'Frozen' ? freezeCard : unfreezeCard)(tx, card, 'issuer', by, now, reason);
  });
}
