import type { Queryable } from '../db/database.ts';
import type { ListQuery } from '../http/list-query.ts';

export type CardholderStatus = 'Pending' | 'In_progress' | 'Approved' | 'Rejected';

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
  email: string;
  status: CardholderStatus;
  failReason: string;
  createdAtMs: number;
}

type CardholderTuple = [string, string, string | null, CardholderStatus, string | null, number];
const CARDHOLDER_COLUMNS = `cardholder_no, cardholder_unique_no, email, status, fail_reason, (extract(epoch from created_at) * 1000)::bigint`;

function cardholderOf([cardholderNo, cardholderUniqueNo, email, status, failReason, createdAtMs]: CardholderTuple): Cardholder {
  return { cardholderNo, cardholderUniqueNo, email: email ?? '', status, failReason: failReason ?? '', createdAtMs };
}

export async function findCardholder(db: Queryable, merchantId: number, cardholderNo: string): Promise<Cardholder | undefined> {
  const [row] = await db.query<CardholderTuple>(
    'find-cardholder',
    `select ${CARDHOLDER_COLUMNS} from cardholders where merchant_id = $1 and cardholder_no = $2`,
    [merchantId, cardholderNo],
  );
  return row && cardholderOf(row);
}

export interface CardholderFilter extends ListQuery {
  cardholderNo: string | undefined;
  cardholderUniqueNo: string | undefined;
}

/** Newest first; the number breaks ties. */
export async function listCardholders(db: Queryable, merchantId: number, filter: CardholderFilter): Promise<Cardholder[]> {
  const { cardholderNo, cardholderUniqueNo } = filter;
  // A statement for each set of filters, so that each is planned for the index that fits it.
  const byNo = cardholderNo === undefined ? '' : 'and cardholder_no = $6';
  const byUniqueNo = cardholderUniqueNo === undefined ? '' : `and cardholder_unique_no = $${byNo === '' ? 6 : 7}`;
  const rows = await db.query<CardholderTuple>(
    `list-cardholders${byNo && '-no'}${byUniqueNo && '-unique-no'}`,
    `select ${CARDHOLDER_COLUMNS} from cardholders
      where merchant_id = $1 and created_at >= to_timestamp($2::bigint / 1000.0) and created_at < to_timestamp($3::bigint / 1000.0) ${byNo} ${byUniqueNo}
      order by created_at desc, cardholder_no desc offset $4 limit $5`,
    [
      merchantId,
      filter.fromMs,
      filter.beforeMs,
      filter.offset,
      filter.size,
      ...[cardholderNo, cardholderUniqueNo].filter((one) => one !== undefined),
    ],
  );
  return rows.map(cardholderOf);
}

export interface LockedCardholder {
  merchantId: number;
  cardholderNo: string;
  cardholderUniqueNo: string;
  status: CardholderStatus;
  shareTokenHash: Buffer | null;
  submittedAtMs: number | null;
}

type LockedTuple = [number, string, string, CardholderStatus, Buffer | null, number | null];
const LOCKED_COLUMNS =
  'merchant_id, cardholder_no, cardholder_unique_no, status, share_token_hash, (extract(epoch from submitted_at) * 1000)::bigint';

function lockedOf(row: LockedTuple | undefined): LockedCardholder | undefined {
  if (row === undefined) return undefined;
  const [merchantId, cardholderNo, cardholderUniqueNo, status, shareTokenHash, submittedAtMs] = row;
  return { merchantId, cardholderNo, cardholderUniqueNo, status, shareTokenHash, submittedAtMs };
}

/** Holds a cardholder of one of these merchants until the transaction ends. */
export async function lockCardholder(tx: Queryable, merchantIds: number[], cardholderNo: string): Promise<LockedCardholder | undefined> {
  const [row] = await tx.query<LockedTuple>(
    'lock-cardholder',
    `select ${LOCKED_COLUMNS} from cardholders where merchant_id = any($1) and cardholder_no = $2 for update`,
    [merchantIds, cardholderNo],
  );
  return lockedOf(row);
}

/** The same by the merchant's own number. */
export async function findByUniqueNo(tx: Queryable, merchantId: number, cardholderUniqueNo: string): Promise<LockedCardholder | undefined> {
  const [row] = await tx.query<LockedTuple>(
    'find-cardholder-by-unique-no',
    `select ${LOCKED_COLUMNS} from cardholders where merchant_id = $1 and cardholder_unique_no = $2`,
    [merchantId, cardholderUniqueNo],
  );
  return lockedOf(row);
}

/** A share token on its way to the verifier: wrapped, and its hash, by which it is known again. */
export interface Submission {
  shareTokenHash: Buffer;
  shareTokenWrapped: Buffer;
}

export interface NewCardholder {
  merchantId: number;
  cardholderNo: string;
  cardholderUniqueNo: string;
  email?: string;
  status: CardholderStatus;
  createdAtMs: number;
  submission?: Submission;
}

/** False, and nothing stored, if the merchant has one of this unique number, or anybody one of this number. */
export async function insertCardholder(tx: Queryable, cardholder: NewCardholder): Promise<boolean> {
  const rows = await tx.query(
    'insert-cardholder',
    `insert into cardholders (merchant_id, cardholder_no, cardholder_unique_no, email, status, created_at, submitted_at, share_token_hash, share_token_wrapped)
     values ($1, $2, $3, $4, $5, to_timestamp($6::bigint / 1000.0), case when $7::bytea is not null then to_timestamp($6::bigint / 1000.0) end, $7, $8)
     on conflict do nothing returning 1`,
    [
      cardholder.merchantId,
      cardholder.cardholderNo,
      cardholder.cardholderUniqueNo,
      cardholder.email,
      cardholder.status,
      cardholder.createdAtMs,
      cardholder.submission?.shareTokenHash,
      cardholder.submission?.shareTokenWrapped,
    ],
  );
  return rows.length > 0;
}

/** Sends a rejected cardholder to the verifier anew. */
export async function resubmit(
  tx: Queryable,
  { merchantId, cardholderNo }: LockedCardholder,
  one: Submission,
  atMs: number,
): Promise<void> {
  await tx.query(
    'resubmit-cardholder',
    `update cardholders set status = 'Pending', fail_reason = null, share_token_hash = $3, share_token_wrapped = $4, submitted_at = to_timestamp($5::bigint / 1000.0)
      where merchant_id = $1 and cardholder_no = $2`,
    [merchantId, cardholderNo, one.shareTokenHash, one.shareTokenWrapped, atMs],
  );
}

/** Stores how far the verification is; with a verdict the share token goes, since nobody needs it any more. */
export async function setVerification(
  tx: Queryable,
  { merchantId, cardholderNo }: LockedCardholder,
  change: { status: CardholderStatus; failReason: string | undefined; email: string | undefined; personalWrapped: Buffer | undefined },
): Promise<void> {
  await tx.query(
    'set-verification',
    `update cardholders set status = $3, fail_reason = $4, email = coalesce($5, email), personal_wrapped = coalesce($6, personal_wrapped),
            share_token_wrapped = case when $3 = 'In_progress' then share_token_wrapped end
      where merchant_id = $1 and cardholder_no = $2`,
    [merchantId, cardholderNo, change.status, change.failReason, change.email, change.personalWrapped],
  );
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

/** Who waits for a verdict, of these merchants or (undefined) of all, longest first, some at a time; `after` is the last one's number of the page before; an unknown one begins at the start. */
export async function listPendingCardholders(
  db: Queryable,
  merchantIds: number[] | undefined,
  after: string | undefined,
  size: number,
): Promise<PendingCardholder[]> {
  const rows = await db.query<[number, string, string, string, CardholderStatus, Buffer, number]>(
    `list-pending-cardholders${merchantIds === undefined ? '' : '-of'}${after === undefined ? '' : '-after'}`,
    `select c.merchant_id, m.merchant_no, c.cardholder_no, c.cardholder_unique_no, c.status, c.share_token_wrapped, (extract(epoch from c.submitted_at) * 1000)::bigint
       from cardholders c join merchants m using (merchant_id)
      where c.share_token_wrapped is not null and ${merchantIds === undefined ? '$1::int[] is null' : 'c.merchant_id = any($1)'}
        ${after === undefined ? '' : `and (c.submitted_at, c.cardholder_no) > (select coalesce(max(submitted_at), '-infinity'), coalesce(max(cardholder_no), '') from cardholders where cardholder_no = $3)`}
      order by c.submitted_at, c.cardholder_no limit $2`,
    [merchantIds, size, ...(after === undefined ? [] : [after])],
  );
  return rows.map(([merchantId, merchantNo, cardholderNo, cardholderUniqueNo, status, shareTokenWrapped, submittedAtMs]) => ({
    merchantId,
    merchantNo,
    cardholderNo,
    cardholderUniqueNo,
    status,
    shareTokenWrapped,
    submittedAtMs,
  }));
}
