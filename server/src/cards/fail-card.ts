import type { Actor, IssuerScope } from '../audit/actor.ts';
import type { Services } from '../services.ts';
import { setDecided } from './application-store.ts';
import { applyTransition } from './apply-transition.ts';
import { lockApplication } from './lock-application.ts';

/**
 * Refuses a card that was applied for. The merchant gets the reason. A repeat changes
 * nothing. Errors: 4001, 4005.
 */
export async function failCard(
  { db, clock }: Pick<Services, 'db' | 'clock'>,
  issuer: IssuerScope,
  { cardNo, reason }: { cardNo: string; reason: string },
  by: Actor,
): Promise<void> {
  const atMs = clock();
  await db.transaction(async (tx) => {
    const { card } = await lockApplication(tx, issuer, cardNo);
    if (card.status === 'Fail') return;
    await applyTransition(tx, card, { transition: 'fail', by, atMs, reason });
    await setDecided(tx, card, { atMs, failReason: reason });
  });
}
