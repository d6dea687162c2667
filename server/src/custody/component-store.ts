import type { Queryable } from '../db/queryable.ts';
import { fromMs, toMs } from '../db/sql-time.ts';

/** A component of a key that waits for the others. */
export interface StoredComponent {
  /** From 1 to `count`. */
  number: number;
  /** How many components the key has. */
  count: number;
  algorithm: string;
  kcv: string;
  /** Under the KEK. */
  wrapped: Buffer;
}

/** What a wrapped component is bound to: in another row it does not open. */
export function componentIdentity(target: string, number: number): string {
  return `component:${target}:${number}`;
}

/**
 * The stored components of a key. Locks the table until the transaction ends: two
 * custodians' imports take turns.
 */
export async function lockComponents(tx: Queryable, target: string): Promise<StoredComponent[]> {
  await tx.query('lock-components', 'lock table key_components in exclusive mode');
  return tx.query(
    'components',
    `select share as number, shares as count, algorithm, kcv, wrapped
       from key_components where target = $1 order by share`,
    [target],
  );
}

export async function insertComponent(
  tx: Queryable,
  target: string,
  { number, count, algorithm, kcv, wrapped }: StoredComponent,
  atMs: number,
): Promise<void> {
  await tx.query(
    'insert-component',
    `insert into key_components (target, share, shares, algorithm, kcv, wrapped, created_at)
     values ($1, $2, $3, $4, $5, $6, ${fromMs('$7')})`,
    [target, number, count, algorithm, kcv, wrapped, atMs],
  );
}

/** Returns how many there were. */
export async function deleteComponents(tx: Queryable, target: string): Promise<number> {
  const rows = await tx.query('delete-components', 'delete from key_components where target = $1 returning 1', [
    target,
  ]);
  return rows.length;
}

/** A key of which some components are stored. */
interface UnfinishedKey {
  target: string;
  /** Components that are stored. */
  stored: number;
  /** Components that the key has. */
  count: number;
  algorithm: string;
  /** When the first one was stored, Unix milliseconds. */
  sinceMs: number;
}

export async function listUnfinishedKeys(db: Queryable): Promise<UnfinishedKey[]> {
  return db.query(
    'list-components',
    `select target, count(*) as stored, max(shares) as count, max(algorithm) as algorithm,
            ${toMs('min(created_at)')} as "sinceMs"
       from key_components group by target order by target`,
  );
}
