import type { Queryable } from './queryable.ts';
import { fromMs } from './sql-time.ts';

/**
 * Rows of one deletion: few enough that nobody waits for it and that it ends long before the
 * statement timeout.
 */
export const DELETE_LIMIT = 1_000;

export interface Deletion {
  /** The name of the statement. */
  name: string;
  /** Deletes at most `DELETE_LIMIT` rows and returns one row for each. */
  text: string;
  values?: unknown[];
}

/** Repeats a deletion until no more rows are left. Returns how many it deleted. */
export async function deleteInBatches(db: Queryable, { name, text, values = [] }: Deletion): Promise<number> {
  for (let total = 0; ; ) {
    const deleted = await db.query(name, text, values);
    total += deleted.length;
    if (deleted.length < DELETE_LIMIT) return total;
  }
}

export interface Expiry {
  table: string;
  /** A timestamptz column with an index. */
  column: string;
  /** Rows expire when the column is `<` (before) or `<=` (not after) the time. */
  is: '<' | '<=';
  timeMs: number;
}

/**
 * Deletes the expired rows of a table. Leaves rows that another transaction has locked. Nothing
 * expires before the database's clock says so: a process whose clock is ahead would forget a `jti`
 * that can still be replayed.
 */
export function deleteExpired(db: Queryable, { table, column, is, timeMs }: Expiry): Promise<number> {
  return deleteInBatches(db, {
    name: `delete-expired-${table}`,
    text: `
      delete from ${table} where ctid = any(array(
        select ctid from ${table} where ${column} ${is} least(${fromMs('$1')}, statement_timestamp())
         order by ${column} limit ${DELETE_LIMIT} for update skip locked))
      returning 1`,
    values: [timeMs],
  });
}
