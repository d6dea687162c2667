import { ApiError } from '../api-error.ts';
import type { IssuerScope } from '../audit/actor.ts';
import type { Queryable } from '../db/queryable.ts';
import { findBinToIssue } from './application-store.ts';
import { isCardOfIssuer, type LockedCard, lockCard } from './store.ts';

/**
 * Locks a card that was applied for under a BIN of the issuer. Returns it with that BIN.
 * Errors: 4005 for a card of the issuer that nobody applied for, such as one that was brought in;
 * 4001 for any other.
 */
export async function lockApplication(
  tx: Queryable,
  { issuerId, merchantIds }: IssuerScope,
  cardNo: string,
): Promise<{ card: LockedCard; cardBinNo: string }> {
  const card = await lockCard(tx, merchantIds, cardNo);
  const cardBinNo = card && (await findBinToIssue(tx, issuerId, card));
  if (card === undefined) throw new ApiError('cardMissing');
  if (cardBinNo === undefined)
    throw new ApiError((await isCardOfIssuer(tx, issuerId, card)) ? 'cardStatusUnfit' : 'cardMissing');
  return { card, cardBinNo };
}
