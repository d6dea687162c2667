import type { Queryable } from '../db/database.ts';

export type CardType = 'Virtual' | 'Physical';
export type CardStatus = 'Pending' | 'ToActivate' | 'Activated' | 'Fail' | 'Frozen' | 'Delete';

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

type CardTuple = [string, string, string, string, CardType, string, CardStatus, string | null, number];

const CARD_COLUMNS = `card_no, card_unique_no, cardholder_no, card_name, card_type, organization, status, pan_last_four, (extract(epoch from created_at) * 1000)::bigint`;

function cardOf([cardNo, cardUniqueNo, cardholderNo, cardName, cardType, organization, status, panLastFour, createdAtMs]: CardTuple): Card {
  return { cardNo, cardUniqueNo, cardholderNo, cardName, cardType, organization, status, panLastFour, createdAtMs };
}

/** What a wrapped PAN is bound to: moved to another card's row it does not open. */
export function panIdentity(cardNo: string): string {
  return `pan:${cardNo}`;
}

export async function findCard(db: Queryable, merchantId: number, cardNo: string): Promise<Card | undefined> {
  const [row] = await db.query<CardTuple>('find-card', `select ${CARD_COLUMNS} from cards where merchant_id = $1 and card_no = $2`, [
    merchantId,
    cardNo,
  ]);
  return row && cardOf(row);
}

export interface CardFilter {
  cardNo: string | undefined;
  cardUniqueNo: string | undefined;
  cardholderNo: string | undefined;
  fromMs: number;
  beforeMs: number;
  offset: number;
  size: number;
}

/** Newest first; the card number breaks ties, so that pages neither repeat nor skip. */
export async function listCards(db: Queryable, merchantId: number, filter: CardFilter): Promise<Card[]> {
  const rows = await db.query<CardTuple>(
    'list-cards',
    `select ${CARD_COLUMNS} from cards
      where merchant_id = $1 and created_at >= to_timestamp($2::bigint / 1000.0) and created_at < to_timestamp($3::bigint / 1000.0)
        and ($4::text is null or card_no = $4) and ($5::text is null or card_unique_no = $5) and ($6::text is null or cardholder_no = $6)
      order by created_at desc, card_no desc offset $7 limit $8`,
    [merchantId, filter.fromMs, filter.beforeMs, filter.cardNo, filter.cardUniqueNo, filter.cardholderNo, filter.offset, filter.size],
  );
  return rows.map(cardOf);
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
  issuerFrozen: boolean;
}

type LockedTuple = [
  number,
  string,
  CardType,
  CardStatus,
  Buffer | null,
  string | null,
  string | null,
  number,
  number,
  number | null,
  boolean,
];

/** Holds a card of one of these merchants until the transaction ends: its status and its failed activations don't change meanwhile. */
export async function lockCard(tx: Queryable, merchantIds: number[], cardNo: string): Promise<LockedCard | undefined> {
  const [row] = await tx.query<LockedTuple>(
    'lock-card',
    `select merchant_id, cardholder_no, card_type, status, pan_wrapped, pan_last_four, expiry_yymm, cvk_version, activation_failures,
            (extract(epoch from activation_failed_at) * 1000)::bigint, issuer_frozen
       from cards where merchant_id = any($1) and card_no = $2 for update`,
    [merchantIds, cardNo],
  );
  if (row === undefined) return undefined;
  const [merchantId, cardholderNo, cardType, status, panWrapped, panLastFour, expiryYymm, cvkVersion, ...more] = row;
  const [activationFailures, activationFailedAtMs, issuerFrozen] = more;
  return {
    merchantId,
    cardNo,
    cardholderNo,
    cardType,
    status,
    panWrapped,
    panLastFour,
    expiryYymm,
    cvkVersion,
    activationFailures,
    activationFailedAtMs,
    issuerFrozen,
  };
}

/** For cards/change-status.ts alone, which knows which change is allowed. */
export async function updateStatus(tx: Queryable, merchantId: number, cardNo: string, status: CardStatus): Promise<void> {
  await tx.query('update-status', 'update cards set status = $3 where merchant_id = $1 and card_no = $2', [merchantId, cardNo, status]);
}

export async function updateActivationFailures(
  tx: Queryable,
  merchantId: number,
  cardNo: string,
  failures: number,
  atMs: number | null,
): Promise<void> {
  await tx.query(
    'update-activation-failures',
    'update cards set activation_failures = $3, activation_failed_at = to_timestamp($4::bigint / 1000.0) where merchant_id = $1 and card_no = $2',
    [merchantId, cardNo, failures, atMs],
  );
}

export interface NewCard {
  merchantId: number;
  cardNo: string;
  cardUniqueNo: string;
  cardholderNo: string;
  cardType: CardType;
  status: CardStatus;
  cardName: string;
  organization: string;
  panWrapped: Buffer;
  panFingerprint: Buffer;
  panFingerprintVersion: number;
  cvkVersion: number;
  panLastFour: string;
  expiryYymm: string;
  createdAtMs: number;
}

export async function insertCard(tx: Queryable, card: NewCard): Promise<void> {
  await tx.query(
    'insert-card',
    `insert into cards (merchant_id, card_no, card_unique_no, cardholder_no, card_type, status, card_name, organization,
                        pan_wrapped, pan_fingerprint, pan_last_four, expiry_yymm, created_at, pan_fingerprint_version, cvk_version)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, to_timestamp($13::bigint / 1000.0), $14, $15)`,
    [
      card.merchantId,
      card.cardNo,
      card.cardUniqueNo,
      card.cardholderNo,
      card.cardType,
      card.status,
      card.cardName,
      card.organization,
      card.panWrapped,
      card.panFingerprint,
      card.panLastFour,
      card.expiryYymm,
      card.createdAtMs,
      card.panFingerprintVersion,
      card.cvkVersion,
    ],
  );
}
