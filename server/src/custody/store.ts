import type { Queryable } from '../db/queryable.ts';
import type { Purpose } from '../keys/key-file.ts';

/** SQL: the key version that a wrapped value names, in its first two bytes. */
const versionOf = (column: string): string => `(get_byte(${column}, 0) * 256 + get_byte(${column}, 1))`;

/** Columns of wrapped values. Rows are read along the unique index of `key`. */
const HOLDERS = {
  credentials: { table: 'credentials', key: { api_key: 'text' }, column: 'secret_wrapped' },
  issuer_keys: { table: 'issuer_keys', key: { issuer_id: 'int', kind: 'text', label: 'text' }, column: 'key_wrapped' },
  key_components: { table: 'key_components', key: { target: 'text', share: 'smallint' }, column: 'wrapped' },
  personal: { table: 'cardholders', key: { cardholder_no: 'text' }, column: 'personal_wrapped' },
  share_tokens: { table: 'cardholders', key: { cardholder_no: 'text' }, column: 'share_token_wrapped' },
  addresses: { table: 'card_applications', key: { merchant_id: 'int', card_no: 'text' }, column: 'address_wrapped' },
} as const;

/** A column from whose values no other column is derived. For PANs see `StaleCard`. */
export type Holder = keyof typeof HOLDERS;

/** How many values are under a version older than `version`. */
export async function countStale(db: Queryable, holder: Holder, version: number): Promise<number> {
  const { table, column } = HOLDERS[holder];
  const [row] = await db.query<{ count: number }>(
    `count-stale-${holder}`,
    `select count(*) as count from ${table} where ${versionOf(column)} < $1`,
    [version],
  );
  return row?.count ?? 0;
}

export interface StaleRow {
  /** The values of the key's columns, as texts. */
  key: string[];
  wrapped: Buffer;
}

/** A literal in the statement: the planner knows that it is small, and walks the index. */
const STALE_LIMIT = 250;

/** The next rows after `after`, by key, with a value under an older version. Not locked. */
export async function readStale(
  db: Queryable,
  holder: Holder,
  version: number,
  after: string[] | undefined,
): Promise<StaleRow[]> {
  const { table, key, column } = HOLDERS[holder];
  const columns = Object.keys(key);
  const isBehind = after && `and (${columns.join(', ')}) > (${columns.map((_, i) => `$${i + 2}`).join(', ')})`;
  return db.query(
    `read-stale-${holder}${after ? '-behind' : ''}`,
    `select array[${columns.map((name) => `${name}::text`).join(', ')}] as key, ${column} as wrapped from ${table}
      where ${versionOf(column)} < $1 ${isBehind ?? ''} order by ${columns.join(', ')} limit ${STALE_LIMIT}`,
    [version, ...(after ?? [])],
  );
}

/**
 * Replaces values by their new wraps in one statement, and returns how many. A row whose
 * value changed since it was read, or that another transaction has locked, stays as it is.
 */
export async function storeRewrapped(
  db: Queryable,
  holder: Holder,
  rows: (StaleRow & { moved: Buffer })[],
): Promise<number> {
  const { table, key, column } = HOLDERS[holder];
  const columns = Object.keys(key);
  const arrays = Object.values(key).map((type, i) => `$${i + 3}::${type}[]`);
  const isSame = columns.map((name) => `t.${name} = m.${name}`).join(' and ');
  const stored = await db.query(
    `store-rewrapped-${holder}`,
    `with m as (
       select m.* from unnest($1::bytea[], $2::bytea[], ${arrays.join(', ')}) as m (old, moved, ${columns.join(', ')})
         join ${table} t on ${isSame} and t.${column} = m.old for update of t skip locked)
     update ${table} t set ${column} = m.moved from m where ${isSame} and t.${column} = m.old returning 1`,
    [
      rows.map(({ wrapped }) => wrapped),
      rows.map(({ moved }) => moved),
      ...columns.map((_, i) => rows.map((row) => row.key[i])),
    ],
  );
  return stored.length;
}

/** Versions of the two keys that a card's PAN is stored under. */
export interface PanVersions {
  wrap: number;
  fingerprint: number;
}

const IS_STALE_CARD = `pan_wrapped is not null and (${versionOf('pan_wrapped')} < $1 or pan_fingerprint_version < $2)`;

/** How many cards have their PAN or its fingerprint under an older version. */
export async function countStaleCards(db: Queryable, { wrap, fingerprint }: PanVersions): Promise<number> {
  const [row] = await db.query<{ count: number }>(
    'count-stale-cards',
    `select count(*) as count from cards where ${IS_STALE_CARD}`,
    [wrap, fingerprint],
  );
  return row?.count ?? 0;
}

/** A card whose PAN moves together with its fingerprint. */
export interface StaleCard {
  merchantId: number;
  cardNo: string;
  panWrapped: Buffer;
}

/**
 * The next stale cards after `after`, in the order of the key, locked. Leaves those that
 * others have locked.
 */
export async function lockStaleCards(
  tx: Queryable,
  { wrap, fingerprint }: PanVersions,
  after: { merchantId: number; cardNo: string },
  limit: number,
): Promise<StaleCard[]> {
  return tx.query(
    'lock-stale-cards',
    `select merchant_id as "merchantId", card_no as "cardNo", pan_wrapped as "panWrapped"
       from cards where ${IS_STALE_CARD} and (merchant_id, card_no) > ($3, $4)
      order by merchant_id, card_no limit $5 for update skip locked`,
    [wrap, fingerprint, after.merchantId, after.cardNo, limit],
  );
}

export async function storeRewrappedCards(
  tx: Queryable,
  cards: (StaleCard & { panFingerprint: Buffer })[],
  fingerprintVersion: number,
): Promise<void> {
  await tx.query(
    'store-rewrapped-cards',
    `update cards c
        set pan_wrapped = moved.wrapped, pan_fingerprint = moved.fingerprint, pan_fingerprint_version = $5
       from unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[])
         as moved (merchant_id, card_no, wrapped, fingerprint)
      where c.merchant_id = moved.merchant_id and c.card_no = moved.card_no`,
    [
      cards.map((card) => card.merchantId),
      cards.map((card) => card.cardNo),
      cards.map((card) => card.panWrapped),
      cards.map((card) => card.panFingerprint),
      fingerprintVersion,
    ],
  );
}

/** Where the database holds values under each key: in words, and as the rows under `$1`. */
const USES: Partial<Record<Purpose | 'kek', [what: string, rows: string][]>> = {
  kek: [
    ['secrets', `credentials where ${versionOf('secret_wrapped')} = $1`],
    ["issuers' keys", `issuer_keys where ${versionOf('key_wrapped')} = $1`],
    ['components', `key_components where ${versionOf('wrapped')} = $1`],
  ],
  'pin-verify': [
    ['PINs', 'cards where pin_key_version = $1'],
    ['earlier PINs', 'pin_history where key_version = $1'],
  ],
  'pan-wrap': [
    ['PANs', `cards where ${versionOf('pan_wrapped')} = $1`],
    ['personal data', `cardholders where ${versionOf('personal_wrapped')} = $1`],
    ['share tokens', `cardholders where ${versionOf('share_token_wrapped')} = $1`],
    ['addresses', `card_applications where ${versionOf('address_wrapped')} = $1`],
  ],
  'pan-fingerprint': [['fingerprints', 'cards where pan_fingerprint is not null and pan_fingerprint_version = $1']],
  cvv: [['cards', 'cards where pan_wrapped is not null and cvk_version = $1']],
  'audit-head': [
    ['signed heads', 'audit_signings where key_version = $1'],
    ['checkpoints', 'audit_checkpoints where key_version = $1'],
  ],
};

/** Values that need a version of a key. */
interface KeyUse {
  /** In words for the operator. */
  what: string;
  count: number;
}

/**
 * Counts what the database has under a version of a key, by kind. Kinds without a row are left out.
 */
export async function usesOf(db: Queryable, purpose: Purpose | 'kek', version: number): Promise<KeyUse[]> {
  const uses: KeyUse[] = [];
  for (const [i, [what, rows]] of (USES[purpose] ?? []).entries()) {
    const [row] = await db.query<{ count: number }>(`uses-${purpose}-${i}`, `select count(*) as count from ${rows}`, [
      version,
    ]);
    if (row !== undefined && row.count > 0) uses.push({ what, count: row.count });
  }
  return uses;
}
