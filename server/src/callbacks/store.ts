import type { Queryable } from '../db/database.ts';
import { forgetOld } from '../db/forget.ts';

/** What a merchant can be told of. It hears of an action only if it takes it, and has said where. */
export const CALLBACK_ACTIONS = ['Card_update', 'Pin_set', 'Pin_blocked', 'Pin_unblocked'] as const;
export type CallbackAction = (typeof CALLBACK_ACTIONS)[number];

/** Stores an event for delivery if the merchant takes it, in the transaction of the change that it tells of, which holds the card's lock. */
export async function appendEvent(
  tx: Queryable,
  merchantId: number,
  cardNo: string,
  action: CallbackAction,
  data: object,
  atMs: number,
): Promise<void> {
  await tx.query(
    'append-event',
    `insert into callback_events (merchant_id, card_no, action, data, created_at, due_at)
     select $1, $2, $3, $4, to_timestamp($5::bigint / 1000.0), to_timestamp($5::bigint / 1000.0)
       from merchants where merchant_id = $1 and callback_url is not null and $3 = any(callback_actions)`,
    [merchantId, cardNo, action, JSON.stringify(data), atMs],
  );
}

/** An event that a process has taken on, until its lease runs out. */
export interface ClaimedEvent {
  eventId: number;
  merchantId: number;
  pushId: string;
  action: string;
  /** As it is sent. */
  data: string;
  /** With the one that the claim is for. Of two claims of one event the later has more, and it alone settles it. */
  attempts: number;
  putInAtMs: number;
}

export interface ClaimLimits {
  nowMs: number;
  /** How long the events are left to this process; within it they are delivered and settled. */
  leaseMs: number;
  /** How many each merchant may have, for those that may not have `perMerchant`. */
  room: ReadonlyMap<number, number>;
  perMerchant: number;
  /** Events at the most. */
  free: number;
}

/** Due events of one merchant that are looked at in one claim beyond what there is room for, as some wait for another of their card. */
const SPARE = 16;
/** More than a process has in flight to one merchant. */
const MOST_CANDIDATES = 256;
/** An event behind one that is in flight is looked at again after this, should nothing have woken it: the other's end, which wakes it, may not have seen it. */
const LOOK_AGAIN_MS = 5_000;
const PARKED_AT_ONCE = 1_000;

/**
 * Takes on due events: one statement, in any number of processes at once. Of a card the earliest that waits goes, and those behind it stay,
 * until its settling wakes the next: `event_id` rises with the order of commits on a card, since events are written under its lock. The one
 * before may be seen as waiting when it has just been settled; then the event waits for longer than it must, and never goes too early.
 *
 * For the planner, whose statistics may be of a moment when all waited or nothing did, and which would then read the whole table: rows are changed by
 * `= any(array(...))` of the primary key alone; `event_id + 0` keeps it from walking that key past all that was delivered; and MOST_CANDIDATES stands in
 * the text, since of a limit that it does not know it expects a tenth of the table.
 */
const CLAIM = `
with given as (
  select to_timestamp($1::bigint / 1000.0) as now, to_timestamp(($1::bigint + $2::int) / 1000.0) as lease_end
), room as (
  select m.merchant_id, coalesce(r.room, $5::int) as room
    from merchants m left join unnest($3::int[], $4::int[]) r (merchant_id, room) using (merchant_id)
   where m.callback_url is not null and m.callback_credential_id is not null and m.status = 'Active'
), candidate as (
  select r.merchant_id, r.room, e.*
    from given, room r cross join lateral (
      select * from (
        select event_id, card_no, due_at from callback_events
         where merchant_id = r.merchant_id and due_at <= given.now order by due_at, event_id limit ${MOST_CANDIDATES} for update skip locked) due
       limit r.room + ${SPARE}) e
   where r.room > 0
), judged as (
  select c.*, (select b.due_at from callback_events b
                where b.merchant_id = c.merchant_id and b.card_no = c.card_no and b.event_id < c.event_id and b.due_at is not null
                order by b.event_id + 0 limit 1) as before_due_at
    from candidate c
), ranked as (
  select *, row_number() over (partition by merchant_id order by due_at, event_id) as place from judged where before_due_at is null
), head as (
  select event_id from ranked where place <= room order by place, due_at limit $6
), claimed as (
  update callback_events e set due_at = given.lease_end, attempts = least(e.attempts + 1, 32767) from given where e.event_id = any(array(select event_id from head))
  returning e.event_id, e.merchant_id, e.push_id, e.action, e.data, e.attempts, (extract(epoch from e.created_at) * 1000)::bigint as put_in_at
), put_back as (
  update callback_events e
     set due_at = case when j.before_due_at > given.lease_end then j.before_due_at else given.now + ${LOOK_AGAIN_MS} * interval '1 millisecond' end
    from given, judged j
   where e.event_id = any(array(select event_id from judged where before_due_at is not null)) and e.event_id = j.event_id
)
select (select count(*) from candidate), c.* from (values (1)) one left join claimed c on true order by c.event_id`;

/** The events that are this process's for the lease, and whether there may be more that are due. */
export async function claimEvents(db: Queryable, limits: ClaimLimits): Promise<{ events: ClaimedEvent[]; more: boolean }> {
  const { nowMs, leaseMs, room, perMerchant, free } = limits;
  type Claimed = [count: number, number, number, string, string, string, number, number];
  const rows = await db.query<Claimed | [count: number, null]>('claim-events', CLAIM, [
    nowMs,
    leaseMs,
    [...room.keys()],
    [...room.values()],
    perMerchant,
    free,
  ]);
  const events = rows
    .filter((row): row is Claimed => row[1] !== null)
    .map(([, eventId, merchantId, pushId, action, data, attempts, putInAtMs]) => ({
      eventId,
      merchantId,
      pushId,
      action,
      data,
      attempts,
      putInAtMs,
    }));
  return { events, more: (rows[0]?.[0] ?? 0) > 0 };
}

/** What became of an attempt: delivered, to be tried again at a time, or neither: parked. */
export interface Settlement {
  eventId: number;
  attempts: number;
  atMs: number;
  delivered: boolean;
  retryAtMs: number | undefined;
  fault: string | undefined;
}

/** `settled`: whether the claim was still the event's. `woke`: whether another event of the card is due now. */
export interface Settled {
  settled: boolean;
  woke: boolean;
}

/**
 * With an event that waits no longer the card's next becomes due; one that has had attempts of its own keeps its time. Due by its age, so that it
 * goes before those of other cards that came later, and before those of its own that wait behind it.
 */
const SETTLE = `
with done as (
  update callback_events e
     set due_at = to_timestamp(s.retry_ms / 1000.0), last_fault = s.fault,
         delivered_at = case when s.delivered then to_timestamp(s.at_ms / 1000.0) end,
         parked_at = case when not s.delivered and s.retry_ms is null then to_timestamp(s.at_ms / 1000.0) end
    from unnest($1::bigint[], $2::int[], $3::bigint[], $4::bool[], $5::bigint[], $6::text[]) s (event_id, attempts, at_ms, delivered, retry_ms, fault)
   where e.event_id = any($1) and e.event_id = s.event_id and e.attempts = s.attempts and e.delivered_at is null and e.parked_at is null
  returning e.event_id, e.merchant_id, e.card_no, e.due_at, s.at_ms
), woken as (
  update callback_events w set due_at = w.created_at
   where w.event_id = any(array(
           select next.event_id from done d cross join lateral (
             select n.event_id, n.attempts from callback_events n
              where n.merchant_id = d.merchant_id and n.card_no = d.card_no and n.due_at is not null and n.event_id <> d.event_id
              order by n.event_id + 0 limit 1) next
            where d.due_at is null and next.attempts = 0))
     and w.delivered_at is null and w.parked_at is null
  returning w.merchant_id, w.card_no
)
select d.event_id, exists (select from woken w where w.merchant_id = d.merchant_id and w.card_no = d.card_no) from done d`;

/** Settles attempts, all in one statement. One whose lease ran out, and which somebody has claimed since, changes nothing. */
export async function settleEvents(db: Queryable, settlements: Settlement[]): Promise<Settled[]> {
  const rows = await db.query<[number, boolean]>('settle-events', SETTLE, [
    settlements.map(({ eventId }) => eventId),
    settlements.map(({ attempts }) => attempts),
    settlements.map(({ atMs }) => atMs),
    settlements.map(({ delivered }) => delivered),
    settlements.map(({ retryAtMs }) => retryAtMs ?? null),
    settlements.map(({ fault }) => fault ?? null),
  ]);
  const woke = new Map(rows);
  return settlements.map(({ eventId }) => ({ settled: woke.has(eventId), woke: woke.get(eventId) ?? false }));
}

/**
 * Parks those of a merchant that came before `beforeMs` and are due, some at a time, whatever attempts they had; gives how many. For one that is
 * away: those that are under way, or wait for a later attempt, are left.
 */
export async function parkOverdue(
  db: Queryable,
  merchantId: number,
  { beforeMs, nowMs, fault }: { beforeMs: number; nowMs: number; fault: string | undefined },
): Promise<number> {
  const parked = await db.query(
    'park-overdue',
    `update callback_events set due_at = null, parked_at = to_timestamp($3::bigint / 1000.0), last_fault = $4 where event_id = any(array(
       select event_id from callback_events
        where merchant_id = $1 and due_at <= to_timestamp($3::bigint / 1000.0) and created_at <= to_timestamp($2::bigint / 1000.0)
        order by due_at, event_id limit ${PARKED_AT_ONCE} for update skip locked))
     returning 1`,
    [merchantId, beforeMs, nowMs, fault],
  );
  return parked.length;
}

/** Of an enabled or a disabled credential alike: a secret signs until the operator names another. Undefined: nowhere to send to. */
export async function findEndpoint(
  db: Queryable,
  merchantId: number,
): Promise<{ merchantNo: string; url: string; apiKey: string; secretWrapped: Buffer } | undefined> {
  const [row] = await db.query<[string, string, string, Buffer]>(
    'find-endpoint',
    `select m.merchant_no, m.callback_url, c.api_key, c.secret_wrapped
       from merchants m join credentials c on c.credential_id = m.callback_credential_id where m.merchant_id = $1 and m.callback_url is not null`,
    [merchantId],
  );
  return row && { merchantNo: row[0], url: row[1], apiKey: row[2], secretWrapped: row[3] };
}

/** Forgets what was delivered before that time; gives how many. */
export function forgetDelivered(db: Queryable, beforeMs: number): Promise<number> {
  return forgetOld(db, 'callback_events', 'delivered_at', '<', beforeMs);
}

/** The merchant whose callbacks the credential signs, if it does. */
export async function findSignedBy(db: Queryable, apiKey: string): Promise<string | undefined> {
  const [row] = await db.query<[string]>(
    'find-signed-by',
    `select m.merchant_no from merchants m join credentials c on c.credential_id = m.callback_credential_id
      where c.api_key = $1 and m.callback_url is not null`,
    [apiKey],
  );
  return row?.[0];
}

export interface CallbackSettings {
  merchantId: number;
  url: string | undefined;
  /** The one that signs. */
  credentialId: number | undefined;
}

/** Locks the merchant, so that two operators' changes don't mix. */
export async function lockSettings(tx: Queryable, merchantNo: string): Promise<CallbackSettings | undefined> {
  const [row] = await tx.query<[number, string | null, number | null]>(
    'lock-callback-settings',
    'select merchant_id, callback_url, callback_credential_id from merchants where merchant_no = $1 for update',
    [merchantNo],
  );
  return row && { merchantId: row[0], url: row[1] ?? undefined, credentialId: row[2] ?? undefined };
}

/** The merchant's credential of that Api-Key, if it may be used. */
export async function findUsableCredential(db: Queryable, merchantId: number, apiKey: string, nowMs: number): Promise<number | undefined> {
  const [row] = await db.query<[number]>(
    'find-usable-credential',
    `select credential_id from credentials where merchant_id = $1 and api_key = $2 and status = 'Enabled'
        and (expires_at is null or expires_at > to_timestamp($3::bigint / 1000.0))`,
    [merchantId, apiKey, nowMs],
  );
  return row?.[0];
}

/** By what an event is in a state; each has an index of its own. */
const IN_STATE = { waiting: 'due_at is not null', parked: 'parked_at is not null', delivered: 'delivered_at is not null' };
export type CallbackState = keyof typeof IN_STATE;
export const CALLBACK_STATES = Object.keys(IN_STATE) as CallbackState[];

export type CallbackListing = [
  pushId: string,
  merchantNo: string,
  cardNo: string,
  action: string,
  state: CallbackState,
  attempts: number,
  dueAt: Date | null,
  lastFault: string | null,
];

/** The newest of those that match. */
export function listEvents(
  db: Queryable,
  merchantNo: string | undefined,
  state: CallbackState | undefined,
  most: number,
): Promise<CallbackListing[]> {
  return db.query(
    `list-callbacks-${state ?? 'all'}`,
    `select push_id, merchant_no, card_no, action,
            case when due_at is not null then 'waiting' when parked_at is not null then 'parked' else 'delivered' end, attempts, due_at, last_fault
       from callback_events join merchants using (merchant_id)
      where (${state === undefined ? Object.values(IN_STATE).join(' or ') : IN_STATE[state]}) and ($1::text is null or merchant_no = $1)
      order by event_id desc limit $2`,
    [merchantNo, most],
  );
}

/**
 * Puts events in at once: one of its push id, or all parked ones of a merchant. What was parked begins anew, with no attempts and 24 hours from
 * now, and is the earliest of its card again. What waits goes on counting; one that is due within the lease is left, since it may be under way.
 */
export function retryEvents(
  tx: Queryable,
  which: { pushId: string } | { merchantId: number },
  nowMs: number,
  leaseMs: number,
): Promise<[merchantId: number][]> {
  return tx.query(
    'retry-callbacks',
    `with given as (select to_timestamp($3::bigint / 1000.0) as now, to_timestamp(($3::bigint + $4::int) / 1000.0) as lease_end),
          parked as (update callback_events set due_at = now, attempts = 0, created_at = now, parked_at = null from given
                      where parked_at is not null and (push_id = $1::uuid or merchant_id = $2) returning merchant_id),
          waiting as (update callback_events set due_at = now from given
                       where due_at is not null and due_at > lease_end and push_id = $1::uuid returning merchant_id)
     select merchant_id from parked union all select merchant_id from waiting`,
    ['pushId' in which ? which.pushId : null, 'merchantId' in which ? which.merchantId : null, nowMs, leaseMs],
  );
}
