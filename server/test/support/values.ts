import type { Queryable } from '../../src/db/queryable.ts';

/** The first column of the first row. Throws if the statement gives no row. */
export async function readValue<T>(db: Queryable, text: string, values: unknown[] = []): Promise<T> {
  // An empty name prepares nothing, so that tests need no names for their statements.
  const [row] = await db.tuples<[T]>('', text, values);
  if (row === undefined) throw new Error(`no row from: ${text}`);
  return row[0];
}
