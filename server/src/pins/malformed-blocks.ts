import { ApiError } from '../api-error.ts';
import { CLOCK_SKEW_MS, windowLeftMs } from '../clock-window.ts';
import type { Batch } from '../db/batch.ts';
import type { Queryable } from '../db/queryable.ts';
import { fromMs, toMs } from '../db/sql-time.ts';

/*
 * A malformed PIN block costs no try, but its answer tells something about the enciphered bytes. So
 * a card, a caller and a zone key each have a limit for malformed blocks. A broken terminal sends
 * only malformed blocks, and must not stop others. So a caller or a zone key reaches its limit only
 * if malformed blocks are also more than a small part of all its blocks. The limit of a caller is
 * lower than that of a zone key, so one caller alone cannot stop a zone key.
 */

/** How long malformed blocks count. */
export const MALFORMED_WINDOW_MS = 3_600_000;
/** The part of all blocks that may be malformed, for a caller and for a zone key. */
const TOLERATED_PART = 0.05;
/** The limit of a card times this is the limit of a caller or a zone key. */
const FACTORS = { caller: 5, zone_key: 20 } as const;

/** Malformed blocks and all blocks since a time. */
export interface BlockCounts {
  malformed: number;
  blocks: number;
  sinceMs: number;
}

/** Where a block came from, and under which zone key. */
export interface CountedSources {
  issuerId: number;
  /** The terminal that the request names, or else the address that it came from. */
  caller: string;
  zoneKey: string;
}

export function callerName({ terminal, address }: { terminal: string | undefined; address: string }): string {
  return terminal === undefined ? `address ${address}` : `terminal ${terminal}`;
}

export type Counted = 'card' | 'caller' | 'zone_key';

/** Throws 1009 with the name of the first that has reached its limit. `limit` is the card's. */
export function requireFewMalformed(
  counts: Record<Counted, BlockCounts | undefined>,
  limit: number,
  now: number,
): void {
  for (const counted of ['card', 'caller', 'zone_key'] as const) {
    const found = counts[counted];
    if (found !== undefined && isInWindow(found, now) && isLimited(counted, found, limit))
      throw new ApiError('tooFrequent', {
        field: counted,
        retryAfterSeconds: Math.ceil(windowLeftMs(found.sinceMs, MALFORMED_WINDOW_MS, now) / 1000),
      });
  }
}

export function isInWindow({ sinceMs }: { sinceMs: number }, now: number): boolean {
  return windowLeftMs(sinceMs, MALFORMED_WINDOW_MS, now) > 0;
}

/** Whether counts of the window have reached their limit. */
export function isLimited(counted: Counted, { malformed, blocks }: BlockCounts, limit: number): boolean {
  if (counted === 'card') return malformed >= limit;
  return malformed >= limit * FACTORS[counted] && malformed > blocks * TOLERATED_PART;
}

/** SQL: whether a window that began at a column still runs at $1 (`windowLeftMs`). */
const inWindow = (since: string): string =>
  `${since} > ${fromMs(`($1::bigint - ${MALFORMED_WINDOW_MS})`)} and ${since} <= ${fromMs(`($1::bigint + ${CLOCK_SKEW_MS})`)}`;

const COUNT_OF_CARD = `
update cards
   set malformed_blocks = case when ${inWindow('malformed_since')} then malformed_blocks + 1 else 1 end,
       malformed_since = case when ${inWindow('malformed_since')} then malformed_since else ${fromMs('$1')} end
 where merchant_id = $3 and card_no = $4
   and (malformed_since is null or not (${inWindow('malformed_since')}) or malformed_blocks < $2)
returning 1`;

const COUNT_OF_SOURCE = `
insert into pin_block_counts as c (issuer_id, kind, name, malformed, blocks, since)
values ($3, $4, $5, 1, 1, ${fromMs('$1')})
on conflict (issuer_id, kind, name) do update
   set malformed = case when ${inWindow('c.since')} then c.malformed + 1 else 1 end,
       blocks = case when ${inWindow('c.since')} then c.blocks + 1 else 1 end,
       since = case when ${inWindow('c.since')} then c.since else excluded.since end
 where not (${inWindow('c.since')}) or c.malformed < $2 or c.malformed <= c.blocks * ${TOLERATED_PART}
returning 1`;

/**
 * Counts a malformed block with its card, its caller and its zone key. Returns what has reached its
 * limit, if anything has; then the transaction must be rolled back. `limit` is the card's.
 */
export async function countMalformed(
  tx: Queryable,
  of: CountedSources & { merchantId: number; cardNo: string },
  { limit, atMs }: { limit: number; atMs: number },
): Promise<Counted | undefined> {
  const card = [atMs, limit, of.merchantId, of.cardNo];
  if ((await tx.query('count-malformed-of-card', COUNT_OF_CARD, card)).length === 0) return 'card';
  for (const [kind, name] of [
    ['caller', of.caller],
    ['zone_key', of.zoneKey],
  ] as const) {
    const values = [atMs, limit * FACTORS[kind], of.issuerId, kind, name];
    if ((await tx.query('count-malformed-of-source', COUNT_OF_SOURCE, values)).length === 0) return kind;
  }
  return undefined;
}

/** Counts well-formed blocks, beside which malformed ones are judged. */
export const WELL_FORMED_BATCH: Batch<CountedSources & { atMs: number }, void> = {
  lanes: 1,
  limit: 512,
  async run(db, items) {
    const counts = new Map<string, { issuerId: number; kind: string; name: string; blocks: number }>();
    for (const { issuerId, caller, zoneKey } of items)
      for (const [kind, name] of [
        ['caller', caller],
        ['zone_key', zoneKey],
      ] as const) {
        const key = `${issuerId} ${kind} ${name}`;
        const count = counts.get(key) ?? { issuerId, kind, name, blocks: 0 };
        count.blocks++;
        counts.set(key, count);
      }
    // In one order: two processes that add to the same rows must not deadlock.
    const rows = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
    await db.query(
      'count-well-formed',
      `with added as (select * from unnest($2::integer[], $3::text[], $4::text[], $5::bigint[])
                               as a (issuer_id, kind, name, blocks)),
            locked as (select c.issuer_id, c.kind, c.name from pin_block_counts c join added using (issuer_id, kind, name)
                        where ${inWindow('c.since')} order by issuer_id, kind, name for update of c)
       update pin_block_counts c set blocks = c.blocks + added.blocks
         from added join locked using (issuer_id, kind, name)
        where c.issuer_id = locked.issuer_id and c.kind = locked.kind and c.name = locked.name`,
      [
        Math.max(...items.map(({ atMs }) => atMs)),
        rows.map(({ issuerId }) => issuerId),
        rows.map(({ kind }) => kind),
        rows.map(({ name }) => name),
        rows.map(({ blocks }) => blocks),
      ],
    );
    return items.map(() => undefined);
  },
};

export interface ListedCounts extends BlockCounts {
  counted: Counted;
  /** The number of a card, a caller, or the label of a zone key. */
  name: string;
}

/** The counts of an issuer in the running window: those with the most malformed blocks first. */
export function listCounts(
  db: Queryable,
  { issuerId, merchantIds }: { issuerId: number; merchantIds: number[] },
  now: number,
): Promise<ListedCounts[]> {
  return db.query(
    'list-malformed',
    `select 'card' as counted, card_no as name, malformed_blocks as malformed, malformed_blocks as blocks,
            ${toMs('malformed_since')} as "sinceMs"
       from cards where merchant_id = any($3) and ${inWindow('malformed_since')}
     union all
     select kind, name, malformed, blocks, ${toMs('since')} from pin_block_counts
      where issuer_id = $2 and ${inWindow('since')}
      order by malformed desc, name limit 1000`,
    [now, issuerId, merchantIds],
  );
}

/** Forgets the counts of a caller, a zone key or a card. Returns false if there are none. */
export async function resetCounts(
  tx: Queryable,
  { issuerId, merchantIds }: { issuerId: number; merchantIds: number[] },
  { counted, name }: { counted: Counted; name: string },
): Promise<boolean> {
  const rows =
    counted === 'card'
      ? await tx.query(
          'reset-malformed-of-card',
          `update cards set malformed_blocks = 0, malformed_since = null
            where merchant_id = any($1) and card_no = $2 and malformed_since is not null returning 1`,
          [merchantIds, name],
        )
      : await tx.query(
          'reset-malformed-of-source',
          'delete from pin_block_counts where issuer_id = $1 and kind = $2 and name = $3 returning 1',
          [issuerId, counted, name],
        );
  return rows.length > 0;
}
