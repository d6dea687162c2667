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
