import type { Database } from '../db/database.ts';
import type { Queryable } from '../db/queryable.ts';
import { fromMs, toMs } from '../db/sql-time.ts';
import { chainOf, SUBJECTS, type Subject, type SubjectKind } from './subject.ts';

export interface ChainHead extends Subject {
  count: number;
  head: Buffer;
}

export interface AuditRecord extends Subject {
  seq: number;
  atMs: number;
  action: string;
  /** JSON. */
  details: string;
  hash: Buffer;
}

/**
 * Runs reads on one snapshot, so that records which are appended meanwhile do not look like faults.
 */
export async function atOneMoment<T>(db: Database, work: (snapshot: Queryable) => Promise<T>): Promise<T> {
  return db.session(async (session) => {
    await session.script('begin isolation level repeatable read read only');
    try {
      return await work(session);
    } finally {
      await session.script('rollback');
    }
  });
}

/** SQL: every row that holds the head of a chain. */
const ALL_HEADS = `(${Object.entries(SUBJECTS)
  .map(([kind, { table, of }]) => {
    const { merchantId, number } = of('');
    return `select ${merchantId} as merchant_id, '${kind}'::audit_subject_kind as subject_kind, ${number} as subject,
                   audit_count, audit_head from ${table}`;
  })
  .join(' union all ')})`;

/** SQL: whether two aliased rows are about the same subject. */
const sameSubject = (a: string, b: string): string =>
  `${a}.merchant_id = ${b}.merchant_id and ${a}.subject_kind = ${b}.subject_kind and ${a}.subject = ${b}.subject`;

/** SQL: the subject's columns, for rows that extend `Subject`. */
const SUBJECT_COLUMNS = 'merchant_id as "merchantId", subject_kind as kind, subject';

/**
 * SQL: the condition that a row is about the subject of the first three parameters (`valuesOf`).
 */
const OF_SUBJECT = 'merchant_id = $1 and subject_kind = $2 and subject = $3';

function valuesOf({ merchantId, kind, subject }: Subject): unknown[] {
  return [merchantId, kind, subject];
}

/**
 * In the text of the statement, so that the planner knows that a page is small and walks the index.
 */
const HEADS_PAGE = 500;

/**
 * Every chain's head once, page by page. Each table is walked along its own key, so that a page
 * costs a page however many rows there are. The order of the chains means nothing: it is that of
 * the database's collation.
 */
export async function* readHeads(db: Queryable): AsyncGenerator<ChainHead[]> {
  for (const [kind, { table, key, of }] of Object.entries(SUBJECTS) as [
    SubjectKind,
    (typeof SUBJECTS)[SubjectKind],
  ][]) {
    const columns = key.join(', ');
    const { merchantId, number } = of('');
    const pageText = (where: string): string =>
      `select ${merchantId} as "merchantId", '${kind}' as kind, ${number} as subject, audit_count as count, audit_head as head,
              array[${key.map((column) => `${column}::text`).join(', ')}] as key
         from ${table} ${where} order by ${columns} limit ${HEADS_PAGE}`;
    const nextText = pageText(`where (${columns}) > (${key.map((_, i) => `$${i + 1}`).join(', ')})`);
    let rows = await db.query<ChainHead & { key: string[] }>(`first-heads-${table}`, pageText(''));
    for (let last = rows.at(-1); last !== undefined; last = rows.at(-1)) {
      yield rows;
      rows = await db.query(`next-heads-${table}`, nextText, last.key);
    }
  }
}

/** Rows of one page of records or signed heads. */
const PAGE = 2_000;

/** The records of a chain after `seq`, page by page. */
export async function* readRecords(db: Queryable, subject: Subject, seq: number): AsyncGenerator<AuditRecord[]> {
  for (let after = seq; ; ) {
    const records = await db.query<AuditRecord>(
      'audit-records',
      `select ${SUBJECT_COLUMNS}, seq, ${toMs('at')} as "atMs", action, details, hash from audit_records
        where ${OF_SUBJECT} and seq > $4 order by seq limit $5`,
      [...valuesOf(subject), after, PAGE],
    );
    const last = records.at(-1);
    if (last === undefined) return;
    yield records;
    after = last.seq;
  }
}

/**
 * A subject that has records and no row that holds its head, if there is one. As a difference of
 * sets, which hashes or sorts each side once: as a join it was planned to look through all
 * cardholders of the merchant for each record.
 */
export async function findOrphan(db: Queryable): Promise<Subject | undefined> {
  const [row] = await db.query<Subject>(
    'audit-orphan',
    `select ${SUBJECT_COLUMNS} from (
       select merchant_id, subject_kind, subject collate "C" as subject from audit_records
       except select merchant_id, subject_kind, subject collate "C" from ${ALL_HEADS} heads limit 1) orphan`,
  );
  return row;
}

export interface SignedHead extends Subject {
  signingId: number;
  seq: number;
  hash: Buffer;
}

const SIGNED_HEAD_COLUMNS = `${SUBJECT_COLUMNS}, signing_id as "signingId", seq, hash`;

export async function readSignedHeads(db: Queryable, subject: Subject): Promise<SignedHead[]> {
  return db.query(
    'signed-heads-of-chain',
    `select ${SIGNED_HEAD_COLUMNS} from audit_heads where ${OF_SUBJECT} order by seq`,
    valuesOf(subject),
  );
}

export interface Signing {
  signingId: number;
  atMs: number;
  /** How many heads it covers. */
  chains: number;
  digest: Buffer;
  keyVersion: number;
  signature: Buffer;
}

const SIGNING_COLUMNS = `signing_id as "signingId", ${toMs('at')} as "atMs", chains, digest, key_version as "keyVersion", signature`;

export async function readSignings(db: Queryable): Promise<Signing[]> {
  return db.query('audit-signings', `select ${SIGNING_COLUMNS} from audit_signings order by signing_id`);
}

export async function lastSigning(db: Queryable): Promise<Signing | undefined> {
  const [row] = await db.query<Signing>(
    'last-signing',
    `select ${SIGNING_COLUMNS} from audit_signings order by signing_id desc limit 1`,
  );
  return row;
}

/**
 * The order in which heads are signed: by merchant, then by the chain's name byte by byte. The
 * index has it too.
 */
const SIGNING_ORDER = 'merchant_id, audit_chain(subject_kind, subject) collate "C"';

/** The heads of one signing, in the order in which they were signed, page by page. */
export async function* readHeadsOfSigning(db: Queryable, signingId: number): AsyncGenerator<SignedHead[]> {
  for (let after = { merchantId: -1, chain: '' }; ; ) {
    const heads = await db.query<SignedHead>(
      'heads-of-signing',
      `select ${SIGNED_HEAD_COLUMNS} from audit_heads
        where signing_id = $1 and (${SIGNING_ORDER}) > ($2, $3) order by ${SIGNING_ORDER} limit $4`,
      [signingId, after.merchantId, after.chain, PAGE],
    );
    const last = heads.at(-1);
    if (last === undefined) return;
    yield heads;
    after = { merchantId: last.merchantId, chain: chainOf(last) };
  }
}

/**
 * Opens a cursor over the heads that no signing covers yet, for `fetchUnsigned`. Runs in a
 * repeatable read transaction.
 */
export async function openUnsigned(tx: Queryable): Promise<void> {
  await tx.query(
    'open-unsigned',
    `declare unsigned no scroll cursor for
     select ${SUBJECT_COLUMNS}, audit_count as count, audit_head as head from ${ALL_HEADS} o
      where audit_count > 0
        and not exists (select from audit_heads h where ${sameSubject('h', 'o')} and h.seq = o.audit_count)
        and not exists (select from audit_checkpoints k where ${sameSubject('k', 'o')} and k.seq = o.audit_count)
      order by ${SIGNING_ORDER}`,
  );
}

export async function fetchUnsigned(tx: Queryable): Promise<ChainHead[]> {
  return tx.query('fetch-unsigned', 'fetch 5000 from unsigned');
}

export async function insertSigning(tx: Queryable, signing: Signing, heads: ChainHead[]): Promise<void> {
  const { signingId, atMs, chains, digest, keyVersion, signature } = signing;
  await tx.query(
    'insert-signing',
    `insert into audit_signings (signing_id, at, chains, digest, key_version, signature)
     values ($1, ${fromMs('$2')}, $3, $4, $5, $6)`,
    [signingId, atMs, chains, digest, keyVersion, signature],
  );
  await tx.query(
    'insert-signed-heads',
    `insert into audit_heads (signing_id, merchant_id, subject_kind, subject, seq, hash)
     select $1, * from unnest($2::int[], $3::audit_subject_kind[], $4::text[], $5::int[], $6::bytea[])`,
    [
      signingId,
      heads.map((head) => head.merchantId),
      heads.map((head) => head.kind),
      heads.map((head) => head.subject),
      heads.map((head) => head.count),
      heads.map((head) => head.head),
    ],
  );
}

/** Where a chain begins, after its older records were deleted. */
export interface Checkpoint extends Subject {
  seq: number;
  hash: Buffer;
  atMs: number;
  keyVersion: number;
  signature: Buffer;
}

export async function readCheckpoint(db: Queryable, subject: Subject): Promise<Checkpoint | undefined> {
  const [row] = await db.query<Checkpoint>(
    'audit-checkpoint',
    `select ${SUBJECT_COLUMNS}, seq, hash, ${toMs('at')} as "atMs", key_version as "keyVersion", signature
       from audit_checkpoints where ${OF_SUBJECT}`,
    valuesOf(subject),
  );
  return row;
}

/** The last record before the first one that is not older than `beforeMs`, if there is one. */
export async function lastBefore(
  tx: Queryable,
  subject: Subject,
  beforeMs: number,
): Promise<{ seq: number; hash: Buffer } | undefined> {
  const [row] = await tx.query<{ seq: number; hash: Buffer }>(
    'last-before',
    `select seq, hash from audit_records r
      where ${OF_SUBJECT} and at < ${fromMs('$4')}
        and not exists (select from audit_records s where ${sameSubject('s', 'r')} and s.seq < r.seq and s.at >= ${fromMs('$4')})
      order by seq desc limit 1`,
    [...valuesOf(subject), beforeMs],
  );
  return row;
}

export async function putCheckpoint(tx: Queryable, checkpoint: Checkpoint): Promise<void> {
  const { seq, hash, atMs, keyVersion, signature } = checkpoint;
  await tx.query(
    'put-checkpoint',
    `insert into audit_checkpoints (merchant_id, subject_kind, subject, seq, hash, at, key_version, signature)
     values ($1, $2, $3, $4, $5, ${fromMs('$6')}, $7, $8)
     on conflict (merchant_id, subject_kind, subject) do update
        set seq = excluded.seq, hash = excluded.hash, at = excluded.at,
            key_version = excluded.key_version, signature = excluded.signature`,
    [...valuesOf(checkpoint), seq, hash, atMs, keyVersion, signature],
  );
}

/**
 * Deletes a chain's records up to `seq`. The database refuses unless a checkpoint stands in for
 * them.
 */
export async function deleteThrough(tx: Queryable, subject: Subject, seq: number): Promise<number> {
  const deleted = await tx.query(
    'delete-records',
    `delete from audit_records where ${OF_SUBJECT} and seq <= $4 returning 1`,
    [...valuesOf(subject), seq],
  );
  return deleted.length;
}

/** Merchants' numbers by their ids, since people know merchants by their numbers. */
export async function merchantNumbers(db: Queryable): Promise<Map<number, string>> {
  const rows = await db.query<{ merchantId: number; merchantNo: string }>(
    'merchant-numbers',
    'select merchant_id as "merchantId", merchant_no as "merchantNo" from merchants',
  );
  return new Map(rows.map(({ merchantId, merchantNo }) => [merchantId, merchantNo]));
}
