import type { Database, Queryable } from '../db/database.ts';
import { forgetOld } from '../db/forget.ts';
import type { ListQuery } from '../http/list-query.ts';

export type CardType = 'Virtual' | 'Physical';
/** Whose freeze a frozen card is under. */
export type FrozenBy = 'merchant' | 'issuer' | 'both';
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

/** The same with what its package says; empty without one. */
export async function findCardDetail(
  db: Queryable,
  merchantId: number,
  cardNo: string,
): Promise<(Card & { packageEnName: string; packageCnName: string; feeDetail: object }) | undefined> {
  const [row] = await db.query<[...CardTuple, string | null, string | null, object | null]>(
    'find-card-detail',
    `select ${CARD_COLUMNS}, en_name, cn_name, fee_detail
       from cards left join (select package_no, en_name, cn_name, fee_detail from card_packages) p using (package_no)
      where merchant_id = $1 and card_no = $2`,
    [merchantId, cardNo],
  );
  if (row === undefined) return undefined;
  const [packageEnName, packageCnName, feeDetail] = row.slice(-3) as [string | null, string | null, object | null];
  const card = cardOf(row.slice(0, -3) as CardTuple);
  return { ...card, packageEnName: packageEnName ?? '', packageCnName: packageCnName ?? '', feeDetail: feeDetail ?? {} };
}

export interface CardFilter extends ListQuery {
  cardNo: string | undefined;
  cardUniqueNo: string | undefined;
  cardholderNo: string | undefined;
}

/**
 * Newest first; the card number breaks ties, so that pages neither repeat nor skip. Rows are skipped within an index, and only the page's
 * own are read from the table. A statement for each set of filters, so that each is planned for the index that fits it.
 */
const LIST_CARDS = (filters: readonly string[]): string => `
select ${CARD_COLUMNS} from cards join (
  select card_no from cards
   where merchant_id = $1 and created_at >= to_timestamp($2::bigint / 1000.0) and created_at < to_timestamp($3::bigint / 1000.0)
         ${filters.map((column, i) => `and ${column} = $${i + 6}`).join(' ')}
   order by created_at desc, card_no desc offset $4 limit $5) page using (card_no)
 where merchant_id = $1 order by created_at desc, card_no desc`;

export async function listCards(db: Queryable, merchantId: number, filter: CardFilter): Promise<Card[]> {
  const { cardNo, cardUniqueNo, cardholderNo } = filter;
  const given = Object.entries({ card_no: cardNo, card_unique_no: cardUniqueNo, cardholder_no: cardholderNo }).filter(
    ([, value]) => value !== undefined,
  );
  const columns = given.map(([column]) => column);
  const rows = await db.query<CardTuple>(`list-cards ${columns.join(' ')}`, LIST_CARDS(columns), [
    merchantId,
    filter.fromMs,
    filter.beforeMs,
    filter.offset,
    filter.size,
    ...given.map(([, value]) => value),
  ]);
  return rows.map(cardOf);
}

/** A cardholder's newest cards, without those that are not issued yet or never will be. */
export async function listIssuedCards(db: Queryable, merchantId: number, cardholderNo: string, most: number): Promise<Card[]> {
  const rows = await db.query<CardTuple>(
    'list-issued-cards',
    `select ${CARD_COLUMNS} from cards where merchant_id = $1 and cardholder_no = $2 and status not in ('Pending', 'Fail')
      order by created_at desc, card_no desc limit $3`,
    [merchantId, cardholderNo, most],
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
  /** Means something while the card is `Frozen`. */
  frozenBy: FrozenBy;
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
  FrozenBy,
];

/** Holds a card of one of these merchants until the transaction ends: its status and its failed activations don't change meanwhile. */
export async function lockCard(tx: Queryable, merchantIds: number[], cardNo: string): Promise<LockedCard | undefined> {
  const [row] = await tx.query<LockedTuple>(
    'lock-card',
    `select merchant_id, cardholder_no, card_type, status, pan_wrapped, pan_last_four, expiry_yymm, cvk_version, activation_failures,
            (extract(epoch from activation_failed_at) * 1000)::bigint, frozen_by
       from cards where merchant_id = any($1) and card_no = $2 for update`,
    [merchantIds, cardNo],
  );
  if (row === undefined) return undefined;
  const [merchantId, cardholderNo, cardType, status, panWrapped, panLastFour, expiryYymm, cvkVersion, ...more] = row;
  const [activationFailures, activationFailedAtMs, frozenBy] = more;
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
    frozenBy,
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
  /** Of a card that is `Frozen`; the merchant's if nothing is said. */
  frozenBy?: FrozenBy;
  createdAtMs: number;
}

/** False, and nothing stored, if the card's number, or the merchant's unique number, is there. */
export async function insertCard(tx: Queryable, card: NewCard): Promise<boolean> {
  const rows = await tx.query(
    'insert-card',
    `insert into cards (merchant_id, card_no, card_unique_no, cardholder_no, card_type, status, card_name, organization, card_bin_no, frozen_by,
                        pan_wrapped, pan_fingerprint, pan_last_four, expiry_yymm, created_at, pan_fingerprint_version, cvk_version)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10, 'merchant'), $11, $12, $13, $14, to_timestamp($15::bigint / 1000.0), $16, $17)
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

/** Gives a card that has none its PAN. */
export async function setPan(tx: Queryable, merchantId: number, cardNo: string, pan: StoredPan): Promise<void> {
  await tx.query(
    'set-pan',
    `update cards set pan_wrapped = $3, pan_fingerprint = $4, pan_fingerprint_version = $5, pan_last_four = $6, expiry_yymm = $7, cvk_version = $8
      where merchant_id = $1 and card_no = $2`,
    [merchantId, cardNo, pan.panWrapped, pan.panFingerprint, pan.panFingerprintVersion, pan.panLastFour, pan.expiryYymm, pan.cvkVersion],
  );
}

/**
 * Whether a card has one of these fingerprints. Holds the PAN until the transaction ends: nobody else who asks first, as all do that
 * store one, gets an answer meanwhile. `lock` is the same for all fingerprints of one PAN. Who does not `wait` is told that a PAN which
 * somebody else holds is taken: only so may a transaction ask for several, in whatever order.
 */
export async function isPanTaken(tx: Queryable, fingerprints: Buffer[], lock: readonly [number, number], wait: boolean): Promise<boolean> {
  if (wait) await tx.query('lock-pan', 'select pg_advisory_xact_lock($1, $2)', [...lock]);
  else {
    const [row] = await tx.query<[boolean]>('try-lock-pan', 'select pg_try_advisory_xact_lock($1, $2)', [...lock]);
    if (row?.[0] !== true) return true;
  }
  const rows = await tx.query('find-pan', 'select from cards where pan_fingerprint = any($1)', [fingerprints]);
  return rows.length > 0;
}

/**
 * That card `c`, with its BIN `b` if it has one, is the issuer's own among those of its merchants: several issuers may serve one. A card without a BIN,
 * from before there were any, is of each.
 */
export const ofIssuer = (issuerId: string): string => `coalesce(b.issuer_id, ${issuerId}) = ${issuerId}`;
export const CARDS_AND_BINS = 'cards c left join card_bins b using (card_bin_no)';

export async function isCardOfIssuer(tx: Queryable, issuerId: number, merchantId: number, cardNo: string): Promise<boolean> {
  const rows = await tx.query(
    'is-card-of-issuer',
    `select from ${CARDS_AND_BINS} where c.merchant_id = $1 and c.card_no = $2 and ${ofIssuer('$3')}`,
    [merchantId, cardNo, issuerId],
  );
  return rows.length > 0;
}

export async function setFrozenBy(tx: Queryable, { merchantId, cardNo }: LockedCard, frozenBy: FrozenBy): Promise<void> {
  await tx.query('set-frozen-by', 'update cards set frozen_by = $3 where merchant_id = $1 and card_no = $2', [
    merchantId,
    cardNo,
    frozenBy,
  ]);
}

export interface PrivateCard {
  cardUniqueNo: string;
  status: CardStatus;
  panWrapped: Buffer | null;
  expiryYymm: string | null;
  cvkVersion: number;
}

export async function findPrivate(db: Queryable, merchantId: number, cardNo: string): Promise<PrivateCard | undefined> {
  const [row] = await db.query<[string, CardStatus, Buffer | null, string | null, number]>(
    'find-private',
    'select card_unique_no, status, pan_wrapped, expiry_yymm, cvk_version from cards where merchant_id = $1 and card_no = $2',
    [merchantId, cardNo],
  );
  if (row === undefined) return undefined;
  const [cardUniqueNo, status, panWrapped, expiryYymm, cvkVersion] = row;
  return { cardUniqueNo, status, panWrapped, expiryYymm, cvkVersion };
}

export async function insertClientToken(
  tx: Queryable,
  token: { hash: Buffer; merchantId: number; cardNo: string; credentialId: number; expiresAtMs: number },
): Promise<void> {
  await tx.query(
    'insert-client-token',
    'insert into client_tokens (token_hash, merchant_id, card_no, credential_id, expires_at) values ($1, $2, $3, $4, to_timestamp($5::bigint / 1000.0))',
    [token.hash, token.merchantId, token.cardNo, token.credentialId, token.expiresAtMs],
  );
}

/** Forgets those that nobody can use any more; gives how many. */
export function forgetClientTokens(db: Queryable, nowMs: number): Promise<number> {
  return forgetOld(db, 'client_tokens', 'expires_at', '<', nowMs);
}

/**
 * Tells the planner how large the tables are by now, ahead of the server's own time: plans that were made while they were empty read them whole,
 * and a file brings cards faster than the server notices.
 */
export async function analyzeCards(db: Database): Promise<void> {
  await db.script('analyze cards, cardholders');
}
