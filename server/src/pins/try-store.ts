import type { CardStatus } from '@pinward/contract/card-status';
import type { IssuerScope } from '../audit/actor.ts';
import { advanceChain, insertRecord } from '../audit/append.ts';
import { CARDS_AND_BINS, ofIssuer } from '../cards/store.ts';
import type { Queryable } from '../db/queryable.ts';
import { fromMs, toMs } from '../db/sql-time.ts';
import { insertEvent, pinEventData, takesEvent } from '../outbox/append-event.ts';
import type { BlockCounts, Counted, CountedSources } from './malformed-blocks.ts';

/** A card whose PIN is to be verified, with the PIN's record and the zone key. */
export interface CardToVerify {
  merchantId: number;
  cardNo: string;
  status: CardStatus;
  panWrapped: Buffer | null;
  pinVersion: number;
  failedTries: number;
  blocked: boolean;
  /** Its malformed blocks, those of the caller, and those under the zone key. */
  counts: Record<Counted, BlockCounts | undefined>;
  pin: { prv: Buffer; salt: Buffer; keyVersion: number; setAtMs: number; envelope: string } | undefined;
  zoneKey: { algorithm: string; createdAtMs: number } | undefined;
}

interface CardToVerifyRow {
  merchantId: number;
  cardNo: string;
  status: CardStatus;
  panWrapped: Buffer | null;
  pinVersion: number;
  failedTries: number;
  blocked: boolean;
  malformedBlocks: number;
  malformedSinceMs: number | null;
  prv: Buffer | null;
  salt: Buffer;
  keyVersion: number;
  setAtMs: number;
  envelope: string;
  zoneKeyAlgorithm: string | null;
  zoneKeyCreatedAtMs: number;
  callerMalformed: number;
  callerBlocks: number;
  callerSinceMs: number | null;
  zoneKeyMalformed: number;
  zoneKeyBlocks: number;
  zoneKeySinceMs: number | null;
}

const FIND_TO_VERIFY = `
select c.merchant_id as "merchantId", c.card_no as "cardNo", c.status, c.pan_wrapped as "panWrapped",
       c.pin_version as "pinVersion", c.pin_failed_tries as "failedTries", c.pin_blocked_at is not null as blocked,
       c.malformed_blocks as "malformedBlocks", ${toMs('c.malformed_since')} as "malformedSinceMs",
       c.pin_prv as prv, c.pin_salt as salt, c.pin_key_version as "keyVersion", ${toMs('c.pin_set_at')} as "setAtMs",
       c.pin_envelope as envelope, k.algorithm as "zoneKeyAlgorithm", ${toMs('k.created_at')} as "zoneKeyCreatedAtMs",
       by_caller.malformed as "callerMalformed", by_caller.blocks as "callerBlocks",
       ${toMs('by_caller.since')} as "callerSinceMs", under_key.malformed as "zoneKeyMalformed",
       under_key.blocks as "zoneKeyBlocks", ${toMs('under_key.since')} as "zoneKeySinceMs"
  from ${CARDS_AND_BINS}
  left join issuer_keys k on k.issuer_id = $2 and k.kind = 'zpk' and k.label = $3 and k.destroyed_at is null
  left join pin_block_counts by_caller
         on by_caller.issuer_id = $2 and by_caller.kind = 'caller' and by_caller.name = $5
  left join pin_block_counts under_key
         on under_key.issuer_id = $2 and under_key.kind = 'zone_key' and under_key.name = $3
 where c.merchant_id = any($1) and ${ofIssuer('$2')}`;

/**
 * Reads card, PIN and zone key in one query, so that they agree. The card is one of the issuer's
 * merchants', not under another issuer's BIN, and named by its number or by its PAN's fingerprints.
 */
export async function findToVerify(
  db: Queryable,
  { issuerId, merchantIds }: IssuerScope,
  card: { cardNo: string } | { fingerprints: Buffer[] },
  sources: Partial<Pick<CountedSources, 'zoneKey' | 'caller'>> = {},
): Promise<CardToVerify | undefined> {
  const byNumber = 'cardNo' in card;
  const [row] = await db.query<CardToVerifyRow>(
    byNumber ? 'find-to-verify' : 'find-to-verify-by-pan',
    `${FIND_TO_VERIFY} and ${byNumber ? 'c.card_no = $4' : 'c.pan_fingerprint = any($4)'} limit 1`,
    [merchantIds, issuerId, sources.zoneKey, byNumber ? card.cardNo : card.fingerprints, sources.caller],
  );
  return row && cardToVerifyOf(row);
}

function cardToVerifyOf(row: CardToVerifyRow): CardToVerify {
  const { merchantId, cardNo, status, panWrapped, pinVersion, failedTries, blocked } = row;
  const { prv, salt, keyVersion, setAtMs, envelope } = row;
  return {
    merchantId,
    cardNo,
    status,
    panWrapped,
    pinVersion,
    failedTries,
    blocked,
    counts: {
      card: countsOf(row.malformedBlocks, row.malformedBlocks, row.malformedSinceMs),
      caller: countsOf(row.callerMalformed, row.callerBlocks, row.callerSinceMs),
      zone_key: countsOf(row.zoneKeyMalformed, row.zoneKeyBlocks, row.zoneKeySinceMs),
    },
    pin: prv === null ? undefined : { prv, salt, keyVersion, setAtMs, envelope },
    zoneKey:
      row.zoneKeyAlgorithm === null
        ? undefined
        : { algorithm: row.zoneKeyAlgorithm, createdAtMs: row.zoneKeyCreatedAtMs },
  };
}

function countsOf(malformed: number, blocks: number, sinceMs: number | null): BlockCounts | undefined {
  return sinceMs === null ? undefined : { malformed, blocks, sinceMs };
}

export interface NewTry {
  merchantId: number;
  cardNo: string;
  /** What the verdict was made on: nothing is written unless the row is still so. */
  pinVersion: number;
  failedTries: number;
  result: 'match' | 'mismatch';
  /** Whether this try blocks the PIN. */
  blocks: boolean;
  atMs: number;
  /** Of the audit record (`auditDetails`). */
  details: string;
  /** The reference value under a newer key version, made while the PIN was at hand. */
  renewed: { prv: Buffer; salt: Buffer; keyVersion: number } | undefined;
}

const RECORD = { action: "'pin_verified'", details: '$8' };

const WRITE_TRY = `
with head as (
  update cards c
     set pin_failed_tries = case $5 when 'match' then 0 else c.pin_failed_tries + 1 end,
         pin_last_failure_at = case $5 when 'match' then c.pin_last_failure_at else ${fromMs('$7')} end,
         pin_blocked_at = case when $6 then ${fromMs('$7')} end,
         pin_prv = coalesce($9, c.pin_prv), pin_salt = coalesce($10, c.pin_salt),
         pin_key_version = coalesce($11, c.pin_key_version),
         ${advanceChain('card', 'c.', { atMs: '$7::bigint', ...RECORD })}
   where c.merchant_id = $1 and c.card_no = $2 and c.pin_version = $3 and c.pin_failed_tries = $4
     and c.pin_blocked_at is null and c.status = 'Activated'
  returning c.merchant_id, c.card_no, c.cardholder_no, c.pin_version, c.audit_count, c.audit_at_ms,
            c.audit_head
), audit as (
  ${insertRecord('card', { from: 'head', number: 'card_no', at: fromMs('audit_at_ms'), ...RECORD })}
), renewed_history as (
  update pin_history h set prv = $9, salt = $10, key_version = $11 from head
   where $9::bytea is not null
     and h.merchant_id = head.merchant_id and h.card_no = head.card_no and h.version = head.pin_version
), event as (
  ${insertEvent({
    from: `head join merchants m using (merchant_id) where $6 and ${takesEvent('m', "'Pin_blocked'")}`,
    action: "'Pin_blocked'",
    data: pinEventData('head.audit_at_ms'),
    at: fromMs('head.audit_at_ms'),
    due: fromMs('$7'),
  })}
)
select from head`;

/**
 * Counts a try and appends its record, if the card is as it was when the verdict was made; the
 * row's lock decides. Returns false, and writes nothing, if somebody else tried, set or unblocked
 * meanwhile.
 */
export async function writeTry(db: Queryable, one: NewTry): Promise<boolean> {
  const written = await db.query('write-try', WRITE_TRY, [
    one.merchantId,
    one.cardNo,
    one.pinVersion,
    one.failedTries,
    one.result,
    one.blocks,
    one.atMs,
    one.details,
    one.renewed?.prv,
    one.renewed?.salt,
    one.renewed?.keyVersion,
  ]);
  return written.length === 1;
}

export interface ClearedTries {
  cardholderNo: string;
  blocked: boolean;
  failedTries: number;
}

/**
 * Clears the tries and the block of a card that has a PIN; the PIN stays. Locks the card and
 * returns what was cleared, as it was on the locked row. Undefined if the card has no PIN.
 */
export async function clearTries(tx: Queryable, merchantId: number, cardNo: string): Promise<ClearedTries | undefined> {
  const [row] = await tx.query<ClearedTries>(
    'clear-tries',
    `with before as (
       select merchant_id, card_no, pin_blocked_at is not null as blocked, pin_failed_tries from cards
        where merchant_id = $1 and card_no = $2 and pin_version > 0 for update)
     update cards c set pin_failed_tries = 0, pin_last_failure_at = null, pin_blocked_at = null
       from before where c.merchant_id = before.merchant_id and c.card_no = before.card_no
     returning c.cardholder_no as "cardholderNo", before.blocked, before.pin_failed_tries as "failedTries"`,
    [merchantId, cardNo],
  );
  return row;
}
