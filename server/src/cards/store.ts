import type { CardStatus } from '@pinward/contract/card-status';
import type { CardType, Freezer } from '@pinward/contract/vocabulary';
import type { RangePage } from '../db/page.ts';
import type { Queryable, Session } from '../db/queryable.ts';
import { fromMs, toMs } from '../db/sql-time.ts';

export interface Card {
  cardNo: string;
  cardUniqueNo: string;
  cardholderNo: string;
  cardName: string;
  cardType: CardType;
  organization: string;
  status: CardStatus;
  panLastFour: string | null;
  createdAtMs: number;
}

const CARD_COLUMNS = `card_no as "cardNo", card_unique_no as "cardUniqueNo", cardholder_no as "cardholderNo",
       card_name as "cardName", card_type as "cardType", organization, status, pan_last_four as "panLastFour",
       ${toMs('created_at')} as "createdAtMs"`;

/** What a wrapped PAN is bound to: moved to another card's row it does not open. */
export function panIdentity(cardNo: string): string {
  return `pan:${cardNo}`;
}

export async function findCard(db: Queryable, merchantId: number, cardNo: string): Promise<Card | undefined> {
  const [row] = await db.query<Card>(
    'find-card',
    `select ${CARD_COLUMNS} from cards where merchant_id = $1 and card_no = $2`,
    [merchantId, cardNo],
  );
  return row;
}

/** A card with the texts and fees of its package; they are empty for a card without a package. */
export interface CardDetail extends Card {
  packageEnName: string;
  packageCnName: string;
  feeDetail: object;
}

export async function findCardDetail(
  db: Queryable,
  merchantId: number,
  cardNo: string,
): Promise<CardDetail | undefined> {
  const [row] = await db.query<CardDetail>(
    'find-card-detail',
    `select ${CARD_COLUMNS}, coalesce(en_name, '') as "packageEnName", coalesce(cn_name, '') as "packageCnName",
            coalesce(fee_detail, '{}') as "feeDetail"
       from cards left join (select package_no, en_name, cn_name, fee_detail from card_packages) p using (package_no)
      where merchant_id = $1 and card_no = $2`,
    [merchantId, cardNo],
  );
  return row;
}

export interface CardFilter extends RangePage {
  cardNo: string | undefined;
  cardUniqueNo: string | undefined;
  cardholderNo: string | undefined;
}

/**
 * SQL: a page of cards, newest first. The card number breaks ties, so pages neither repeat
 * nor skip a card. The subquery skips rows within an index; only the rows of the page are
 * read from the table.
 */
const LIST_CARDS = (filters: readonly string[]): string => `
select ${CARD_COLUMNS} from cards join (
  select card_no from cards
   where merchant_id = $1 and created_at >= ${fromMs('$2')} and created_at < ${fromMs('$3')}
         ${filters.map((column, i) => `and ${column} = $${i + 6}`).join(' ')}
   order by created_at desc, card_no desc offset $4 limit $5) page using (card_no)
 where merchant_id = $1 order by created_at desc, card_no desc`;

/**
 * Lists a merchant's cards. Each set of filters has its own statement, planned for the
 * index that fits it.
 */
export async function listCards(db: Queryable, merchantId: number, filter: CardFilter): Promise<Card[]> {
  const { cardNo, cardUniqueNo, cardholderNo } = filter;
  const given = Object.entries({ card_no: cardNo, card_unique_no: cardUniqueNo, cardholder_no: cardholderNo }).filter(
    ([, value]) => value !== undefined,
  );
  const columns = given.map(([column]) => column);
  return db.query(`list-cards ${columns.join(' ')}`, LIST_CARDS(columns), [
    merchantId,
    filter.fromMs,
    filter.beforeMs,
    filter.offset,
    filter.size,
    ...given.map(([, value]) => value),
  ]);
}

/** A cardholder's newest cards, without `Pending` cards and `Fail` cards. */
export async function listIssuedCards(
  db: Queryable,
  merchantId: number,
  cardholderNo: string,
  limit: number,
): Promise<Card[]> {
  return db.query(
    'list-issued-cards',
    `select ${CARD_COLUMNS} from cards
      where merchant_id = $1 and cardholder_no = $2 and status not in ('Pending', 'Fail')
      order by created_at desc, card_no desc limit $3`,
    [merchantId, cardholderNo, limit],
  );
}

export interface LockedCard {
  merchantId: number;
  cardNo: string;
  cardholderNo: string;
  cardType: CardType;
  status: CardStatus;
  panWrapped: Buffer | null;
  panLastFour: string | null;
  expiryYymm: string | null;
  cvkVersion: number;
  activationFailures: number;
  activationFailedAtMs: number | null;
  /** Has a meaning only while the card is `Frozen`. */
  frozenBy: Freezer;
}

/**
 * Finds a card of one of these merchants and locks it until the transaction ends. Until
 * then its status and its failed activations do not change.
 */
export async function lockCard(tx: Queryable, merchantIds: number[], cardNo: string): Promise<LockedCard | undefined> {
  const [row] = await tx.query<LockedCard>(
    'lock-card',
    `select merchant_id as "merchantId", card_no as "cardNo", cardholder_no as "cardholderNo", card_type as "cardType",
            status, pan_wrapped as "panWrapped", pan_last_four as "panLastFour", expiry_yymm as "expiryYymm",
            cvk_version as "cvkVersion", activation_failures as "activationFailures",
            ${toMs('activation_failed_at')} as "activationFailedAtMs", frozen_by as "frozenBy"
       from cards where merchant_id = any($1) and card_no = $2 for update`,
    [merchantIds, cardNo],
  );
  return row;
}

/** Names a card of a merchant. */
export type CardKey = Pick<LockedCard, 'merchantId' | 'cardNo'>;

/** For apply-transition.ts alone, which knows the allowed changes. */
export async function updateStatus(tx: Queryable, { merchantId, cardNo }: CardKey, status: CardStatus): Promise<void> {
  await tx.query('update-status', 'update cards set status = $3 where merchant_id = $1 and card_no = $2', [
    merchantId,
    cardNo,
    status,
  ]);
}

export async function setFrozenBy(tx: Queryable, { merchantId, cardNo }: CardKey, frozenBy: Freezer): Promise<void> {
  await tx.query('set-frozen-by', 'update cards set frozen_by = $3 where merchant_id = $1 and card_no = $2', [
    merchantId,
    cardNo,
    frozenBy,
  ]);
}

/** Stores how many activations failed, and when the first of them did. */
export async function updateActivationFailures(
  tx: Queryable,
  { merchantId, cardNo }: CardKey,
  { failures, firstAtMs }: { failures: number; firstAtMs: number | null },
): Promise<void> {
  await tx.query(
    'update-activation-failures',
    `update cards set activation_failures = $3, activation_failed_at = ${fromMs('$4')}
      where merchant_id = $1 and card_no = $2`,
    [merchantId, cardNo, failures, firstAtMs],
  );
}

/** A PAN as it is stored. */
export interface StoredPan {
  panWrapped: Buffer;
  panFingerprint: Buffer;
  panFingerprintVersion: number;
  panLastFour: string;
  expiryYymm: string;
  cvkVersion: number;
}

export interface NewCard extends StoredPan {
  merchantId: number;
  cardNo: string;
  cardUniqueNo: string;
  cardholderNo: string;
  cardType: CardType;
  status: CardStatus;
  cardName: string;
  organization: string;
  cardBinNo?: string;
  /** Of a `Frozen` card; `merchant` if absent. */
  frozenBy?: Freezer;
  createdAtMs: number;
}

/**
 * Returns false, and stores nothing, if a card has this number, or a card of the merchant
 * has this unique number.
 */
export async function insertCard(tx: Queryable, card: NewCard): Promise<boolean> {
  const rows = await tx.query(
    'insert-card',
    `insert into cards (merchant_id, card_no, card_unique_no, cardholder_no, card_type, status, card_name, organization,
                        card_bin_no, frozen_by, pan_wrapped, pan_fingerprint, pan_last_four, expiry_yymm, created_at,
                        pan_fingerprint_version, cvk_version)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10, 'merchant'), $11, $12, $13, $14, ${fromMs('$15')},
             $16, $17)
     on conflict do nothing returning 1`,
    [
      card.merchantId,
      card.cardNo,
      card.cardUniqueNo,
      card.cardholderNo,
      card.cardType,
      card.status,
      card.cardName,
      card.organization,
      card.cardBinNo,
      card.frozenBy,
      card.panWrapped,
      card.panFingerprint,
      card.panLastFour,
      card.expiryYymm,
      card.createdAtMs,
      card.panFingerprintVersion,
      card.cvkVersion,
    ],
  );
  return rows.length > 0;
}

/**
 * SQL: whether card `c` is the issuer's, by the issuer of its BIN `b`: a merchant may have
 * several issuers. A card without a BIN, which is older than the BINs, belongs to each of
 * its merchant's issuers.
 */
export const ofIssuer = (issuerId: string): string => `coalesce(b.issuer_id, ${issuerId}) = ${issuerId}`;
/** SQL: cards `c`, each with its BIN `b` if it has one. */
export const CARDS_AND_BINS = 'cards c left join card_bins b using (card_bin_no)';

export async function isCardOfIssuer(
  tx: Queryable,
  issuerId: number,
  { merchantId, cardNo }: CardKey,
): Promise<boolean> {
  const rows = await tx.query(
    'is-card-of-issuer',
    `select from ${CARDS_AND_BINS} where c.merchant_id = $1 and c.card_no = $2 and ${ofIssuer('$3')}`,
    [merchantId, cardNo, issuerId],
  );
  return rows.length > 0;
}

/** A card with its sensitive data. */
export interface PrivateCard {
  cardUniqueNo: string;
  status: CardStatus;
  panWrapped: Buffer | null;
  expiryYymm: string | null;
  cvkVersion: number;
}

export async function findPrivateCard(
  db: Queryable,
  merchantId: number,
  cardNo: string,
): Promise<PrivateCard | undefined> {
  const [row] = await db.query<PrivateCard>(
    'find-private',
    `select card_unique_no as "cardUniqueNo", status, pan_wrapped as "panWrapped", expiry_yymm as "expiryYymm",
            cvk_version as "cvkVersion"
       from cards where merchant_id = $1 and card_no = $2`,
    [merchantId, cardNo],
  );
  return row;
}

/**
 * Tells the planner how large the tables are now. Plans that were made while the tables
 * were empty read them whole, and an import adds cards faster than the server notices by
 * itself.
 */
export async function analyzeCards(db: Session): Promise<void> {
  await db.script('analyze cards, cardholders');
}
