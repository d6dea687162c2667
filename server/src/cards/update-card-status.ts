import type { Origin } from '../auth/authenticate.ts';
import type { Caller } from '../auth/callers.ts';
import type { Services } from '../services.ts';
import { changeStatus, lockOwnCard } from './change-status.ts';
import { freezeCard, unfreezeCard } from './freeze-card.ts';

/** Freezes, unfreezes or deletes a card; `Activated` unfreezes, as a first activation takes the CVV. Errors: 4001, 4005, also for a card that the issuer froze. */
export async function updateCardStatus(
  { db, clock }: Services,
  caller: Caller,
  { cardNo, status }: { cardNo: string; status: 'Frozen' | 'Activated' | 'Delete' },
  origin: Origin,
): Promise<void> {
  const now = clock();
  await db.transaction(async (tx) => {
    const card = await lockOwnCard(tx, caller, cardNo);
    if (status === 'Delete') await changeStatus(tx, card, 'delete', origin, now);
    else await (status === 'Frozen' ? freezeCard : unfreezeCard)(tx, card, 'merchant', origin, now);
  });
}
