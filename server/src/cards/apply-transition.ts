import { type CardStatus, type CardTransition, statusAfter } from '@pinward/contract/card-status';
import { ApiError } from '../api-error.ts';
import type { Actor } from '../audit/actor.ts';
import { type AuditAction, auditCard } from '../audit/append.ts';
import type { Queryable } from '../db/queryable.ts';
import { appendEvent } from '../outbox/append-event.ts';
import { type CardKey, updateStatus } from './store.ts';

const AUDIT_ACTIONS = {
  issuePhysical: 'card_issued',
  issueVirtual: 'card_issued',
  fail: 'card_failed',
  activate: 'card_activated',
  freeze: 'card_frozen',
  unfreeze: 'card_unfrozen',
  delete: 'card_deleted',
} as const satisfies Record<CardTransition, AuditAction>;

export interface StatusChange {
  transition: CardTransition;
  by: Actor;
  atMs: number;
  reason?: string | undefined;
}

/**
 * Changes the status of a card that the transaction has locked, and returns the new status.
 * Writes the audit record and, if the merchant takes it, the event. The only writer of a
 * status. Errors: 4005, and nothing changes, if the transition does not start from the
 * card's status.
 */
export async function applyTransition(
  tx: Queryable,
  card: CardKey & { status: CardStatus },
  { transition, by, atMs, reason = '' }: StatusChange,
): Promise<CardStatus> {
  const { merchantId, cardNo, status: before } = card;
  const after = statusAfter(transition, before);
  if (after === undefined) throw new ApiError('cardStatusUnfit');
  await updateStatus(tx, card, after);
  const details = { before, after, ...(reason !== '' && { reason }) };
  const time = await auditCard(tx, card, { atMs, action: AUDIT_ACTIONS[transition], by, details });
  const data = { card_no: cardNo, before_status: before, after_status: after, reason, time };
  await appendEvent(tx, { merchantId, cardNo, action: 'Card_update', data, atMs: time, dueAtMs: atMs });
  return after;
}
