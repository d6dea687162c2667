import type { Origin } from '../auth/authenticate.ts';
import type { Caller } from '../auth/callers.ts';
import { ApiError } from '../errors.ts';
import type { Services } from '../services.ts';
import { changeStatus, lockOwnCard, type TransitionName } from './change-status.ts';

/** The statuses that a merchant may ask for, and what asking means. `Activated` unfreezes; a first activation takes the CVV. */
const ASKED: Record<'Frozen' | 'Activated' | 'Delete', TransitionName> = { Frozen: 'freeze', Activated: 'unfreeze', Delete: 'delete' };

/** Freezes, unfreezes or deletes a card. Errors: 4001, 4005, also for a card that the issuer froze. */
export async function updateCardStatus(
  { db, clock }: Services,
  caller: Caller,
  request: { cardNo: string; status: keyof typeof ASKED },
  origin: Origin,
): Promise<void> {
  await db.transaction(async (tx) => {
    const card = await lockOwnCard(tx, caller, request.cardNo);
    if (card.issuerFrozen && request.status === 'Activated') throw new ApiError('cardStatusUnfit');
    await changeStatus(tx, card, ASKED[request.status], origin, clock());
  });
}
