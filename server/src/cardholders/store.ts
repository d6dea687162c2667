import type { CardholderStatus } from '@pinward/contract/vocabulary';
import type { RangePage } from '../db/page.ts';
import type { Queryable } from '../db/queryable.ts';
import { fromMs, toMs } from '../db/sql-time.ts';

/** What wrapped personal data are bound to. */
export function personalIdentity(cardholderNo: string): string {
  return `personal:${cardholderNo}`;
}

/** What a wrapped share token is bound to. */
export function shareTokenIdentity(cardholderNo: string): string {
  return `share-token:${cardholderNo}`;
}

export interface Cardholder {
  cardholderNo: string;
  cardholderUniqueNo: string;
  /** Empty if unknown. */
  email: string;
  status: CardholderStatus;
  /** Empty unless it is `Rejected`. */
  failReason: string;
  createdAtMs: number;
}

const CARDHOLDER_COLUMNS = `cardholder_no as "cardholderNo", cardholder_unique_no as "cardholderUniqueNo",
       coalesce(email, '') as email, status, coalesce(fail_reason, '') as "failReason",
       ${toMs('created_at')} as "createdAtMs"`;

export async function findCardholder(
  db: Queryable,
  merchantId: number,
  cardholderNo: string,
): Promise<Cardholder | undefined> {
  const [row] = await db.query<Cardholder>(
    'find-cardholder',
    `select ${CARDHOLDER_COLUMNS} from cardholders where merchant_id = $1 and cardholder_no = $2`,
    [merchantId, cardholderNo],
  );
  return row;
}

export interface CardholderFilter extends RangePage {
  cardholderNo: string | undefined;
  cardholderUniqueNo: string | undefined;
}

/**
 * Lists a merchant's cardholders, newest first; the number breaks ties. Each set of filters
 * has its own statement, planned for the index that fits it.
 */
export async function listCardholders(
  db: Queryable,
  merchantId: number,
  filter: CardholderFilter,
): Promise<Cardholder[]> {
  const { cardholderNo, cardholderUniqueNo } = filter;
  const byNo = cardholderNo === undefined ? '' : 'and cardholder_no = $6';
  const byUniqueNo = cardholderUniqueNo === undefined ? '' : `and cardholder_unique_no = $${byNo === '' ? 6 : 7}`;
  return db.query(
    `list-cardholders${byNo && '-no'}${byUniqueNo && '-unique-no'}`,
    `select ${CARDHOLDER_COLUMNS} from cardholders
      where merchant_id = $1 and created_at >= ${fromMs('$2')} and created_at < ${fromMs('$3')} ${byNo} ${byUniqueNo}
      order by created_at desc, cardholder_no desc offset $4 limit $5`,
    [
      merchantId,
      filter.fromMs,
      filter.beforeMs,
      filter.offset,
      filter.size,
      ...[cardholderNo, cardholderUniqueNo].filter((value) => value !== undefined),
    ],
  );
}

export interface LockedCardholder {
  merchantId: number;
  cardholderNo: string;
  cardholderUniqueNo: string;
  status: CardholderStatus;
  shareTokenHash: Buffer | null;
  submittedAtMs: number | null;
}

const LOCKED_COLUMNS = `merchant_id as "merchantId", cardholder_no as "cardholderNo",
       cardholder_unique_no as "cardholderUniqueNo", status, share_token_hash as "shareTokenHash",
       ${toMs('submitted_at')} as "submittedAtMs"`;

/** Finds a cardholder of one of these merchants and locks it until the transaction ends. */
export async function lockCardholder(
  tx: Queryable,
  merchantIds: number[],
  cardholderNo: string,
): Promise<LockedCardholder | undefined> {
  const [row] = await tx.query<LockedCardholder>(
    'lock-cardholder',
    `select ${LOCKED_COLUMNS} from cardholders where merchant_id = any($1) and cardholder_no = $2 for update`,
    [merchantIds, cardholderNo],
  );
  return row;
}

/** Finds a cardholder by the merchant's own number, without a lock. */
export async function findByUniqueNo(
  tx: Queryable,
  merchantId: number,
  cardholderUniqueNo: string,
): Promise<LockedCardholder | undefined> {
  const [row] = await tx.query<LockedCardholder>(
    'find-cardholder-by-unique-no',
    `select ${LOCKED_COLUMNS} from cardholders where merchant_id = $1 and cardholder_unique_no = $2`,
    [merchantId, cardholderUniqueNo],
  );
  return row;
}

/**
 * A share token for the verifier: wrapped, and as a hash, by which the same application is
 * recognized.
 */
export interface Submission {
  shareTokenHash: Buffer;
  shareTokenWrapped: Buffer;
}

export interface NewCardholder {
  merchantId: number;
  cardholderNo: string;
  cardholderUniqueNo: string;
  email?: string | undefined;
  status: CardholderStatus;
  createdAtMs: number;
  submission?: Submission;
}

/**
 * Returns false, and stores nothing, if the merchant has a cardholder of this unique
 * number, or any merchant has one of this cardholder number.
 */
export async function insertCardholder(tx: Queryable, cardholder: NewCardholder): Promise<boolean> {
  const { submission } = cardholder;
  const rows = await tx.query(
    'insert-cardholder',
    `insert into cardholders (merchant_id, cardholder_no, cardholder_unique_no, email, status, created_at, submitted_at,
                              share_token_hash, share_token_wrapped)
     values ($1, $2, $3, $4, $5, ${fromMs('$6')}, case when $7::bytea is not null then ${fromMs('$6')} end, $7, $8)
     on conflict do nothing returning 1`,
    [
      cardholder.merchantId,
      cardholder.cardholderNo,
      cardholder.cardholderUniqueNo,
      cardholder.email,
      cardholder.status,
      cardholder.createdAtMs,
      submission?.shareTokenHash,
      submission?.shareTokenWrapped,
    ],
  );
  return rows.length > 0;
}

/** Names a cardholder of a merchant. */
export type CardholderKey = Pick<LockedCardholder, 'merchantId' | 'cardholderNo'>;

/** Sends a rejected cardholder to the verifier again. */
export async function resubmit(
  tx: Queryable,
  { merchantId, cardholderNo }: CardholderKey,
  { shareTokenHash, shareTokenWrapped }: Submission,
  atMs: number,
): Promise<void> {
  await tx.query(
    'resubmit-cardholder',
    `update cardholders set status = 'Pending', fail_reason = null, share_token_hash = $3, share_token_wrapped = $4,
                            submitted_at = ${fromMs('$5')}
      where merchant_id = $1 and cardholder_no = $2`,
    [merchantId, cardholderNo, shareTokenHash, shareTokenWrapped, atMs],
  );
}

export interface VerificationChange {
  status: CardholderStatus;
  failReason: string | undefined;
  /** Undefined: stays as it is. */
  email: string | undefined;
  /** Null: stay as they are. */
  personalWrapped: Buffer | null;
}

/**
 * Stores how far the verification is. A verdict also deletes the share token, which nobody
 * needs any more.
 */
export async function setVerification(
  tx: Queryable,
  { merchantId, cardholderNo }: CardholderKey,
  { status, failReason, email, personalWrapped }: VerificationChange,
): Promise<void> {
  await tx.query(
    'set-verification',
    `update cardholders set status = $3, fail_reason = $4, email = coalesce($5, email),
                            personal_wrapped = coalesce($6, personal_wrapped),
                            share_token_wrapped = case when $3 = 'In_progress' then share_token_wrapped end
      where merchant_id = $1 and cardholder_no = $2`,
    [merchantId, cardholderNo, status, failReason, email, personalWrapped],
  );
}

/** The wrapped birth date and phone; undefined if nobody supplied them. */
export async function findPersonal(
  db: Queryable,
  merchantId: number,
  cardholderNo: string,
): Promise<Buffer | undefined> {
  const [row] = await db.query<{ personalWrapped: Buffer | null }>(
    'find-personal',
    'select personal_wrapped as "personalWrapped" from cardholders where merchant_id = $1 and cardholder_no = $2',
    [merchantId, cardholderNo],
  );
  return row?.personalWrapped ?? undefined;
}

/**
 * Replaces birth date and phone; null deletes them. Returns false if none of these
 * merchants has the cardholder.
 */
export async function setPersonal(
  tx: Queryable,
  merchantIds: number[],
  cardholderNo: string,
  wrapped: Buffer | null,
): Promise<boolean> {
  const rows = await tx.query(
    'set-personal',
    'update cardholders set personal_wrapped = $3 where merchant_id = any($1) and cardholder_no = $2 returning 1',
    [merchantIds, cardholderNo, wrapped],
  );
  return rows.length > 0;
}

export interface PendingCardholder {
  merchantId: number;
  merchantNo: string;
  cardholderNo: string;
  cardholderUniqueNo: string;
  status: CardholderStatus;
  shareTokenWrapped: Buffer;
  submittedAtMs: number;
}

/** SQL: after cardholder $3. An unknown number begins at the start. */
const AFTER = `and (c.submitted_at, c.cardholder_no) >
  (select coalesce(max(submitted_at), '-infinity'), coalesce(max(cardholder_no), '')
     from cardholders where cardholder_no = $3)`;

/**
 * Lists the cardholders of these merchants (undefined: of all) that wait for a verdict,
 * longest first. `after` is the last cardholder number of the page before.
 */
export async function listPendingCardholders(
  db: Queryable,
  merchantIds: number[] | undefined,
  after: string | undefined,
  size: number,
): Promise<PendingCardholder[]> {
  return db.query(
    `list-pending-cardholders${merchantIds === undefined ? '' : '-of'}${after === undefined ? '' : '-after'}`,
    `select c.merchant_id as "merchantId", m.merchant_no as "merchantNo", c.cardholder_no as "cardholderNo",
            c.cardholder_unique_no as "cardholderUniqueNo", c.status, c.share_token_wrapped as "shareTokenWrapped",
            ${toMs('c.submitted_at')} as "submittedAtMs"
       from cardholders c join merchants m using (merchant_id)
      where c.share_token_wrapped is not null
        and ${merchantIds === undefined ? '$1::int[] is null' : 'c.merchant_id = any($1)'}
        ${after === undefined ? '' : AFTER}
      order by c.submitted_at, c.cardholder_no limit $2`,
    [merchantIds, size, ...(after === undefined ? [] : [after])],
  );
}
