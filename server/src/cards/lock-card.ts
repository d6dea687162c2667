import type { CardType } from '@pinward/contract/vocabulary';
import { ApiError } from '../api-error.ts';
import type { Queryable } from '../db/queryable.ts';
import type { Caller } from '../merchants/caller.ts';
import { type LockedCard, lockCard } from './store.ts';

/**
 * Locks the card that a merchant's call names. 4001 unless it is the merchant's, and the
 * cardholder's if the call names one.
 */
export async function lockMerchantCard(
  tx: Queryable,
  { merchantId }: Caller,
  { cardNo, cardholderNo }: { cardNo: string; cardholderNo?: string },
): Promise<LockedCard> {
  const card = await lockCard(tx, [merchantId], cardNo);
  if (card === undefined || (cardholderNo !== undefined && card.cardholderNo !== cardholderNo))
    throw new ApiError('cardMissing');
  return card;
}

/** 4017 unless the card is physical. */
export function requirePhysical(cardType: CardType): void {
  if (cardType !== 'Physical') throw new ApiError('physicalOnly');
}
