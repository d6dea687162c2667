import type { Queryable } from './database.ts';

/** Rows of one deletion: so few that nobody waits for it, and that it ends long before a statement must. */
export const FORGET_AT_ONCE = 1_000;

/** Runs a deletion that takes FORGET_AT_ONCE rows at the most, and returns one for each, until no more are left. Gives how many it took. */
export async function forget(db: Queryable, name: string, deletion: string, values: unknown[] = []): Promise<number> {
  for (let all = 0; ; ) {
    const gone = await db.query(name, deletion, values);
    all += gone.length;
    if (gone.length < FORGET_AT_ONCE) return all;
  }
}

/** Forgets the rows of a table whose time, in a column with an index, lies before another (`<`) or not after it (`<=`). A row in use is left. */
export function forgetOld(db: Queryable, table: string, column: string, is: '<' | '<=', timeMs: number): Promise<number> {
  return forget(
    db,
    `forget-old-${table}`,
    `delete from ${table} where ctid = any(array(
       select ctid from ${table} where ${column} ${is} to_timestamp($1::bigint / 1000.0) order by ${column} limit ${FORGET_AT_ONCE} for update skip locked))
     returning 1`,
    [timeMs],
  );
}
