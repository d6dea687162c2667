import { ApiError } from '../api-error.ts';
import type { IssuerScope } from '../audit/actor.ts';
import type { Queryable } from '../db/queryable.ts';
import { findBinToIssue, isUnderBinOf } from './application-store.ts';
import { type LockedCard, lockCard } from './store.ts';

/**
 * Locks a card that was applied for under a BIN of the issuer. Returns it with that BIN.
 * Errors: 4005 for a card under such a BIN that nobody applied for, since the issuer brought it
 * in or it belongs to the sandbox; 4001 for any other.
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
    throw new ApiError((await isUnderBinOf(tx, issuerId, card)) ? 'cardStatusUnfit' : 'cardMissing');
  return { card, cardBinNo };
}
