import { createAllowlist } from '../auth/ip-allowlist.ts';
import { CARDS_AND_BINS, type CardStatus, ofIssuer } from '../cards/store.ts';
import type { Queryable } from '../db/database.ts';

/** Who calls the issuer's API: the bank or processor behind the cards of the merchants that it is bound to. */
export interface Issuer {
  issuerId: number;
  issuerNo: string;
  merchantIds: number[];
  enabled: boolean;
  allows: (address: string) => boolean;
  /** SHA-256 of the client certificate that must come along. */
  clientCert: Buffer | undefined;
}

/** By the hex of the secret's SHA-256. */
export async function findIssuer(db: Queryable, secretHash: string): Promise<Issuer | undefined> {
  const [row] = await db.query<[number, string, string, string[], Buffer | null, number[]]>(
    'find-issuer',
    `select issuer_id, issuer_no, status, ip_allowlist, client_cert,
            array(select merchant_id from issuer_merchants m where m.issuer_id = i.issuer_id order by merchant_id)
       from issuers i where secret_hash = decode($1, 'hex')`,
    [secretHash],
  );
  if (row === undefined) return undefined;
  const [issuerId, issuerNo, status, ipAllowlist, clientCert, merchantIds] = row;
  return {
    issuerId,
    issuerNo,
    merchantIds,
    enabled: status === 'Enabled',
    allows: createAllowlist(ipAllowlist),
    clientCert: clientCert ?? undefined,
  };
}

export async function insertIssuer(
  tx: Queryable,
  issuer: { issuerNo: string; name: string; secretHash: Buffer; clientCert: Buffer | undefined; ipAllowlist: string[] },
): Promise<number> {
  const [row] = await tx.query<[number]>(
    'insert-issuer',
    'insert into issuers (issuer_no, name, secret_hash, client_cert, ip_allowlist) values ($1, $2, $3, $4, $5) returning issuer_id',
    [issuer.issuerNo, issuer.name, issuer.secretHash, issuer.clientCert, issuer.ipAllowlist],
  );
  return (row as [number])[0];
}

/** Binds the issuer to a merchant's cards. False if there is no such merchant. */
export async function bindIssuer(tx: Queryable, issuerId: number, merchantNo: string): Promise<boolean> {
  const rows = await tx.query(
    'bind-issuer',
    'insert into issuer_merchants (issuer_id, merchant_id) select $1, merchant_id from merchants where merchant_no = $2 returning 1',
    [issuerId, merchantNo],
  );
  return rows.length > 0;
}

export async function findIssuerId(db: Queryable, issuerNo: string): Promise<number | undefined> {
  const [row] = await db.query<[number]>('find-issuer-id', 'select issuer_id from issuers where issuer_no = $1', [issuerNo]);
  return row?.[0];
}

/** An issuer and the merchants that it is bound to, whether it is enabled or not. */
export async function findIssuerScope(db: Queryable, issuerNo: string): Promise<{ issuerId: number; merchantIds: number[] } | undefined> {
  const [row] = await db.query<[number, number[]]>(
    'find-issuer-scope',
    `select issuer_id, array(select merchant_id from issuer_merchants m where m.issuer_id = i.issuer_id) from issuers i where issuer_no = $1`,
    [issuerNo],
  );
  return row && { issuerId: row[0], merchantIds: row[1] };
}

export async function disableIssuer(tx: Queryable, issuerId: number): Promise<void> {
  await tx.query('disable-issuer', `update issuers set status = 'Disabled' where issuer_id = $1`, [issuerId]);
}

export type IssuerListing = [
  issuerNo: string,
  name: string,
  status: string,
  merchants: string[],
  ipAllowlist: string[],
  certificate: boolean,
  createdAt: Date,
];

export function listIssuers(db: Queryable): Promise<IssuerListing[]> {
  return db.query(
    'list-issuers',
    `select issuer_no, name, status,
            array(select merchant_no from issuer_merchants b join merchants m using (merchant_id) where b.issuer_id = i.issuer_id order by 1),
            ip_allowlist, client_cert is not null, created_at from issuers i order by issuer_id`,
  );
}

export interface IssuerKey {
  kind: 'zpk' | 'kbpk';
  label: string;
  algorithm: string;
  kcv: string;
  createdAtMs: number;
  destroyedAtMs: number | undefined;
}

export interface StoredIssuerKey extends IssuerKey {
  keyWrapped: Buffer | null;
}

type IssuerKeyTuple = [IssuerKey['kind'], string, string, string, number, number | null, Buffer | null];
const ISSUER_KEY_COLUMNS = `kind, label, algorithm, kcv, (extract(epoch from created_at) * 1000)::bigint, (extract(epoch from destroyed_at) * 1000)::bigint, key_wrapped`;

function issuerKeyOf([kind, label, algorithm, kcv, createdAtMs, destroyedAtMs, keyWrapped]: IssuerKeyTuple): StoredIssuerKey {
  return { kind, label, algorithm, kcv, createdAtMs, destroyedAtMs: destroyedAtMs ?? undefined, keyWrapped };
}

/** What a wrapped key of an issuer is bound to. */
export function issuerKeyIdentity(issuerId: number, kind: IssuerKey['kind'], label: string): string {
  return `issuer-key:${issuerId}:${kind}:${label}`;
}

export async function findIssuerKey(
  db: Queryable,
  issuerId: number,
  kind: IssuerKey['kind'],
  label: string,
): Promise<StoredIssuerKey | undefined> {
  const [row] = await db.query<IssuerKeyTuple>(
    'find-issuer-key',
    `select ${ISSUER_KEY_COLUMNS} from issuer_keys where issuer_id = $1 and kind = $2 and label = $3`,
    [issuerId, kind, label],
  );
  return row && issuerKeyOf(row);
}

export async function listIssuerKeys(db: Queryable, issuerId: number): Promise<IssuerKey[]> {
  const rows = await db.query<IssuerKeyTuple>(
    'list-issuer-keys',
    `select ${ISSUER_KEY_COLUMNS} from issuer_keys where issuer_id = $1 order by kind, label`,
    [issuerId],
  );
  return rows.map(issuerKeyOf);
}

export async function insertIssuerKey(
  tx: Queryable,
  issuerId: number,
  key: Omit<IssuerKey, 'destroyedAtMs'> & { keyWrapped: Buffer },
): Promise<void> {
  await tx.query(
    'insert-issuer-key',
    `insert into issuer_keys (issuer_id, kind, label, algorithm, kcv, key_wrapped, created_at) values ($1, $2, $3, $4, $5, $6, to_timestamp($7::bigint / 1000.0))`,
    [issuerId, key.kind, key.label, key.algorithm, key.kcv, key.keyWrapped, key.createdAtMs],
  );
}

/** Wipes the key and keeps its label. False if there is none, or it is destroyed already. */
export async function destroyIssuerKey(
  tx: Queryable,
  issuerId: number,
  kind: IssuerKey['kind'],
  label: string,
  atMs: number,
): Promise<boolean> {
  const rows = await tx.query(
    'destroy-issuer-key',
    `update issuer_keys set key_wrapped = null, destroyed_at = to_timestamp($4::bigint / 1000.0)
      where issuer_id = $1 and kind = $2 and label = $3 and destroyed_at is null returning 1`,
    [issuerId, kind, label, atMs],
  );
  return rows.length > 0;
}

/** How many blocks that did not parse were seen since when, where that still counts. */
export interface Malformed {
  count: number;
  sinceMs: number | undefined;
}

export interface CardToVerify {
  merchantId: number;
  cardNo: string;
  status: CardStatus;
  panWrapped: Buffer | null;
  pinVersion: number;
  failedTries: number;
  blocked: boolean;
  malformed: Malformed;
  pin: { prv: Buffer; salt: Buffer; keyVersion: number; setAtMs: number; envelope: string } | undefined;
  zoneKey: { algorithm: string; createdAtMs: number; malformed: Malformed } | undefined;
}

type CardToVerifyTuple = [
  number,
  string,
  CardStatus,
  Buffer | null,
  number,
  number,
  boolean,
  number,
  number | null,
  Buffer | null,
  Buffer,
  number,
  number,
  string,
  string | null,
  number,
  number,
  number | null,
];

const FIND_TO_VERIFY = `select c.merchant_id, c.card_no, c.status, c.pan_wrapped, c.pin_version, c.pin_failed_tries, c.pin_blocked_at is not null,
            c.malformed_blocks, (extract(epoch from c.malformed_since) * 1000)::bigint,
            c.pin_prv, c.pin_salt, c.pin_key_version, (extract(epoch from c.pin_set_at) * 1000)::bigint, c.pin_envelope,
            k.algorithm, (extract(epoch from k.created_at) * 1000)::bigint, k.malformed_blocks, (extract(epoch from k.malformed_since) * 1000)::bigint
       from ${CARDS_AND_BINS}
       left join issuer_keys k on k.issuer_id = $2 and k.kind = 'zpk' and k.label = $3 and k.destroyed_at is null
      where c.merchant_id = any($1) and ${ofIssuer('$2')}`;

/**
 * A card of the issuer's merchants, and not of another issuer's BIN, by its number or its PAN's fingerprints, its PIN's record and a zone key, as they stand at one
 * moment, in one round trip.
 */
export async function findToVerify(
  db: Queryable,
  { issuerId, merchantIds }: Issuer,
  card: { cardNo: string } | { fingerprints: Buffer[] },
  zoneKeyLabel: string | undefined,
): Promise<CardToVerify | undefined> {
  const byNumber = 'cardNo' in card;
  const [row] = await db.query<CardToVerifyTuple>(
    byNumber ? 'find-to-verify' : 'find-to-verify-by-pan',
    `${FIND_TO_VERIFY} and ${byNumber ? 'c.card_no = $4' : 'c.pan_fingerprint = any($4)'} limit 1`,
    [merchantIds, issuerId, zoneKeyLabel, byNumber ? card.cardNo : card.fingerprints],
  );
  if (row === undefined) return undefined;
  const [merchantId, cardNo, status, panWrapped, pinVersion, failedTries, blocked, malformed, malformedSince, ...joined] = row;
  const [prv, salt, keyVersion, setAtMs, envelope, algorithm, createdAtMs, keyMalformed, keyMalformedSince] = joined;
  return {
    merchantId,
    cardNo,
    status,
    panWrapped,
    pinVersion,
    failedTries,
    blocked,
    malformed: { count: malformed, sinceMs: malformedSince ?? undefined },
    pin: prv === null ? undefined : { prv, salt, keyVersion, setAtMs, envelope },
    zoneKey:
      algorithm === null
        ? undefined
        : { algorithm, createdAtMs, malformed: { count: keyMalformed, sinceMs: keyMalformedSince ?? undefined } },
  };
}

export interface TryToWrite {
  merchantId: number;
  cardNo: string;
  /** What the verdict was made on: the row is written only if it still stands so. */
  pinVersion: number;
  failedTries: number;
  result: 'match' | 'mismatch';
  blocks: boolean;
  atMs: number;
  details: string;
  /** The reference value under a newer key version, made while the PIN was at hand. */
  renewed: { prv: Buffer; salt: Buffer; keyVersion: number } | undefined;
}

/**
 * Counts a try and appends its record, if the card is as it was when the verdict was made; the row's lock decides. False, and
 * nothing written, if somebody else tried, set or unblocked meanwhile.
 */
export async function writeTry(db: Queryable, one: TryToWrite): Promise<boolean> {
  const [[count] = [0]] = await db.query<[number]>(
    'write-try',
    `with head as (
       update cards c
          set pin_failed_tries = case $5 when 'match' then 0 else c.pin_failed_tries + 1 end,
              pin_last_failure_at = case $5 when 'match' then c.pin_last_failure_at else to_timestamp($7::bigint / 1000.0) end,
              pin_blocked_at = case when $6 then to_timestamp($7::bigint / 1000.0) end,
              pin_prv = coalesce($9, c.pin_prv), pin_salt = coalesce($10, c.pin_salt), pin_key_version = coalesce($11, c.pin_key_version),
              audit_count = c.audit_count + 1,
              audit_head = audit_hash(c.audit_head, c.merchant_id, c.card_no, c.audit_count + 1, $7, 'pin_verified', $8)
        where c.merchant_id = $1 and c.card_no = $2 and c.pin_version = $3 and c.pin_failed_tries = $4 and c.pin_blocked_at is null
          and c.status = 'Activated'
       returning c.merchant_id, c.card_no, c.cardholder_no, c.pin_version, c.audit_count, c.audit_head
     ), audit as (
       insert into audit_records (merchant_id, card_no, seq, at, action, details, hash)
       select merchant_id, card_no, audit_count, to_timestamp($7::bigint / 1000.0), 'pin_verified', $8, audit_head from head
     ), renewed_history as (
       update pin_history h set prv = $9, salt = $10, key_version = $11 from head
        where $9::bytea is not null and h.merchant_id = head.merchant_id and h.card_no = head.card_no and h.version = head.pin_version
     ), event as (
       insert into callback_events (merchant_id, card_no, action, data, created_at, due_at)
       select merchant_id, card_no, 'Pin_blocked', concat('{"card_no":"', card_no, '","cardholder_no":"', cardholder_no, '","time":', $7::bigint, '}'),
              to_timestamp($7::bigint / 1000.0), to_timestamp($7::bigint / 1000.0)
         from head join merchants m using (merchant_id) where $6 and m.callback_url is not null and 'Pin_blocked' = any(m.callback_actions)
     )
     select count(*) from head`,
    [
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
    ],
  );
  return count === 1;
}

const COUNT_MALFORMED = `set malformed_blocks = case when malformed_since > to_timestamp($1::bigint / 1000.0) then malformed_blocks + 1 else 1 end,
       malformed_since = case when malformed_since > to_timestamp($1::bigint / 1000.0) then malformed_since else to_timestamp($2::bigint / 1000.0) end
 where (malformed_since is null or malformed_since <= to_timestamp($1::bigint / 1000.0) or malformed_blocks < $3)`;

/** Counts a malformed block with its card and its zone key, of those since `fromMs`. False if either has `most` already. */
export async function countMalformed(
  tx: Queryable,
  where: { merchantId: number; cardNo: string; issuerId: number; zoneKey: string },
  window: { fromMs: number; atMs: number; most: number },
): Promise<boolean> {
  const values = [window.fromMs, window.atMs, window.most];
  const ofCard = await tx.query(
    'count-malformed-card',
    `update cards ${COUNT_MALFORMED} and merchant_id = $4 and card_no = $5 returning 1`,
    [...values, where.merchantId, where.cardNo],
  );
  const ofKey = await tx.query(
    'count-malformed-key',
    `update issuer_keys ${COUNT_MALFORMED} and issuer_id = $4 and kind = 'zpk' and label = $5 returning 1`,
    [...values, where.issuerId, where.zoneKey],
  );
  return ofCard.length > 0 && ofKey.length > 0;
}

/** Clears tries and block of a card that has a PIN; the PIN stays. Locks the card, and gives what was cleared as it was once locked. */
export async function clearTries(
  tx: Queryable,
  merchantId: number,
  cardNo: string,
): Promise<{ cardholderNo: string; blocked: boolean; failedTries: number } | undefined> {
  const [row] = await tx.query<[string, boolean, number]>(
    'clear-tries',
    `with before as (
       select merchant_id, card_no, pin_blocked_at is not null as blocked, pin_failed_tries from cards
        where merchant_id = $1 and card_no = $2 and pin_version > 0 for update)
     update cards c set pin_failed_tries = 0, pin_last_failure_at = null, pin_blocked_at = null
       from before where c.merchant_id = before.merchant_id and c.card_no = before.card_no
     returning c.cardholder_no, before.blocked, before.pin_failed_tries`,
    [merchantId, cardNo],
  );
  return row && { cardholderNo: row[0], blocked: row[1], failedTries: row[2] };
}

/** Stores what the issuer supplied of a cardholder; false if none of its merchants has this one. */
export async function setPersonal(tx: Queryable, merchantIds: number[], cardholderNo: string, wrapped: Buffer | null): Promise<boolean> {
  const rows = await tx.query(
    'set-personal',
    'update cardholders set personal_wrapped = $3 where merchant_id = any($1) and cardholder_no = $2 returning 1',
    [merchantIds, cardholderNo, wrapped],
  );
  return rows.length > 0;
}
