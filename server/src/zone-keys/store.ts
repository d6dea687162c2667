import type { Queryable } from '../db/queryable.ts';
import { fromMs, toMs } from '../db/sql-time.ts';

/**
 * A key of an issuer: a zone PIN key, or a key-block protection key under which zone keys arrive.
 */
export interface IssuerKey {
  kind: 'zpk' | 'kbpk';
  label: string;
  algorithm: string;
  kcv: string;
  createdAtMs: number;
  destroyedAtMs: number | null;
}

export interface StoredIssuerKey extends IssuerKey {
  /** Under the KEK. Null once the key is destroyed. */
  keyWrapped: Buffer | null;
}

/** Which of an issuer's keys is meant. */
export interface IssuerKeyName {
  issuerId: number;
  kind: IssuerKey['kind'];
  label: string;
}

/** What a wrapped key of an issuer is bound to: moved to another row it does not open. */
export function issuerKeyIdentity({ issuerId, kind, label }: IssuerKeyName): string {
  return `issuer-key:${issuerId}:${kind}:${label}`;
}

const COLUMNS = `kind, label, algorithm, kcv, ${toMs('created_at')} as "createdAtMs", ${toMs('destroyed_at')} as "destroyedAtMs"`;

export async function findIssuerKey(
  db: Queryable,
  { issuerId, kind, label }: IssuerKeyName,
): Promise<StoredIssuerKey | undefined> {
  const [row] = await db.query<StoredIssuerKey>(
    'find-issuer-key',
    `select ${COLUMNS}, key_wrapped as "keyWrapped" from issuer_keys where issuer_id = $1 and kind = $2 and label = $3`,
    [issuerId, kind, label],
  );
  return row;
}

export async function listIssuerKeys(db: Queryable, issuerId: number): Promise<IssuerKey[]> {
  return db.query('list-issuer-keys', `select ${COLUMNS} from issuer_keys where issuer_id = $1 order by kind, label`, [
    issuerId,
  ]);
}

export type NewIssuerKey = Omit<IssuerKey, 'destroyedAtMs'> & { keyWrapped: Buffer };

export async function insertIssuerKey(tx: Queryable, issuerId: number, key: NewIssuerKey): Promise<void> {
  await tx.query(
    'insert-issuer-key',
    `insert into issuer_keys (issuer_id, kind, label, algorithm, kcv, key_wrapped, created_at)
     values ($1, $2, $3, $4, $5, $6, ${fromMs('$7')})`,
    [issuerId, key.kind, key.label, key.algorithm, key.kcv, key.keyWrapped, key.createdAtMs],
  );
}

/**
 * Deletes the key material and keeps the label. Returns false if there is no such key, or it is
 * destroyed already.
 */
export async function destroyIssuerKey(
  tx: Queryable,
  { issuerId, kind, label }: IssuerKeyName,
  atMs: number,
): Promise<boolean> {
  const rows = await tx.query(
    'destroy-issuer-key',
    `update issuer_keys set key_wrapped = null, destroyed_at = ${fromMs('$4')}
      where issuer_id = $1 and kind = $2 and label = $3 and destroyed_at is null returning 1`,
    [issuerId, kind, label, atMs],
  );
  return rows.length > 0;
}

export interface IssuerKeyListing extends IssuerKey {
  issuerNo: string;
}

/** The keys of all issuers. */
export async function listAllIssuerKeys(db: Queryable): Promise<IssuerKeyListing[]> {
  return db.query(
    'list-all-issuer-keys',
    `select issuer_no as "issuerNo", kind, label, algorithm, kcv, ${toMs('k.created_at')} as "createdAtMs",
            ${toMs('destroyed_at')} as "destroyedAtMs"
       from issuer_keys k join issuers using (issuer_id) order by issuer_no, kind, label`,
  );
}
