import type { CardStatus } from '@pinward/contract/card-status';
import { ApiError } from '../api-error.ts';
import type { Actor, IssuerScope } from '../audit/actor.ts';
import type { Services } from '../services.ts';
import { applyTransition } from './apply-transition.ts';
import { freezeCard, unfreezeCard } from './freeze-card.ts';
import { isCardOfIssuer, lockCard } from './store.ts';

/**
 * Freezes, unfreezes or deletes a card for its issuer. Returns the status that the card
 * then has. Errors: 4001, also for a card under another issuer's BIN; 4005.
 */
export async function changeStatusAsIssuer(
  { db, clock }: Pick<Services, 'db' | 'clock'>,
  { issuerId, merchantIds }: IssuerScope,
  { cardNo, status, reason }: { cardNo: string; status: 'Frozen' | 'Activated' | 'Delete'; reason: string },
  by: Actor,
): Promise<CardStatus> {
  const atMs = clock();
  return db.transaction(async (tx) => {
    const card = await lockCard(tx, merchantIds, cardNo);
    if (card === undefined || !(await isCardOfIssuer(tx, issuerId, card))) throw new ApiError('cardMissing');
    if (status === 'Delete') return applyTransition(tx, card, { transition: 'delete', by, atMs, reason });
    return (status === 'Frozen' ? freezeCard : unfreezeCard)(tx, card, { side: 'issuer', by, atMs, reason });
  });
}
