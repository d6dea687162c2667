import { type AuditAction, auditCard, detailsOf } from '../audit/append.ts';
import type { Origin } from '../auth/authenticate.ts';
import type { Caller } from '../auth/callers.ts';
import { appendEvent } from '../callbacks/store.ts';
import type { Queryable } from '../db/database.ts';
import { ApiError } from '../errors.ts';
import { type CardStatus, type CardType, lockCard, updateStatus } from './store.ts';

interface Transition {
  from: readonly CardStatus[];
  to: CardStatus;
  action: AuditAction;
}

/** Every change of a card's status that there is. `Fail` and `Delete` are final. */
export const TRANSITIONS = {
  activate: { from: ['ToActivate'], to: 'Activated', action: 'card_activated' },
  freeze: { from: ['Activated'], to: 'Frozen', action: 'card_frozen' },
  unfreeze: { from: ['Frozen'], to: 'Activated', action: 'card_unfrozen' },
  delete: { from: ['ToActivate', 'Activated', 'Frozen'], to: 'Delete', action: 'card_deleted' },
} as const satisfies Record<string, Transition>;

export type TransitionName = keyof typeof TRANSITIONS;

/**
 * The only writer of a status. Changes a card that the transaction has locked, with its audit record and, where the
 * merchant takes it, its event; a status that the transition does not start from is 4005 and changes nothing.
 */
export async function changeStatus(
  tx: Queryable,
  caller: Caller,
  card: { cardNo: string; status: CardStatus },
  name: TransitionName,
  origin: Origin,
  atMs: number,
): Promise<void> {
  const { from, to, action }: Transition = TRANSITIONS[name];
  if (!from.includes(card.status)) throw new ApiError('cardStatusUnfit');
  await updateStatus(tx, caller.merchantId, card.cardNo, to);
  await auditCard(tx, caller.merchantId, card.cardNo, atMs, action, detailsOf(origin, { before: card.status, after: to }));
  if (caller.callbackActions.has('Card_update')) {
    await appendEvent(
      tx,
      caller.merchantId,
      card.cardNo,
      'Card_update',
      { card_no: card.cardNo, before_status: card.status, after_status: to, reason: '', time: atMs },
      atMs,
    );
  }
}

/** The card that a call names, locked; 4001 unless it is the merchant's and, where one is given, that cardholder's. */
export async function lockOwnCard(tx: Queryable, caller: Caller, cardNo: string, cardholderNo?: string) {
  const card = await lockCard(tx, caller.merchantId, cardNo);
  if (card === undefined || (cardholderNo !== undefined && card.cardholderNo !== cardholderNo)) throw new ApiError('cardMissing');
  return card;
}

/** 4017 unless the card is one that can be held. */
export function requirePhysical(cardType: CardType): void {
  if (cardType !== 'Physical') throw new ApiError('physicalOnly');
}
