import type { Queryable } from '../db/database.ts';

/** The version that a wrapped value names, in SQL: its first two bytes. */
const versionOf = (column: string): string => `(get_byte(${column}, 0) * 256 + get_byte(${column}, 1))`;

/** What the database holds under keys: which rows are to move to another version. The key is a unique index's, along which they are walked. */
const HOLDERS = {
  credentials: { table: 'credentials', key: { api_key: 'text' }, column: 'secret_wrapped' },
  issuer_keys: { table: 'issuer_keys', key: { issuer_id: 'int', kind: 'text', label: 'text' }, column: 'key_wrapped' },
  key_components: { table: 'key_components', key: { target: 'text', share: 'smallint' }, column: 'wrapped' },
  personal: { table: 'cardholders', key: { cardholder_no: 'text' }, column: 'personal_wrapped' },
  share_tokens: { table: 'cardholders', key: { cardholder_no: 'text' }, column: 'share_token_wrapped' },
  addresses: { table: 'card_applications', key: { merchant_id: 'int', card_no: 'text' }, column: 'address_wrapped' },
} as const;

/** Values on which nothing else hangs. */
export type Holder = keyof typeof HOLDERS;

export async function countStale(db: Queryable, holder: Holder, version: number): Promise<number> {
  const { table, column } = HOLDERS[holder];
  const [row] = await db.query<[number]>(`count-stale-${holder}`, `select count(*) from ${table} where ${versionOf(column)} < $1`, [
    version,
  ]);
  return row?.[0] ?? 0;
}

export interface StaleRow {
  key: string[];
  wrapped: Buffer;
}

/** In the statement, so that the planner knows that it is few and walks the index. */
const STALE_AT_ONCE = 250;

/** The next rows behind one, in the order of the key, whose value is under an older version. Not locked: see `storeRewrapped`. */
export async function readStale(db: Queryable, holder: Holder, version: number, after: string[] | undefined): Promise<StaleRow[]> {
  const { table, key, column } = HOLDERS[holder];
  const names = Object.keys(key);
  const behind = after && `and (${names.join(', ')}) > (${names.map((_, i) => `$${i + 2}`).join(', ')})`;
  const rows = await db.query<[...string[], Buffer]>(
    `read-stale-${holder}${after ? '-behind' : ''}`,
    `select ${names.map((name) => `${name}::text`).join(', ')}, ${column} from ${table}
      where ${versionOf(column)} < $1 ${behind ?? ''} order by ${names.join(', ')} limit ${STALE_AT_ONCE}`,
    [version, ...(after ?? [])],
  );
  return rows.map((row) => ({ key: row.slice(0, -1) as string[], wrapped: row.at(-1) as Buffer }));
}

/**
 * Puts new wraps in the place of those that they were made of, in one statement, and gives how many. A row that holds another value by now,
 * or that somebody has locked, is left as it is.
 */
export async function storeRewrapped(db: Queryable, holder: Holder, rows: (StaleRow & { moved: Buffer })[]): Promise<number> {
  const { table, key, column } = HOLDERS[holder];
  const names = Object.keys(key);
  const arrays = Object.values(key).map((type, i) => `$${i + 3}::${type}[]`);
  const same = names.map((name) => `t.${name} = m.${name}`).join(' and ');
  const stored = await db.query(
    `store-rewrapped-${holder}`,
    `with m as (
       select m.* from unnest($1::bytea[], $2::bytea[], ${arrays.join(', ')}) as m (old, moved, ${names.join(', ')})
         join ${table} t on ${same} and t.${column} = m.old for update of t skip locked)
     update ${table} t set ${column} = m.moved from m where ${same} and t.${column} = m.old returning 1`,
    [rows.map(({ wrapped }) => wrapped), rows.map(({ moved }) => moved), ...names.map((_, i) => rows.map((row) => row.key[i]))],
  );
  return stored.length;
}

const STALE_CARD = `pan_wrapped is not null and (${versionOf('pan_wrapped')} < $1 or pan_fingerprint_version < $2)`;

export async function countStaleCards(db: Queryable, wrapVersion: number, fingerprintVersion: number): Promise<number> {
  const [row] = await db.query<[number]>('count-stale-cards', `select count(*) from cards where ${STALE_CARD}`, [
    wrapVersion,
    fingerprintVersion,
  ]);
  return row?.[0] ?? 0;
}

export interface StaleCard {
  merchantId: number;
  cardNo: string;
  panWrapped: Buffer;
}

/** The next cards behind one, in the order of the key, whose PAN or fingerprint is under an older version, locked. */
export async function lockStaleCards(
  tx: Queryable,
  versions: { wrap: number; fingerprint: number },
  after: { merchantId: number; cardNo: string },
  most: number,
): Promise<StaleCard[]> {
  const rows = await tx.query<[number, string, Buffer]>(
    'lock-stale-cards',
    `select merchant_id, card_no, pan_wrapped from cards where ${STALE_CARD} and (merchant_id, card_no) > ($3, $4)
      order by merchant_id, card_no limit $5 for update skip locked`,
    [versions.wrap, versions.fingerprint, after.merchantId, after.cardNo, most],
  );
  return rows.map(([merchantId, cardNo, panWrapped]) => ({ merchantId, cardNo, panWrapped }));
}

export async function storeRewrappedCards(
  tx: Queryable,
  cards: { merchantId: number; cardNo: string; panWrapped: Buffer; panFingerprint: Buffer }[],
  fingerprintVersion: number,
): Promise<void> {
  await tx.query(
    'store-rewrapped-cards',
    `update cards c set pan_wrapped = moved.wrapped, pan_fingerprint = moved.fingerprint, pan_fingerprint_version = $5
       from unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[]) as moved (merchant_id, card_no, wrapped, fingerprint)
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

/** How many rows need that version of a key, and what they are. */
const USES: Record<string, [what: string, sql: string][]> = {
  kek: [
    ['secrets', `select count(*) from credentials where ${versionOf('secret_wrapped')} = $1`],
    ["issuers' keys", `select count(*) from issuer_keys where ${versionOf('key_wrapped')} = $1`],
    ['components', `select count(*) from key_components where ${versionOf('wrapped')} = $1`],
  ],
  'pin-verify': [
    ['PINs', 'select count(*) from cards where pin_key_version = $1'],
    ['earlier PINs', 'select count(*) from pin_history where key_version = $1'],
  ],
  'pan-wrap': [
    ['PANs', `select count(*) from cards where ${versionOf('pan_wrapped')} = $1`],
    ['personal data', `select count(*) from cardholders where ${versionOf('personal_wrapped')} = $1`],
    ['share tokens', `select count(*) from cardholders where ${versionOf('share_token_wrapped')} = $1`],
    ['addresses', `select count(*) from card_applications where ${versionOf('address_wrapped')} = $1`],
  ],
  'pan-fingerprint': [['fingerprints', 'select count(*) from cards where pan_fingerprint is not null and pan_fingerprint_version = $1']],
  cvv: [['cards', 'select count(*) from cards where pan_wrapped is not null and cvk_version = $1']],
  'audit-head': [
    ['signed heads', 'select count(*) from audit_signings where key_version = $1'],
    ['checkpoints', 'select count(*) from audit_checkpoints where key_version = $1'],
  ],
};

export async function usesOf(db: Queryable, purpose: string, version: number): Promise<[what: string, count: number][]> {
  const uses: [string, number][] = [];
  for (const [index, [what, sql]] of (USES[purpose] ?? []).entries()) {
    const [row] = await db.query<[number]>(`uses-${purpose}-${index}`, sql, [version]);
    if (row !== undefined && row[0] > 0) uses.push([what, row[0]]);
  }
  return uses;
}

export interface Component {
  share: number;
  shares: number;
  algorithm: string;
  kcv: string;
  wrapped: Buffer;
}

/** The shares of a key that are there, and no others at the same time: whoever brings one waits for whoever brings another. */
export async function lockComponents(tx: Queryable, target: string): Promise<Component[]> {
  await tx.query('lock-components', 'lock table key_components in exclusive mode');
  const rows = await tx.query<[number, number, string, string, Buffer]>(
    'components',
    'select share, shares, algorithm, kcv, wrapped from key_components where target = $1 order by share',
    [target],
  );
  return rows.map(([share, shares, algorithm, kcv, wrapped]) => ({ share, shares, algorithm, kcv, wrapped }));
}

export async function insertComponent(tx: Queryable, target: string, component: Component, atMs: number): Promise<void> {
  await tx.query(
    'insert-component',
    'insert into key_components (target, share, shares, algorithm, kcv, wrapped, created_at) values ($1, $2, $3, $4, $5, $6, to_timestamp($7::bigint / 1000.0))',
    [target, component.share, component.shares, component.algorithm, component.kcv, component.wrapped, atMs],
  );
}

export async function deleteComponents(tx: Queryable, target: string): Promise<number> {
  return (await tx.query('delete-components', 'delete from key_components where target = $1 returning 1', [target])).length;
}

export function listComponents(db: Queryable): Promise<[target: string, there: number, shares: number, algorithm: string, since: Date][]> {
  return db.query(
    'list-components',
    'select target, count(*), max(shares), max(algorithm), min(created_at) from key_components group by target order by target',
  );
}

export function listAllIssuerKeys(
  db: Queryable,
): Promise<
  [issuerNo: string, kind: string, label: string, algorithm: string, kcv: string, createdAt: Date, destroyed: boolean, kek: number | null][]
> {
  return db.query(
    'list-all-issuer-keys',
    `select issuer_no, kind, label, algorithm, kcv, k.created_at, destroyed_at is not null, ${versionOf('key_wrapped')}
       from issuer_keys k join issuers using (issuer_id) order by issuer_no, kind, label`,
  );
}
