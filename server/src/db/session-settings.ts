import type pg from 'pg';
import { OperatorError } from '../operator-error.ts';

/*
 * The settings that statements rely on. Each connection sets them and reads them back, because the
 * server, the database, the role and DATABASE_URL may each have other defaults. A statement sets
 * them: poolers drop or refuse startup parameters.
 */

const SETTINGS = {
  // How values are written as text, in both directions.
  client_encoding: 'UTF8',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  bytea_output: 'hex',
  extra_float_digits: '1',
  standard_conforming_strings: 'on',
  array_nulls: 'on',
  // A statement sees everything that was committed before it began, and waits for locked rows.
  default_transaction_isolation: 'read committed',
  default_transaction_deferrable: 'off',
} as const;

/** Of the pool, whose statements are few and run often. */
const POOL_SETTINGS = {
  // Arrays of any length share one plan. Planning a PIN set each time costs more than running it.
  plan_cache_mode: 'force_generic_plan',
  jit: 'off',
  // That one plan may date from when a table was empty, and would read the whole table later.
  enable_seqscan: 'off',
  // A bitmap gathers every entry of a queue's index, the dead ones too. An ordered scan stops at
  // its limit and remembers what is dead.
  enable_bitmapscan: 'off',
  enable_indexscan: 'on',
} as const;

export interface SessionLimits {
  statementMs: number;
  lockMs: number;
  idleInTransactionMs: number;
}

/**
 * Sets and reads back what the statements of a connection rely on. Throws OperatorError if the
 * server keeps another value.
 */
export async function setUpSession(
  client: pg.ClientBase,
  limits: SessionLimits,
  kind: 'pool' | 'session',
): Promise<void> {
  const settings: Record<string, string> = {
    ...SETTINGS,
    ...(kind === 'pool' ? POOL_SETTINGS : {}),
    statement_timeout: duration(limits.statementMs),
    lock_timeout: duration(limits.lockMs),
    idle_in_transaction_session_timeout: duration(limits.idleInTransactionMs),
  };
  const names = Object.keys(settings);
  await client.query('select set_config(name, value, false) from unnest($1::text[], $2::text[]) as s (name, value)', [
    names,
    Object.values(settings),
  ]);
  // An answer promises that the change is on disk.
  await client.query(`select set_config(name, 'on', false) from pg_settings
                       where name = 'synchronous_commit' and setting = 'off'`);
  const { rows } = await client.query<{ name: string; value: string }>(
    'select name, current_setting(name) as value from unnest($1::text[]) as s (name)',
    [['server_encoding', ...names]],
  );
  const [encoding, ...kept] = rows;
  if (encoding?.value !== 'UTF8')
    throw new OperatorError(
      `the database stores text in ${encoding?.value}, and Pinward needs UTF8: create it with encoding 'UTF8'`,
    );
  for (const { name, value } of kept)
    if (value !== settings[name])
      throw new OperatorError(
        `the database keeps ${name} at ${value}, and Pinward needs ${settings[name]}: ` +
          'is a connection pooler in transaction mode between them? Use its session mode',
      );
}

/** As `current_setting` shows it. */
function duration(ms: number): string {
  return ms % 1_000 === 0 && ms > 0 ? `${ms / 1_000}s` : String(ms);
}
