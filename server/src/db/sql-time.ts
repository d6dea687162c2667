/*
 * Instants are `timestamptz` in the database and Unix milliseconds in the program.
 * These two give the SQL that converts them.
 */

/** SQL: a `timestamptz` expression as Unix milliseconds; null stays null. */
export function toMs(instant: string): string {
  return `(extract(epoch from ${instant}) * 1000)::bigint`;
}

/**
 * SQL: Unix milliseconds, a parameter like `$3` or another expression, as `timestamptz`; null stays
 * null.
 */
export function fromMs(ms: string): string {
  return `to_timestamp(${ms}::bigint / 1000.0)`;
}
