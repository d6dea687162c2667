import { type AuditAction, auditCard, detailsOf } from '../audit/append.ts';
import type { Caller } from '../auth/callers.ts';
import { appendEvent } from '../callbacks/store.ts';
import type { Queryable } from '../db/database.ts';
import { ApiError } from '../errors.ts';
import { type CardStatus, type CardType, type LockedCard, lockCard, updateStatus } from './store.ts';

interface Transition {
  from: readonly CardStatus[];
  to: CardStatus;
  action: AuditAction;
}

/** Every change of a card's status that there is. `Fail` and `Delete` are final. */
export const TRANSITIONS = {
  issuePhysical: { from: ['Pending'], to: 'ToActivate', action: 'card_issued' },
  issueVirtual: { from: ['Pending'], to: 'Activated', action: 'card_issued' },
  fail: { from: ['Pending'], to: 'Fail', action: 'card_failed' },
  activate: { from: ['ToActivate'], to: 'Activated', action: 'card_activated' },
  freeze: { from: ['Activated'], to: 'Frozen', action: 'card_frozen' },
  unfreeze: { from: ['Frozen'], to: 'Activated', action: 'card_unfrozen' },
  delete: { from: ['ToActivate', 'Activated', 'Frozen'], to: 'Delete', action: 'card_deleted' },
} as const satisfies Record<string, Transition>;

export type TransitionName = keyof typeof TRANSITIONS;

/** Who changes a card: a merchant's or an issuer's request, or the platform by itself. */
export type By = Parameters<typeof detailsOf>[0];

/**
 * The only writer of a status. Changes a card that the transaction has locked, with its audit record and, where the
 * merchant takes it, its event; a status that the transition does not start from is 4005 and changes nothing.
 */
export async function changeStatus(
  tx: Queryable,
  card: { merchantId: number; cardNo: string; status: CardStatus },
  name: TransitionName,
  by: By,
  atMs: number,
  reason = '',
): Promise<CardStatus> {
  const { merchantId, cardNo, status } = card;
  const { from, to, action }: Transition = TRANSITIONS[name];
  if (!from.includes(status)) throw new ApiError('cardStatusUnfit');
  await updateStatus(tx, merchantId, cardNo, to);
  await auditCard(tx, merchantId, cardNo, atMs, action, detailsOf(by, { before: status, after: to, ...(reason !== '' && { reason }) }));
  const change = { card_no: cardNo, before_status: status, after_status: to, reason, time: atMs };
  await appendEvent(tx, merchantId, cardNo, 'Card_update', change, atMs);
  return to;
}

/** The card that a merchant's call names, locked; 4001 unless it is the merchant's and, where one is given, that cardholder's. */
export async function lockOwnCard(tx: Queryable, caller: Caller, cardNo: string, cardholderNo?: string): Promise<LockedCard> {
  const card = await lockCard(tx, [caller.merchantId], cardNo);
  if (card === undefined || (cardholderNo !== undefined && card.cardholderNo !== cardholderNo)) throw new ApiError('cardMissing');
  return card;
}

/** 4017 unless the card is one that can be held. */
export function requirePhysical(cardType: CardType): void {
  if (cardType !== 'Physical') throw new ApiError('physicalOnly');
}
