import { CLOCK_SKEW_MS } from '../clock-window.ts';
import type { Queryable } from './queryable.ts';
import { toMs } from './sql-time.ts';

/**
 * In words, how far this process's clock is from the database's; undefined if they agree within a
 * minute.
 */
export async function clockFault(db: Queryable, now: () => number): Promise<string | undefined> {
  const beforeMs = now();
  const [row] = await db.query<{ nowMs: number }>('clock', `select ${toMs('clock_timestamp()')} as "nowMs"`);
  const aheadMs = row === undefined ? 0 : Math.round((beforeMs + now()) / 2 - row.nowMs);
  if (Math.abs(aheadMs) <= CLOCK_SKEW_MS) return undefined;
  const seconds = Math.round(Math.abs(aheadMs) / 1000);
  const side = aheadMs > 0 ? 'ahead of' : 'behind';
  return `the clock of this machine is ${seconds} s ${side} the database's: set both by NTP`;
}
