import { auditCard, detailsOf } from '../audit/append.ts';
import { ApiError } from '../errors.ts';
import type { Services } from '../services.ts';
import { type By, changeStatus } from './change-status.ts';
import type { IssuerScope } from './issue-card.ts';
import { type CardStatus, isCardOfIssuer, lockCard, setIssuerFrozen } from './store.ts';

/**
 * The issuer freezes, unfreezes or deletes a card. What it froze the merchant does not unfreeze; it may also freeze a card that the
 * merchant has frozen, which then stays so until the issuer lets go. Errors: 4001, also for a card under another issuer's BIN; 4005.
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
    const { merchantId, issuerFrozen } = card;
    if (status === 'Delete') return changeStatus(tx, card, 'delete', by, now, reason);
    if ((status === 'Frozen') === issuerFrozen) throw new ApiError('cardStatusUnfit');
    await setIssuerFrozen(tx, merchantId, cardNo, status === 'Frozen');
    if (status === 'Activated') return changeStatus(tx, card, 'unfreeze', by, now, reason);
    if (card.status !== 'Frozen') return changeStatus(tx, card, 'freeze', by, now, reason);
    const details = { before: card.status, after: card.status, ...(reason !== '' && { reason }) };
    await auditCard(tx, merchantId, cardNo, now, 'card_frozen', detailsOf(by, details));
    return card.status;
  });
}
