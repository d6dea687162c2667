import type { Services } from '../services.ts';
import { setDecided } from './application-store.ts';
import { type By, changeStatus } from './change-status.ts';
import { type IssuerScope, lockApplication } from './lock-application.ts';

/** Refuses a card that was applied for; the merchant is told the reason. Once more it changes nothing. Errors: 4001, 4005. */
export async function failCard(
  { db, clock }: Pick<Services, 'db' | 'clock'>,
  issuer: IssuerScope,
  { cardNo, reason }: { cardNo: string; reason: string },
  by: By,
): Promise<void> {
  const now = clock();
  await db.transaction(async (tx) => {
    const { card } = await lockApplication(tx, issuer, cardNo);
    if (card.status === 'Fail') return;
    await changeStatus(tx, card, 'fail', by, now, reason);
    await setDecided(tx, card.merchantId, cardNo, now, reason);
  });
}
