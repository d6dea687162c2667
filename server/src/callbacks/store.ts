import type { Batch } from '../db/batch.ts';
import { DELETE_LIMIT, deleteExpired, deleteInBatches } from '../db/delete-expired.ts';
import type { Queryable } from '../db/queryable.ts';
import { fromMs, toMs } from '../db/sql-time.ts';

/*
 * The queue of events (docs/adr/0014). An event waits while `due_at` is not null: for its
 * next attempt, or for the end of a lease. Afterwards it is delivered or a dead letter,
 * which the database calls parked.
 */

/** An event that this process may send until the lease ends. */
export interface ClaimedEvent {
  eventId: number;
  merchantId: number;
  pushId: string;
  action: string;
  /** JSON, as it is sent. */
  data: string;
  /**
   * Counts this attempt too. Of two claims of one event the later has more attempts, and
   * only that one settles.
   */
  attempts: number;
  createdAtMs: number;
}

export interface ClaimLimits {
  nowMs: number;
  /** How long this process has the events to itself, to deliver and settle them. */
  leaseMs: number;
  /** How many more events each merchant may have. */
  room: ReadonlyMap<number, number>;
  /** The same for merchants that are not in `room`. */
  perMerchant: number;
  /** The limit over all merchants. */
  free: number;
}

/**
 * Extra due events that are examined for each merchant, since some are blocked behind an
 * earlier one of their card.
 */
const SPARE = 16;
/** More than a process has in flight to one merchant. */
const CANDIDATES_LIMIT = 256;
/**
 * An event behind one that is in flight is examined again after this time, unless it is
 * woken before. The settlement of the other one wakes it, but may not have seen it.
 */
const LOOK_AGAIN_MS = 5_000;

/**
 * Claims due events, in one statement and in any number of processes at once. Only the
 * earliest waiting event of a card is claimed. The later ones are put back until its
 * settlement wakes the next. `event_id` rises with the commits of a card, because events
 * are written under the card's lock. A claim may still see an event as waiting that was
 * settled a moment ago: then the next event waits longer than it must, but it never goes
 * too early.
 *
 * The planner's statistics may date from a moment when all events waited, or none did. It
 * would then read the whole table. Against this:
 * - Rows are updated by `= any(array(...))` of the primary key alone.
 * - `event_id + 0` keeps the planner from walking that key past all delivered events.
 * - CANDIDATES_LIMIT stands in the text. For a limit that the planner does not know it
 *   expects a tenth of the table.
 */
const CLAIM = `
with given as (
  select ${fromMs('$1')} as now, ${fromMs('($1::bigint + $2::int)')} as lease_end
), room as (
  select m.merchant_id, coalesce(r.room, $5::int) as room
    from merchants m left join unnest($3::int[], $4::int[]) r (merchant_id, room) using (merchant_id)
   where m.callback_url is not null and m.callback_credential_id is not null and m.status = 'Active'
), candidate as (
  select r.merchant_id, r.room, e.*
    from given, room r cross join lateral (
      select * from (
        select event_id, card_no, due_at from callback_events
         where merchant_id = r.merchant_id and due_at <= given.now
         order by due_at, event_id limit ${CANDIDATES_LIMIT} for update skip locked) due
       limit r.room + ${SPARE}) e
   where r.room > 0
), judged as (
  select c.*, (select b.due_at from callback_events b
                where b.merchant_id = c.merchant_id and b.card_no = c.card_no and b.event_id < c.event_id
                  and b.due_at is not null
                order by b.event_id + 0 limit 1) as before_due_at
    from candidate c
), ranked as (
  select *, row_number() over (partition by merchant_id order by due_at, event_id) as place
    from judged where before_due_at is null
), head as (
  select event_id from ranked where place <= room order by place, due_at limit $6
), claimed as (
  update callback_events e set due_at = given.lease_end, attempts = least(e.attempts + 1, 32767)
    from given where e.event_id = any(array(select event_id from head))
  returning e.event_id as "eventId", e.merchant_id as "merchantId", e.push_id as "pushId", e.action, e.data, e.attempts,
            ${toMs('e.created_at')} as "createdAtMs"
), put_back as (
  update callback_events e
     set due_at = case when j.before_due_at > given.lease_end then j.before_due_at
                       else given.now + ${LOOK_AGAIN_MS} * interval '1 millisecond' end
    from given, judged j
   where e.event_id = any(array(select event_id from judged where before_due_at is not null))
     and e.event_id = j.event_id
)
select (select count(*) from candidate) as candidates, c.*
  from (values (1)) one left join claimed c on true order by c."eventId"`;

type ClaimRow = { candidates: number } & (ClaimedEvent | { eventId: null });

/** Claims events for the lease. `more`: whether more events may be due. */
export async function claimEvents(
  db: Queryable,
  { nowMs, leaseMs, room, perMerchant, free }: ClaimLimits,
): Promise<{ events: ClaimedEvent[]; more: boolean }> {
  const values = [nowMs, leaseMs, [...room.keys()], [...room.values()], perMerchant, free];
  const rows = await db.query<ClaimRow>('claim-events', CLAIM, values);
  const events = rows.filter((row): row is ClaimRow & ClaimedEvent => row.eventId !== null);
  return { events, more: (rows[0]?.candidates ?? 0) > 0 };
}

/** The outcome of an attempt. Neither delivered nor to be tried again: a dead letter. */
export interface Settlement {
  eventId: number;
  attempts: number;
  atMs: number;
  delivered: boolean;
  retryAtMs: number | undefined;
  fault: string | undefined;
}

export interface Settled {
  /** Whether the event still belonged to this claim. */
  settled: boolean;
  /** Whether another event of the card is due now. */
  woke: boolean;
}

/**
 * When an event no longer waits, the next one of its card becomes due, unless that one has
 * had attempts of its own: then it keeps its time. It is due as of its creation. So it goes
 * before later events of other cards, and before the events of its own card that wait
 * behind it. But it is due now at the latest: its creation may be by a clock that is ahead.
 */
const SETTLE = `
with done as (
  update callback_events e
     set due_at = ${fromMs('s.retry_ms')}, last_fault = s.fault,
         delivered_at = case when s.delivered then ${fromMs('s.at_ms')} end,
         parked_at = case when not s.delivered and s.retry_ms is null then ${fromMs('s.at_ms')} end
    from unnest($1::bigint[], $2::int[], $3::bigint[], $4::bool[], $5::bigint[], $6::text[])
      s (event_id, attempts, at_ms, delivered, retry_ms, fault)
   where e.event_id = any($1) and e.event_id = s.event_id and e.attempts = s.attempts
     and e.delivered_at is null and e.parked_at is null
  returning e.event_id, e.merchant_id, e.card_no, e.due_at, s.at_ms
), woken as (
  update callback_events w set due_at = least(w.created_at, (select ${fromMs('max(at_ms)')} from done))
   where w.event_id = any(array(
           select next.event_id from done d cross join lateral (
             select n.event_id, n.attempts from callback_events n
              where n.merchant_id = d.merchant_id and n.card_no = d.card_no and n.due_at is not null
                and n.event_id <> d.event_id
              order by n.event_id + 0 limit 1) next
            where d.due_at is null and next.attempts = 0))
     and w.delivered_at is null and w.parked_at is null
  returning w.merchant_id, w.card_no
)
select d.event_id as "eventId",
       exists (select from woken w where w.merchant_id = d.merchant_id and w.card_no = d.card_no) as woke
  from done d`;

/**
 * Settles attempts in one statement. An attempt whose lease ended changes nothing if the
 * event was claimed again since.
 */
export async function settleEvents(db: Queryable, settlements: Settlement[]): Promise<Settled[]> {
  const rows = await db.query<{ eventId: number; woke: boolean }>('settle-events', SETTLE, [
    settlements.map(({ eventId }) => eventId),
    settlements.map(({ attempts }) => attempts),
    settlements.map(({ atMs }) => atMs),
    settlements.map(({ delivered }) => delivered),
    settlements.map(({ retryAtMs }) => retryAtMs),
    settlements.map(({ fault }) => fault),
  ]);
  const woke = new Map(rows.map((row) => [row.eventId, row.woke]));
  return settlements.map(({ eventId }) => ({ settled: woke.has(eventId), woke: woke.get(eventId) ?? false }));
}

/** Concurrent deliveries share the statement that settles them. */
export const SETTLE_BATCH: Batch<Settlement, Settled> = { lanes: 2, limit: 64, run: settleEvents };

const DEAD_LETTER_LIMIT = 1_000;

/**
 * Makes dead letters of an unavailable merchant's due events that were created at
 * `beforeMs` or earlier, whatever attempts they had. Takes up to 1,000 at a time and
 * returns how many. Events that are under way, or that wait for a later attempt, stay.
 */
export async function deadLetterOverdue(
  db: Queryable,
  merchantId: number,
  { beforeMs, nowMs, fault }: { beforeMs: number; nowMs: number; fault: string | undefined },
): Promise<number> {
  const rows = await db.query(
    'dead-letter-overdue',
    `update callback_events set due_at = null, parked_at = ${fromMs('$3')}, last_fault = $4
      where event_id = any(array(
        select event_id from callback_events
         where merchant_id = $1 and due_at <= ${fromMs('$3')} and created_at <= ${fromMs('$2')}
         order by due_at, event_id limit ${DEAD_LETTER_LIMIT} for update skip locked))
     returning 1`,
    [merchantId, beforeMs, nowMs, fault],
  );
  return rows.length;
}

/** More than any retry's delay and any lease. */
const WAIT_LIMIT_MS = 2 * 3_600_000;

/**
 * Makes events due that wait for longer than any event may: a process whose clock was ahead
 * claimed or failed them. Returns how many.
 */
export function releaseFarLeases(db: Queryable, nowMs: number): Promise<number> {
  return deleteInBatches(db, {
    name: 'release-far-leases',
    text: `
      update callback_events set due_at = ${fromMs('$1')} where event_id = any(array(
        select e.event_id from merchants m cross join lateral (
          select event_id from callback_events
           where merchant_id = m.merchant_id and due_at > ${fromMs(`($1::bigint + ${WAIT_LIMIT_MS})`)}
           order by due_at limit ${DELETE_LIMIT} for update skip locked) e
         limit ${DELETE_LIMIT}))
      returning 1`,
    values: [nowMs],
  });
}

/** Deletes the events that were delivered before a time. Returns how many. */
export function deleteDelivered(db: Queryable, beforeMs: number): Promise<number> {
  return deleteExpired(db, { table: 'callback_events', column: 'delivered_at', is: '<', timeMs: beforeMs });
}

/** The merchant whose callbacks are signed with the credential's secret, if there is one. */
export async function findSignedBy(db: Queryable, apiKey: string): Promise<string | undefined> {
  const [row] = await db.query<{ merchantNo: string }>(
    'find-signed-by',
    `select m.merchant_no as "merchantNo"
       from merchants m join credentials c on c.credential_id = m.callback_credential_id
      where c.api_key = $1 and m.callback_url is not null`,
    [apiKey],
  );
  return row?.merchantNo;
}

/** The condition that puts an event in each state. Each has an index of its own. */
const IN_STATE = {
  waiting: 'due_at is not null',
  parked: 'parked_at is not null',
  delivered: 'delivered_at is not null',
};
export type CallbackState = keyof typeof IN_STATE;
export const CALLBACK_STATES = Object.keys(IN_STATE) as CallbackState[];

export interface EventListing {
  pushId: string;
  merchantNo: string;
  cardNo: string;
  action: string;
  state: CallbackState;
  attempts: number;
  dueAtMs: number | null;
  lastFault: string | null;
}

export interface EventFilter {
  merchantNo: string | undefined;
  state: CallbackState | undefined;
  limit: number;
}

/** The newest events that match. */
export async function listEvents(db: Queryable, { merchantNo, state, limit }: EventFilter): Promise<EventListing[]> {
  return db.query(
    `list-callbacks-${state ?? 'all'}`,
    `select push_id as "pushId", merchant_no as "merchantNo", card_no as "cardNo", action,
            case when due_at is not null then 'waiting' when parked_at is not null then 'parked'
                 else 'delivered' end as state,
            attempts, ${toMs('due_at')} as "dueAtMs", last_fault as "lastFault"
       from callback_events join merchants using (merchant_id)
      where (${state === undefined ? Object.values(IN_STATE).join(' or ') : IN_STATE[state]})
        and ($1::text is null or merchant_no = $1)
      order by event_id desc limit $2`,
    [merchantNo, limit],
  );
}
