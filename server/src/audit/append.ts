import type { Origin } from '../auth/authenticate.ts';
import type { Queryable } from '../db/database.ts';
import type { IssuerOrigin } from '../issuer/authenticate.ts';

/*
 * What happened to what, by whom. One chain a card, a cardholder, a merchant and an issuer, and one of the platform's own: each record's hash
 * covers the hash before it, so that a change, a gap or a new order shows. The row that holds the chain's head is locked by the statement that
 * appends, and the hash is computed there. PIN sets append in their own shared statement (pins/store.ts), by the same rule.
 */

export type AuditAction =
  | 'card_created'
  | 'card_applied'
  | 'card_issued'
  | 'card_failed'
  | 'card_private_read'
  | 'client_token_issued'
  | 'cardholder_created'
  | 'cardholder_applied'
  | 'cardholder_verification_started'
  | 'cardholder_approved'
  | 'cardholder_rejected'
  | 'card_activated'
  | 'card_activation_failed'
  | 'card_frozen'
  | 'card_unfrozen'
  | 'card_deleted'
  | 'pin_set'
  | 'pin_verified'
  | 'pin_unblocked'
  | 'merchant_created'
  | 'merchant_updated'
  | 'callbacks_retried'
  | 'credential_created'
  | 'credential_updated'
  | 'issuer_created'
  | 'issuer_updated'
  | 'zone_key_imported'
  | 'zone_key_destroyed'
  | 'personal_supplied'
  | 'product_created'
  | 'product_updated'
  | 'key_rotated'
  | 'key_destroyed'
  | 'key_component_imported'
  | 'key_exported'
  | 'keys_rewrapped'
  | 'audit_pruned';

/** What a record says of who did it: a merchant's or an issuer's request, or the operator at the command line. */
export function detailsOf(by: Origin | IssuerOrigin | 'operator' | 'sandbox', more: Record<string, unknown> = {}): string {
  const who =
    typeof by === 'string'
      ? { by }
      : { ...('issuerNo' in by ? { issuer: by.issuerNo } : { credential_id: by.credentialId }), ip: by.ip, request_id: by.requestId };
  return JSON.stringify({ ...who, ...more });
}

/**
 * Whose chain: the row that holds its head, by the key of its table, and how its records name it. No card number has a colon.
 * A table's key is its primary key, whose index whoever reads all heads walks along (store.ts).
 */
export const OWNERS = {
  card: { table: 'cards', key: ['merchant_id', 'card_no'], merchantId: 'merchant_id', cardNo: 'card_no' },
  cardholder: {
    table: 'cardholders',
    key: ['merchant_id', 'cardholder_no'],
    merchantId: 'merchant_id',
    cardNo: "'cardholder:' || cardholder_no",
  },
  merchant: { table: 'merchants', key: ['merchant_id'], merchantId: 'merchant_id', cardNo: "''" },
  issuer: { table: 'issuers', key: ['issuer_id'], merchantId: '0', cardNo: "'issuer:' || issuer_no" },
  platform: { table: 'installation', key: ['one'], merchantId: '0', cardNo: "''" },
} as const;

/** Locks the chain's head, computes the hash on it, appends. */
async function append(
  tx: Queryable,
  owner: keyof typeof OWNERS,
  key: unknown[],
  atMs: number,
  action: AuditAction,
  details: string,
): Promise<void> {
  const { table, key: names, merchantId, cardNo } = OWNERS[owner];
  const appended = await tx.query(
    `audit-${owner}`,
    `with head as (
       update ${table} set audit_count = audit_count + 1,
              audit_head = audit_hash(audit_head, ${merchantId}, ${cardNo}, audit_count + 1, $1, $2, $3)
        where ${names.map((name, i) => `${name} = $${i + 4}`).join(' and ')}
       returning ${merchantId} as merchant_id, ${cardNo} as card_no, audit_count, audit_head)
     insert into audit_records (merchant_id, card_no, seq, at, action, details, hash)
     select merchant_id, card_no, audit_count, to_timestamp($1::bigint / 1000.0), $2, $3, audit_head from head returning 1`,
    [atMs, action, details, ...key],
  );
  if (appended.length !== 1) throw new Error(`there is no ${owner} whose chain the record ${action} belongs to`);
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
  await append(tx, 'card', [merchantId, cardNo], atMs, action, details);
}

/** Appends to a cardholder's chain: applications and verdicts. */
export async function auditCardholder(
  tx: Queryable,
  merchantId: number,
  cardholderNo: string,
  atMs: number,
  action: AuditAction,
  details: string,
): Promise<void> {
  await append(tx, 'cardholder', [merchantId, cardholderNo], atMs, action, details);
}

/** Appends to a merchant's own chain: what operators did to it and to its credentials. */
export async function auditMerchant(tx: Queryable, merchantId: number, atMs: number, action: AuditAction, details: string): Promise<void> {
  await append(tx, 'merchant', [merchantId], atMs, action, details);
}

/** Appends to an issuer's chain: its credential, its keys, and what it supplied. */
export async function auditIssuer(tx: Queryable, issuerId: number, atMs: number, action: AuditAction, details: string): Promise<void> {
  await append(tx, 'issuer', [issuerId], atMs, action, details);
}

/** Appends to the platform's own chain: what operators did to keys. */
export async function auditPlatform(tx: Queryable, atMs: number, action: AuditAction, details: string): Promise<void> {
  await append(tx, 'platform', [true], atMs, action, details);
}
