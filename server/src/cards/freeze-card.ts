import { auditCard, detailsOf } from '../audit/append.ts';
import type { Queryable } from '../db/database.ts';
import { ApiError } from '../errors.ts';
import { type By, changeStatus } from './change-status.ts';
import { type CardStatus, type LockedCard, setFrozenBy } from './store.ts';

type Owner = 'merchant' | 'issuer';

/**
 * Freezes a card for the merchant or for the issuer. One that the other has frozen stays as it is and is then under both freezes, of which
 * the merchant hears nothing. 4005 unless it is activated, or frozen by the other alone.
 */
export async function freezeCard(tx: Queryable, card: LockedCard, owner: Owner, by: By, atMs: number, reason = ''): Promise<CardStatus> {
  if (card.status !== 'Frozen') {
    await setFrozenBy(tx, card, owner);
    return changeStatus(tx, card, 'freeze', by, atMs, reason);
  }
  if (card.frozenBy === owner || card.frozenBy === 'both') throw new ApiError('cardStatusUnfit');
  await setFrozenBy(tx, card, 'both');
  return auditUnchanged(tx, card, 'card_frozen', by, atMs, reason);
}

/**
 * Ends the merchant's or the issuer's freeze. Under the other's the card stays frozen: the merchant's is then not ended (4005), so that it
 * is not told of an activated card; the issuer's is.
 */
export async function unfreezeCard(tx: Queryable, card: LockedCard, owner: Owner, by: By, atMs: number, reason = ''): Promise<CardStatus> {
  const { status, frozenBy } = card;
  if (status === 'Frozen' && frozenBy === 'both' && owner === 'issuer') {
    await setFrozenBy(tx, card, 'merchant');
    return auditUnchanged(tx, card, 'card_unfrozen', by, atMs, reason);
  }
  if (frozenBy !== owner) throw new ApiError('cardStatusUnfit');
  return changeStatus(tx, card, 'unfreeze', by, atMs, reason);
}

async function auditUnchanged(
  tx: Queryable,
  { merchantId, cardNo, status }: LockedCard,
  action: 'card_frozen' | 'card_unfrozen',
  by: By,
  atMs: number,
  reason: string,
): Promise<CardStatus> {
  const details = { before: status, after: status, ...(reason !== '' && { reason }) };
  await auditCard(tx, merchantId, cardNo, atMs, action, detailsOf(by, details));
  return status;
}
