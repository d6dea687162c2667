import type { Queryable } from '../db/database.ts';

/** The version that a wrapped value names, in SQL: its first two bytes. */
const versionOf = (column: string): string => `(get_byte(${column}, 0) * 256 + get_byte(${column}, 1))`;

/** What the database holds under keys: which rows need a version, and which are to move to another. */
const HOLDERS = {
  credentials: { key: ['api_key'], column: 'secret_wrapped' },
  issuer_keys: { key: ['issuer_id', 'kind', 'label'], column: 'key_wrapped' },
  key_components: { key: ['target', 'share'], column: 'wrapped' },
  cardholders: { key: ['cardholder_no'], column: 'personal_wrapped' },
} as const;

/** Tables of few rows, or with one wrapped value a row and nothing that hangs on it. */
export type Holder = keyof typeof HOLDERS;

export async function countStale(db: Queryable, table: Holder, version: number): Promise<number> {
  const { column } = HOLDERS[table];
  const [row] = await db.query<[number]>(`count-stale-${table}`, `select count(*) from ${table} where ${versionOf(column)} < $1`, [
    version,
  ]);
  return row?.[0] ?? 0;
}

export interface StaleRow {
  key: string[];
  wrapped: Buffer;
}

/** Some rows whose value is under an older version, locked. Those that somebody else has locked are left for the next time. */
export async function lockStale(tx: Queryable, table: Holder, version: number, most: number): Promise<StaleRow[]> {
  const { key, column } = HOLDERS[table];
  const rows = await tx.query<[...string[], Buffer]>(
    `lock-stale-${table}`,
    `select ${key.map((name) => `${name}::text`).join(', ')}, ${column} from ${table} where ${versionOf(column)} < $1 limit $2 for update skip locked`,
    [version, most],
  );
  return rows.map((row) => ({ key: row.slice(0, -1) as string[], wrapped: row.at(-1) as Buffer }));
}

export async function storeRewrapped(tx: Queryable, table: Holder, key: string[], wrapped: Buffer): Promise<void> {
  const { key: names, column } = HOLDERS[table];
  const where = names.map((name, i) => `${name}::text = $${i + 2}`).join(' and ');
  await tx.query(`store-rewrapped-${table}`, `update ${table} set ${column} = $1 where ${where}`, [wrapped, ...key]);
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
    ['PINs', 'select count(*) from pins where key_version = $1'],
    ['earlier PINs', 'select count(*) from pin_history where key_version = $1'],
  ],
  'pan-wrap': [
    ['PANs', `select count(*) from cards where ${versionOf('pan_wrapped')} = $1`],
    ['personal data', `select count(*) from cardholders where ${versionOf('personal_wrapped')} = $1`],
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
