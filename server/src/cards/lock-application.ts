import type { Queryable } from '../db/database.ts';
import { ApiError } from '../errors.ts';
import { findBinToIssue } from './application-store.ts';
import { type LockedCard, lockCard } from './store.ts';

/** Whose side of the card it is: the issuer, and the merchants whose cards it sees. */
export interface IssuerScope {
  issuerId: number;
  merchantIds: number[];
}

/** A card that was applied for under a BIN of the issuer's, locked, and that BIN; 4001 for any other. */
export async function lockApplication(
  tx: Queryable,
  { issuerId, merchantIds }: IssuerScope,
  cardNo: string,
): Promise<{ card: LockedCard; cardBinNo: string }> {
  const card = await lockCard(tx, merchantIds, cardNo);
  const cardBinNo = card && (await findBinToIssue(tx, issuerId, card.merchantId, cardNo));
  if (card === undefined || cardBinNo === undefined) throw new ApiError('cardMissing');
  return { card, cardBinNo };
}
