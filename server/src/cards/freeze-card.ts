import type { CardStatus } from '@pinward/contract/card-status';
import type { Freezer } from '@pinward/contract/vocabulary';
import { ApiError } from '../api-error.ts';
import type { Actor } from '../audit/actor.ts';
import { auditCard } from '../audit/append.ts';
import type { Queryable } from '../db/queryable.ts';
import { applyTransition } from './apply-transition.ts';
import { type LockedCard, setFrozenBy } from './store.ts';

export interface Freeze {
  /** Whose freeze begins or ends. */
  side: Exclude<Freezer, 'both'>;
  by: Actor;
  atMs: number;
  reason?: string | undefined;
}

/**
 * Freezes a locked card for the merchant or for the issuer, and returns its status. A card
 * that the other side has frozen stays `Frozen`, and is then under both freezes; the
 * merchant gets no event of that. Errors: 4005 unless the card is `Activated`, or frozen by
 * the other side alone.
 */
export async function freezeCard(tx: Queryable, card: LockedCard, freeze: Freeze): Promise<CardStatus> {
  const { side, by, atMs, reason } = freeze;
  if (card.status !== 'Frozen') {
    await setFrozenBy(tx, card, side);
    return applyTransition(tx, card, { transition: 'freeze', by, atMs, reason });
  }
  if (card.frozenBy === side || card.frozenBy === 'both') throw new ApiError('cardStatusUnfit');
  await setFrozenBy(tx, card, 'both');
  return auditUnchanged(tx, card, 'card_frozen', freeze);
}

/**
 * Ends the freeze of the merchant or of the issuer on a locked card, and returns its
 * status. A card under both freezes stays `Frozen`. The issuer can end its own freeze then;
 * the merchant cannot (4005), because its answer would tell of an activated card. Errors:
 * 4005, also for a card that this side has not frozen.
 */
export async function unfreezeCard(tx: Queryable, card: LockedCard, freeze: Freeze): Promise<CardStatus> {
  const { side, by, atMs, reason } = freeze;
  if (card.status === 'Frozen' && card.frozenBy === 'both' && side === 'issuer') {
    await setFrozenBy(tx, card, 'merchant');
    return auditUnchanged(tx, card, 'card_unfrozen', freeze);
  }
  if (card.frozenBy !== side) throw new ApiError('cardStatusUnfit');
  return applyTransition(tx, card, { transition: 'unfreeze', by, atMs, reason });
}

async function auditUnchanged(
  tx: Queryable,
  card: LockedCard,
  action: 'card_frozen' | 'card_unfrozen',
  { by, atMs, reason = '' }: Freeze,
): Promise<CardStatus> {
  const { status } = card;
  const details = { before: status, after: status, ...(reason !== '' && { reason }) };
  await auditCard(tx, card, { atMs, action, by, details });
  return status;
}
