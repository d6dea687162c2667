import pg from 'pg';

/**
 * Whether the server refused a statement and rolled it back. False after a lost connection, a
 * shutdown or a fault of the server itself (SQLSTATE 08, 40003, 57P, 58, XX): then nobody knows
 * whether the commit took place. Judged by the code, since the server may report the severity in
 * another language.
 */
export function wasRolledBack(error: unknown): boolean {
  return error instanceof pg.DatabaseError && /^(?!08|40003|57P|58|XX)[0-9A-Z]{5}$/.test(error.code ?? '');
}

/**
 * Whether a statement failed because a row with that key exists: of `constraint`, if one is named.
 */
export function isDuplicate(error: unknown, constraint?: string): boolean {
  if (!(error instanceof pg.DatabaseError) || error.code !== '23505') return false;
  return constraint === undefined || error.constraint === constraint;
}

/**
 * Whether a statement was ended because it waited too long for a lock, or was part of a deadlock.
 */
export function isLockFault(error: unknown): boolean {
  return error instanceof pg.DatabaseError && (error.code === '55P03' || error.code === '40P01');
}

/**
 * Too many statements wait for a connection. Nothing was sent to the server: the caller may try
 * again.
 */
export class OverloadError extends Error {
  override readonly name = 'OverloadError';

  constructor() {
    super('too many statements wait for a database connection');
  }
}
