import type { Origin } from './auth/authenticate.ts';
import type { Queryable } from './db/database.ts';

/*
 * What happened to what, by whom. One chain a card and one a merchant: each record's hash covers the hash before it,
 * so that a change, a gap or a new order shows. The row that holds the chain's head is locked by the statement that
 * appends, and the hash is computed there. PIN sets append in their own shared statement (pins/store.ts), by the same rule.
 */

export type AuditAction =
  | 'card_created'
  | 'card_activated'
  | 'card_activation_failed'
  | 'card_frozen'
  | 'card_unfrozen'
  | 'card_deleted'
  | 'pin_set'
  | 'merchant_created'
  | 'merchant_updated'
  | 'credential_created'
  | 'credential_updated';

/** What a record says of who did it: a merchant's request, or the operator at the command line. */
export function detailsOf(by: Origin | 'operator' | 'sandbox', more: Record<string, unknown> = {}): string {
  const who = typeof by === 'string' ? { by } : { credential_id: by.credentialId, ip: by.ip, request_id: by.requestId };
  return JSON.stringify({ ...who, ...more });
}

/** Appends to a card's chain. Runs in the transaction of the change. */
export async function auditCard(
  tx: Queryable,
  merchantId: number,
  cardNo: string,
  atMs: number,
  action: AuditAction,
  details: string,
): Promise<void> {
  await tx.query(
    'audit-card',
    `with head as (
       update cards set audit_count = audit_count + 1,
              audit_head = audit_hash(audit_head, merchant_id, card_no, audit_count + 1, $3, $4, $5)
        where merchant_id = $1 and card_no = $2
       returning audit_count, audit_head)
     insert into audit_records (merchant_id, card_no, seq, at, action, details, hash)
     select $1, $2, audit_count, to_timestamp($3::bigint / 1000.0), $4, $5, audit_head from head`,
    [merchantId, cardNo, atMs, action, details],
  );
}

/** Appends to a merchant's own chain: what operators did to it and to its credentials. */
export async function auditMerchant(tx: Queryable, merchantId: number, atMs: number, action: AuditAction, details: string): Promise<void> {
  await tx.query(
    'audit-merchant',
    `with head as (
       update merchants set audit_count = audit_count + 1,
              audit_head = audit_hash(audit_head, merchant_id, '', audit_count + 1, $2, $3, $4)
        where merchant_id = $1
       returning audit_count, audit_head)
     insert into audit_records (merchant_id, card_no, seq, at, action, details, hash)
     select $1, '', audit_count, to_timestamp($2::bigint / 1000.0), $3, $4, audit_head from head`,
    [merchantId, atMs, action, details],
  );
}
