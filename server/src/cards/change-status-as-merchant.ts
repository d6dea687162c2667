import type { MerchantActor } from '../audit/actor.ts';
import type { Caller } from '../merchants/caller.ts';
import type { Services } from '../services.ts';
import { applyTransition } from './apply-transition.ts';
import { freezeCard, unfreezeCard } from './freeze-card.ts';
import { lockMerchantCard } from './lock-card.ts';

/**
 * Freezes, unfreezes or deletes a card for its merchant. `Activated` only unfreezes: the
 * first activation takes the CVV (activate-card.ts). Errors: 4001, 4005, also for
 * unfreezing a card that the issuer froze.
 */
export async function changeStatusAsMerchant(
  { db, clock }: Services,
  caller: Caller,
  { cardNo, status }: { cardNo: string; status: 'Frozen' | 'Activated' | 'Delete' },
  by: MerchantActor,
): Promise<void> {
  const atMs = clock();
  await db.transaction(async (tx) => {
    const card = await lockMerchantCard(tx, caller, { cardNo });
    if (status === 'Delete') await applyTransition(tx, card, { transition: 'delete', by, atMs });
    else await (status === 'Frozen' ? freezeCard : unfreezeCard)(tx, card, { side: 'merchant', by, atMs });
  });
}
