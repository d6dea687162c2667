import type { CardType } from '@pinward/contract/vocabulary';
import { firstHead, insertRecord } from '../audit/append.ts';
import type { Queryable } from '../db/queryable.ts';
import { fromMs, toMs } from '../db/sql-time.ts';
import type { Offer } from '../products/store.ts';
import type { CardKey } from './store.ts';

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
  /** Of the audit record (`auditDetails`). */
  details: string;
}

const RECORD = { action: "'card_applied'", details: '$12' };

const INSERT_APPLICATION = `
with head as (
  insert into cards (merchant_id, card_no, card_unique_no, cardholder_no, card_type, status, card_name, organization,
                     card_bin_no, package_no, created_at, audit_count, audit_at_ms, audit_head)
  values ($1, $2, $3, $4, $5, 'Pending', $6, $7, $8, $9, ${fromMs('$10')},
          1, $10, ${firstHead('$1', '$2', { atMs: '$10', ...RECORD })})
  on conflict do nothing returning merchant_id, card_no, created_at, audit_count, audit_head
), application as (
  insert into card_applications (merchant_id, card_no, card_bin_no, address_wrapped, applied_at)
  select merchant_id, card_no, $8, $11, created_at from head
)
${insertRecord('card', { from: 'head', number: 'card_no', at: 'created_at', ...RECORD })} returning 1`;

/**
 * Stores a `Pending` card, its application and the first record of its chain, in one
 * statement. Returns false, and stores nothing, if the merchant has a card of this unique
 * number, or any merchant has one of this card number.
 */
export async function insertApplication(db: Queryable, application: NewApplication): Promise<boolean> {
  const { offer } = application;
  const rows = await db.query('insert-application', INSERT_APPLICATION, [
    application.merchantId,
    application.cardNo,
    application.cardUniqueNo,
    application.cardholderNo,
    application.cardType,
    offer.cardName,
    offer.organization,
    offer.cardBinNo,
    offer.packageNo,
    application.atMs,
    application.addressWrapped,
    application.details,
  ]);
  return rows.length > 0;
}

/** What a merchant's unique number was used for. */
export interface Applied {
  cardNo: string;
  cardholderNo: string;
  cardType: CardType;
  cardBinNo: string | null;
  packageNo: string | null;
  /** False for a card that the issuer imported. */
  appliedFor: boolean;
  addressWrapped: Buffer | null;
}

export async function findApplied(
  db: Queryable,
  merchantId: number,
  cardUniqueNo: string,
): Promise<Applied | undefined> {
  const [row] = await db.query<Applied>(
    'find-applied',
    `select c.card_no as "cardNo", c.cardholder_no as "cardholderNo", c.card_type as "cardType",
            c.card_bin_no as "cardBinNo", c.package_no as "packageNo", a.card_no is not null as "appliedFor",
            a.address_wrapped as "addressWrapped"
       from cards c left join card_applications a using (merchant_id, card_no)
      where c.merchant_id = $1 and c.card_unique_no = $2`,
    [merchantId, cardUniqueNo],
  );
  return row;
}

/** The BIN of an application that this issuer decides on. The transaction has locked the card. */
export async function findBinToIssue(
  tx: Queryable,
  issuerId: number,
  { merchantId, cardNo }: CardKey,
): Promise<string | undefined> {
  const [row] = await tx.query<{ cardBinNo: string }>(
    'find-bin-to-issue',
    `select a.card_bin_no as "cardBinNo" from card_applications a join card_bins b using (card_bin_no)
      where a.merchant_id = $1 and a.card_no = $2 and b.issuer_id = $3`,
    [merchantId, cardNo, issuerId],
  );
  return row?.cardBinNo;
}

/**
 * Stores that the issuer has decided on an application: issued it or, with a reason,
 * refused it.
 */
export async function setDecided(
  tx: Queryable,
  { merchantId, cardNo }: CardKey,
  { atMs, failReason }: { atMs: number; failReason?: string },
): Promise<void> {
  await tx.query(
    'set-decided',
    `update card_applications set decided_at = ${fromMs('$3')}, fail_reason = $4
      where merchant_id = $1 and card_no = $2`,
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
  packageNo: string | null;
  addressWrapped: Buffer | null;
  appliedAtMs: number;
}

/** SQL: after the application of card $4. An unknown card number begins at the start. */
const AFTER = `and (a.applied_at, a.card_no) >
  (select coalesce(max(applied_at), '-infinity'), coalesce(max(card_no), '')
     from cards join card_applications using (merchant_id, card_no) where card_no = $4)`;

/**
 * Lists the applications up to `untilMs` that wait for a decision under BINs of this issuer
 * (undefined: of any issuer), oldest first. `after` is the last card number of the page
 * before. A number instead of an offset skips no application when others are decided on
 * meanwhile.
 */
export async function listPendingApplications(
  db: Queryable,
  issuerId: number | undefined,
  { after, untilMs, size }: { after?: string | undefined; untilMs: number; size: number },
): Promise<PendingApplication[]> {
  return db.query(
    `list-pending-applications${issuerId === undefined ? '' : '-of'}${after === undefined ? '' : '-after'}`,
    `select b.issuer_id as "issuerId", c.merchant_id as "merchantId", m.merchant_no as "merchantNo",
            c.card_no as "cardNo", c.card_unique_no as "cardUniqueNo", c.cardholder_no as "cardholderNo",
            c.card_type as "cardType", a.card_bin_no as "cardBinNo", c.package_no as "packageNo",
            a.address_wrapped as "addressWrapped", ${toMs('a.applied_at')} as "appliedAtMs"
       from card_applications a join card_bins b using (card_bin_no)
       join cards c using (merchant_id, card_no) join merchants m using (merchant_id)
      where a.decided_at is null and c.status = 'Pending' and a.applied_at <= ${fromMs('$2')}
        ${issuerId === undefined ? 'and $1::int is null' : 'and b.issuer_id = $1'}
        ${after === undefined ? '' : AFTER}
      order by a.applied_at, a.card_no limit $3`,
    [issuerId, untilMs, size, ...(after === undefined ? [] : [after])],
  );
}
