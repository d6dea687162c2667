import type { Queryable } from '../db/queryable.ts';
import { fromMs } from '../db/sql-time.ts';
import { type Actor, auditDetails } from './actor.ts';
import { SUBJECTS, type SubjectKind } from './subject.ts';

/*
 * What happened to what, and who did it, in hash chains: one for each card, cardholder, merchant
 * and issuer, and one for the platform. Each record's hash covers the hash before it, so that a
 * change, a gap or a new order shows. The row that holds a chain's head (audit_count, audit_head)
 * is locked and moved on by the statement that appends. The SQL of both steps stands here alone,
 * also for statements of features that append while they do other work.
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
  | 'limit_reset'
  | 'key_exported'
  | 'keys_rewrapped'
  | 'audit_pruned';

/** What a record says, as SQL expressions. */
export interface RecordSql {
  /** bigint: Unix milliseconds, by the clock of the process. */
  atMs: string;
  action: string;
  details: string;
}

/**
 * SQL: the time of the next record of the row's chain, in Unix milliseconds. It never
 * decreases: clocks of processes differ, and are read before the row is locked. The updated
 * row has it as `audit_at_ms`.
 */
export function recordAtMs(row: string, atMs: string): string {
  return `greatest(${row}audit_at_ms, ${atMs})`;
}

/**
 * SQL: the assignments of an `update` that put one more record on the chain of the updated row.
 * `row` is the row's alias with a dot (`c.`), or empty.
 */
export function advanceChain(kind: SubjectKind, row: string, { atMs, action, details }: RecordSql): string {
  const { merchantId, chain } = SUBJECTS[kind].of(row);
  const recordedAtMs = recordAtMs(row, atMs);
  return `audit_count = ${row}audit_count + 1, audit_at_ms = ${recordedAtMs},
       audit_head = audit_hash(${row}audit_head, ${merchantId}, ${chain}, ${row}audit_count + 1, ${recordedAtMs}, ${action}, ${details})`;
}

/** SQL: the head of a new card's chain after its first record. */
export function firstHead(merchantId: string, cardNo: string, { atMs, action, details }: RecordSql): string {
  return `audit_hash(decode(repeat('00', 32), 'hex'), ${merchantId}, ${cardNo}, 1, ${atMs}, ${action}, ${details})`;
}

/**
 * SQL: inserts the record that a chain was advanced by. `from` names a table expression with the
 * columns merchant_id, audit_count and audit_head of the advanced row, and the columns that the
 * expressions use. `at` is a timestamptz.
 */
export function insertRecord(
  kind: SubjectKind,
  { from, number, at, action, details }: { from: string; number: string; at: string; action: string; details: string },
): string {
  return `insert into audit_records (merchant_id, subject_kind, subject, seq, at, action, details, hash)
  select merchant_id, '${kind}'::audit_subject_kind, ${number}, audit_count, ${at}, ${action}, ${details}, audit_head
    from ${from}`;
}

interface NewRecord {
  atMs: number;
  action: AuditAction;
  by: Actor;
  /** What else there is to say. */
  details?: Record<string, unknown>;
}

/**
 * Locks the head of the chain, computes the new hash from it, appends. Returns the time of the
 * record. Throws if there is no such row.
 */
async function append(tx: Queryable, kind: SubjectKind, key: unknown[], record: NewRecord): Promise<number> {
  const { table, key: columns, of } = SUBJECTS[kind];
  const { merchantId, number } = of('');
  const [appended] = await tx.query<{ atMs: number }>(
    `audit-${kind}`,
    `with head as (
       update ${table} set ${advanceChain(kind, '', { atMs: '$1::bigint', action: '$2', details: '$3' })}
        where ${columns.map((column, i) => `${column} = $${i + 4}`).join(' and ')}
       returning ${merchantId} as merchant_id, ${number} as subject, audit_count, audit_at_ms, audit_head
     ), record as (
       ${insertRecord(kind, { from: 'head', number: 'subject', at: fromMs('audit_at_ms'), action: '$2', details: '$3' })})
     select audit_at_ms as "atMs" from head`,
    [record.atMs, record.action, auditDetails(record.by, record.details), ...key],
  );
  if (appended === undefined) throw new Error(`there is no ${kind} whose chain the record ${record.action} belongs to`);
  return appended.atMs;
}

/**
 * Appends to a card's chain, in the transaction of the change. Returns the time of the record,
 * which is the time of the change's event too.
 */
export function auditCard(
  tx: Queryable,
  { merchantId, cardNo }: { merchantId: number; cardNo: string },
  record: NewRecord,
): Promise<number> {
  return append(tx, 'card', [merchantId, cardNo], record);
}

/** Appends to a cardholder's chain: applications and verdicts. */
export function auditCardholder(
  tx: Queryable,
  { merchantId, cardholderNo }: { merchantId: number; cardholderNo: string },
  record: NewRecord,
): Promise<number> {
  return append(tx, 'cardholder', [merchantId, cardholderNo], record);
}

/** Appends to a merchant's chain: what operators did to it and to its credentials. */
export function auditMerchant(tx: Queryable, merchantId: number, record: NewRecord): Promise<number> {
  return append(tx, 'merchant', [merchantId], record);
}

/** Appends to an issuer's chain: its credential, its keys, and what it supplied. */
export function auditIssuer(tx: Queryable, issuerId: number, record: NewRecord): Promise<number> {
  return append(tx, 'issuer', [issuerId], record);
}

/** Appends to the platform's chain: what operators did to keys and products. */
export function auditPlatform(tx: Queryable, record: NewRecord): Promise<number> {
  return append(tx, 'platform', [true], record);
}
