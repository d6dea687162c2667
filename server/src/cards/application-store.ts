import type { Queryable } from '../db/database.ts';
import type { Offer } from '../products/store.ts';
import type { CardType } from './store.ts';

/** What the wrapped address of an application is bound to. */
export function addressIdentity(cardNo: string): string {
  return `address:${cardNo}`;
}

export interface NewApplication {
  merchantId: number;
  cardNo: string;
  cardUniqueNo: string;
  cardholderNo: string;
  cardType: CardType;
  offer: Offer;
  addressWrapped: Buffer | undefined;
  atMs: number;
  /** Of the audit record. */
  details: string;
}

/**
 * Stores a `Pending` card, its application and the first record of its chain (by the rule of audit/append.ts), in one statement: false, and
 * nothing stored, if the merchant has a card of this unique number, or anybody one of this number.
 */
export async function insertApplication(db: Queryable, one: NewApplication): Promise<boolean> {
  const rows = await db.query(
    'insert-application',
    `with card as (
       insert into cards (merchant_id, card_no, card_unique_no, cardholder_no, card_type, status, card_name, organization, card_bin_no, package_no, created_at,
                          audit_count, audit_head)
       values ($1, $2, $3, $4, $5, 'Pending', $6, $7, $8, $9, to_timestamp($10::bigint / 1000.0),
               1, audit_hash(decode(repeat('00', 32), 'hex'), $1, $2, 1, $10, 'card_applied', $12))
       on conflict do nothing returning merchant_id, card_no, created_at, audit_head
     ), application as (
       insert into card_applications (merchant_id, card_no, card_bin_no, address_wrapped, applied_at)
       select merchant_id, card_no, $8, $11, created_at from card
     )
     insert into audit_records (merchant_id, card_no, seq, at, action, details, hash)
     select merchant_id, card_no, 1, created_at, 'card_applied', $12, audit_head from card returning 1`,
    [
      one.merchantId,
      one.cardNo,
      one.cardUniqueNo,
      one.cardholderNo,
      one.cardType,
      one.offer.cardName,
      one.offer.organization,
      one.offer.cardBinNo,
      one.offer.packageNo,
      one.atMs,
      one.addressWrapped,
      one.details,
    ],
  );
  return rows.length > 0;
}

/** What a merchant's unique number was used for. */
export interface Applied {
  cardNo: string;
  cardholderNo: string;
  cardType: CardType;
  cardBinNo: string | undefined;
  packageNo: string | undefined;
  /** False for a card that the issuer brought in. */
  appliedFor: boolean;
  addressWrapped: Buffer | undefined;
}

export async function findApplied(db: Queryable, merchantId: number, cardUniqueNo: string): Promise<Applied | undefined> {
  const [row] = await db.query<[string, string, CardType, string | null, string | null, boolean, Buffer | null]>(
    'find-applied',
    `select c.card_no, c.cardholder_no, c.card_type, c.card_bin_no, c.package_no, a.card_no is not null, a.address_wrapped
       from cards c left join card_applications a using (merchant_id, card_no) where c.merchant_id = $1 and c.card_unique_no = $2`,
    [merchantId, cardUniqueNo],
  );
  if (row === undefined) return undefined;
  const [cardNo, cardholderNo, cardType, cardBinNo, packageNo, appliedFor, addressWrapped] = row;
  return {
    cardNo,
    cardholderNo,
    cardType,
    cardBinNo: cardBinNo ?? undefined,
    packageNo: packageNo ?? undefined,
    appliedFor,
    addressWrapped: addressWrapped ?? undefined,
  };
}

/** The BIN of an application that this issuer decides on; of a card that the transaction has locked. */
export async function findBinToIssue(tx: Queryable, issuerId: number, merchantId: number, cardNo: string): Promise<string | undefined> {
  const [row] = await tx.query<[string]>(
    'find-bin-to-issue',
    `select a.card_bin_no from card_applications a join card_bins b using (card_bin_no)
      where a.merchant_id = $1 and a.card_no = $2 and b.issuer_id = $3`,
    [merchantId, cardNo, issuerId],
  );
  return row?.[0];
}

export async function setDecided(tx: Queryable, merchantId: number, cardNo: string, atMs: number, failReason?: string): Promise<void> {
  await tx.query(
    'set-decided',
    'update card_applications set decided_at = to_timestamp($3::bigint / 1000.0), fail_reason = $4 where merchant_id = $1 and card_no = $2',
    [merchantId, cardNo, atMs, failReason],
  );
}

export interface PendingApplication {
  issuerId: number;
  merchantId: number;
  merchantNo: string;
  cardNo: string;
  cardUniqueNo: string;
  cardholderNo: string;
  cardType: CardType;
  cardBinNo: string;
  packageNo: string | undefined;
  addressWrapped: Buffer | undefined;
  appliedAtMs: number;
}

/**
 * Applications until then that wait for a decision under BINs of this issuer (undefined: of any), oldest first. `after` is the card number of the last
 * one of the page before, so that a queue which is worked off meanwhile skips nobody; an unknown one begins at the start.
 */
export async function listPendingApplications(
  db: Queryable,
  issuerId: number | undefined,
  { after, untilMs, size }: { after?: string | undefined; untilMs: number; size: number },
): Promise<PendingApplication[]> {
  const rows = await db.query<[number, number, string, string, string, string, CardType, string, string | null, Buffer | null, number]>(
    `list-pending-applications${issuerId === undefined ? '' : '-of'}${after === undefined ? '' : '-after'}`,
    `select b.issuer_id, c.merchant_id, m.merchant_no, c.card_no, c.card_unique_no, c.cardholder_no, c.card_type, a.card_bin_no, c.package_no,
            a.address_wrapped, (extract(epoch from a.applied_at) * 1000)::bigint
       from card_applications a join card_bins b using (card_bin_no) join cards c using (merchant_id, card_no) join merchants m using (merchant_id)
      where a.decided_at is null and c.status = 'Pending' and a.applied_at <= to_timestamp($2::bigint / 1000.0)
        ${issuerId === undefined ? 'and $1::int is null' : 'and b.issuer_id = $1'}
        ${after === undefined ? '' : `and (a.applied_at, a.card_no) > (select coalesce(max(applied_at), '-infinity'), coalesce(max(card_no), '') from cards join card_applications using (merchant_id, card_no) where card_no = $4)`}
      order by a.applied_at, a.card_no limit $3`,
    [issuerId, untilMs, size, ...(after === undefined ? [] : [after])],
  );
  return rows.map(
    ([
      issuer,
      merchantId,
      merchantNo,
      cardNo,
      cardUniqueNo,
      cardholderNo,
      cardType,
      cardBinNo,
      packageNo,
      addressWrapped,
      appliedAtMs,
    ]) => ({
      issuerId: issuer,
      merchantId,
      merchantNo,
      cardNo,
      cardUniqueNo,
      cardholderNo,
      cardType,
      cardBinNo,
      packageNo: packageNo ?? undefined,
      addressWrapped: addressWrapped ?? undefined,
      appliedAtMs,
    }),
  );
}
