import type { Database, Queryable } from '../db/database.ts';
import { OWNERS } from './append.ts';

/** A chain's name in the tables: card_no is empty for a merchant's own, "cardholder:..." for a cardholder's, "issuer:..." for an issuer's; merchant 0 and empty is the platform's. */
export interface ChainName {
  merchantId: number;
  cardNo: string;
}

export interface ChainHead extends ChainName {
  count: number;
  head: Buffer;
}

export interface AuditRecord extends ChainName {
  seq: number;
  atMs: number;
  action: string;
  details: string;
  hash: Buffer;
}

/** Reads at one moment, so that whatever is appended meanwhile looks like no fault. */
export async function atOneMoment<T>(db: Database, work: (moment: Queryable) => Promise<T>): Promise<T> {
  return db.session(async (session) => {
    await session.script('begin isolation level repeatable read read only');
    try {
      return await work(session);
    } finally {
      await session.script('rollback');
    }
  });
}

/** Every row that holds a chain's head. */
const ALL_OWNERS = `(${Object.values(OWNERS)
  .map(
    ({ table, merchantId, cardNo }) => `select ${merchantId} as merchant_id, ${cardNo} as card_no, audit_count, audit_head from ${table}`,
  )
  .join(' union all ')})`;

/** The limit stands in the statement, so that the planner knows that a page is small and walks the index. */
const HEADS_AT_ONCE = 500;

/**
 * Every chain's head once, page by page. Each table is walked along its own key, so that a page costs a page however many rows there are.
 * The chains come in no order that means anything: the index's is the database's collation.
 */
export async function* readHeads(db: Queryable): AsyncGenerator<ChainHead[]> {
  for (const { table, key, merchantId, cardNo } of Object.values(OWNERS)) {
    const names = key.join(', ');
    const page = (where: string): string =>
      `select ${merchantId}, ${cardNo}, audit_count, audit_head, ${names} from ${table} ${where} order by ${names} limit ${HEADS_AT_ONCE}`;
    const next = page(`where (${names}) > (${key.map((_, i) => `$${i + 1}`).join(', ')})`);
    let rows = await db.query<[number, string, number, Buffer, ...unknown[]]>(`first-heads-${table}`, page(''));
    while (rows.length > 0) {
      yield rows.map(([merchantId, cardNo, count, head]) => ({ merchantId, cardNo, count, head }));
      const [, , , , ...last] = rows.at(-1) as (typeof rows)[number];
      rows = await db.query(`next-heads-${table}`, next, last);
    }
  }
}

export async function readRecords(db: Queryable, chain: ChainName, afterSeq: number, most: number): Promise<AuditRecord[]> {
  const rows = await db.query<[number, number, string, string, Buffer]>(
    'audit-records',
    `select seq, (extract(epoch from at) * 1000)::bigint, action, details, hash from audit_records
      where merchant_id = $1 and card_no = $2 and seq > $3 order by seq limit $4`,
    [chain.merchantId, chain.cardNo, afterSeq, most],
  );
  return rows.map(([seq, atMs, action, details, hash]) => ({ ...chain, seq, atMs, action, details, hash }));
}

/**
 * Records of chains that no row holds the head of. As a difference of sets, which is made by hashing or sorting each side once: a join
 * was planned as a look for every record at all cardholders of its merchant.
 */
export async function findOrphan(db: Queryable): Promise<ChainName | undefined> {
  const [row] = await db.query<[number, string]>(
    'audit-orphan',
    `select merchant_id, card_no collate "C" from audit_records except select merchant_id, card_no collate "C" from ${ALL_OWNERS} o limit 1`,
  );
  return row && { merchantId: row[0], cardNo: row[1] };
}

export interface SignedHead extends ChainName {
  signingId: number;
  seq: number;
  hash: Buffer;
}

export async function readSignedHeads(db: Queryable, chain: ChainName): Promise<SignedHead[]> {
  const rows = await db.query<[number, number, Buffer]>(
    'signed-heads-of-chain',
    'select signing_id, seq, hash from audit_heads where merchant_id = $1 and card_no = $2 order by seq',
    [chain.merchantId, chain.cardNo],
  );
  return rows.map(([signingId, seq, hash]) => ({ ...chain, signingId, seq, hash }));
}

export interface Signing {
  signingId: number;
  atMs: number;
  chains: number;
  digest: Buffer;
  keyVersion: number;
  signature: Buffer;
}

const SIGNING_COLUMNS = 'signing_id, (extract(epoch from at) * 1000)::bigint, chains, digest, key_version, signature';
type SigningTuple = [number, number, number, Buffer, number, Buffer];

function signingOf([signingId, atMs, chains, digest, keyVersion, signature]: SigningTuple): Signing {
  return { signingId, atMs, chains, digest, keyVersion, signature };
}

export async function readSignings(db: Queryable): Promise<Signing[]> {
  return (await db.query<SigningTuple>('audit-signings', `select ${SIGNING_COLUMNS} from audit_signings order by signing_id`)).map(
    signingOf,
  );
}

export async function lastSigning(db: Queryable): Promise<Signing | undefined> {
  const [row] = await db.query<SigningTuple>(
    'last-signing',
    `select ${SIGNING_COLUMNS} from audit_signings order by signing_id desc limit 1`,
  );
  return row && signingOf(row);
}

/** The heads of one signing, in the order in which they were signed. */
export async function readHeadsOfSigning(db: Queryable, signingId: number, after: ChainName, most: number): Promise<SignedHead[]> {
  const rows = await db.query<[number, string, number, Buffer]>(
    'heads-of-signing',
    `select merchant_id, card_no, seq, hash from audit_heads
      where signing_id = $1 and (merchant_id, card_no collate "C") > ($2, $3) order by merchant_id, card_no collate "C" limit $4`,
    [signingId, after.merchantId, after.cardNo, most],
  );
  return rows.map(([merchantId, cardNo, seq, hash]) => ({ signingId, merchantId, cardNo, seq, hash }));
}

/** The heads that no signing covers yet; opens a cursor for `fetchHeads`. Runs in a transaction that sees one moment. */
export async function openUnsigned(tx: Queryable): Promise<void> {
  await tx.query(
    'open-unsigned',
    `declare unsigned no scroll cursor for select merchant_id, card_no, audit_count, audit_head from ${ALL_OWNERS} o
      where audit_count > 0 and not exists (select from audit_heads h where h.merchant_id = o.merchant_id and h.card_no = o.card_no and h.seq = o.audit_count)
        and not exists (select from audit_checkpoints k where k.merchant_id = o.merchant_id and k.card_no = o.card_no and k.seq = o.audit_count)
      order by merchant_id, card_no collate "C"`,
  );
}

export async function fetchUnsigned(tx: Queryable): Promise<ChainHead[]> {
  const rows = await tx.query<[number, string, number, Buffer]>('fetch-unsigned', 'fetch 5000 from unsigned');
  return rows.map(([merchantId, cardNo, count, head]) => ({ merchantId, cardNo, count, head }));
}

export async function insertSigning(tx: Queryable, signing: Signing, heads: ChainHead[]): Promise<void> {
  await tx.query(
    'insert-signing',
    'insert into audit_signings (signing_id, at, chains, digest, key_version, signature) values ($1, to_timestamp($2::bigint / 1000.0), $3, $4, $5, $6)',
    [signing.signingId, signing.atMs, signing.chains, signing.digest, signing.keyVersion, signing.signature],
  );
  await tx.query(
    'insert-signed-heads',
    'insert into audit_heads (signing_id, merchant_id, card_no, seq, hash) select $1, * from unnest($2::int[], $3::text[], $4::int[], $5::bytea[])',
    [
      signing.signingId,
      heads.map((one) => one.merchantId),
      heads.map((one) => one.cardNo),
      heads.map((one) => one.count),
      heads.map((one) => one.head),
    ],
  );
}

export interface Checkpoint extends ChainName {
  seq: number;
  hash: Buffer;
  atMs: number;
  keyVersion: number;
  signature: Buffer;
}

export async function readCheckpoint(db: Queryable, chain: ChainName): Promise<Checkpoint | undefined> {
  const [row] = await db.query<[number, Buffer, number, number, Buffer]>(
    'audit-checkpoint',
    `select seq, hash, (extract(epoch from at) * 1000)::bigint, key_version, signature from audit_checkpoints where merchant_id = $1 and card_no = $2`,
    [chain.merchantId, chain.cardNo],
  );
  return row && { ...chain, seq: row[0], hash: row[1], atMs: row[2], keyVersion: row[3], signature: row[4] };
}

/** The last record of a chain before the first one that is to stay, if any is to go. */
export async function lastBefore(tx: Queryable, chain: ChainName, beforeMs: number): Promise<{ seq: number; hash: Buffer } | undefined> {
  const [row] = await tx.query<[number, Buffer]>(
    'last-before',
    `select seq, hash from audit_records r where merchant_id = $1 and card_no = $2 and at < to_timestamp($3::bigint / 1000.0)
        and not exists (select from audit_records s where s.merchant_id = $1 and s.card_no = $2 and s.seq < r.seq and s.at >= to_timestamp($3::bigint / 1000.0))
      order by seq desc limit 1`,
    [chain.merchantId, chain.cardNo, beforeMs],
  );
  return row && { seq: row[0], hash: row[1] };
}

export async function putCheckpoint(tx: Queryable, checkpoint: Checkpoint): Promise<void> {
  await tx.query(
    'put-checkpoint',
    `insert into audit_checkpoints (merchant_id, card_no, seq, hash, at, key_version, signature)
     values ($1, $2, $3, $4, to_timestamp($5::bigint / 1000.0), $6, $7)
     on conflict (merchant_id, card_no) do update
        set seq = excluded.seq, hash = excluded.hash, at = excluded.at, key_version = excluded.key_version, signature = excluded.signature`,
    [
      checkpoint.merchantId,
      checkpoint.cardNo,
      checkpoint.seq,
      checkpoint.hash,
      checkpoint.atMs,
      checkpoint.keyVersion,
      checkpoint.signature,
    ],
  );
}

/** The database lets records go only where a checkpoint stands in for them. */
export async function deleteThrough(tx: Queryable, chain: ChainName, seq: number): Promise<number> {
  return (
    await tx.query('delete-records', 'delete from audit_records where merchant_id = $1 and card_no = $2 and seq <= $3 returning 1', [
      chain.merchantId,
      chain.cardNo,
      seq,
    ])
  ).length;
}

/** Merchants' numbers by their ids: chains are told of by what people know. */
export async function merchantNumbers(db: Queryable): Promise<Map<number, string>> {
  return new Map(await db.query<[number, string]>('merchant-numbers', 'select merchant_id, merchant_no from merchants'));
}
