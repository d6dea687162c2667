import type { CardStatus, CardType } from '../cards/store.ts';
import type { Database, Queryable } from '../db/database.ts';
import { FORGET_AT_ONCE, forget, forgetOld } from '../db/forget.ts';
import { type ShareOptions, shareStatements } from '../db/share.ts';

interface CardForPin {
  cardholderNo: string;
  cardType: CardType;
  status: CardStatus;
  panWrapped: Buffer | null;
}

interface PinWrite {
  merchantId: number;
  cardNo: string;
  prv: Buffer;
  salt: Buffer;
  keyVersion: number;
  envelope: string;
  credentialId: number;
  atMs: number;
  ip: string;
  /** A UUID. It becomes the event's push id too: a random one for every row costs a tenth of the event. */
  requestId: string;
  /** Whether the merchant takes the event. */
  tellMerchant: boolean;
  /** Of a JWE: refused if it was used before, and used up with this set. */
  jti: string | undefined;
  jtiExpiresAtMs: number;
  /** How many PINs the merchant's policy looks back at. */
  keep: number;
}

interface RecentPin {
  prv: Buffer;
  salt: Buffer;
  keyVersion: number;
}

/** The two statements of a PIN set, which concurrent callers share (db/share.ts), and what policies look at. */
export interface PinStore {
  findCard(merchantId: number, cardNo: string): Promise<CardForPin | undefined>;
  /** Stores PIN, audit record and event, durably and together. False, and nothing stored, if the card is not `Activated`. */
  write(pin: PinWrite): Promise<boolean>;
  /** The card's last PINs, the present one first. */
  findRecent(merchantId: number, cardNo: string, count: number): Promise<RecentPin[]>;
  /** Birth date and phone, wrapped, if somebody supplied them. */
  findPersonal(merchantId: number, cardholderNo: string): Promise<Buffer | undefined>;
}

const LANES = 4;
/** Few enough that of many sets some are with the database while this process opens and answers others; all of them in one would leave each to wait for the other. */
const MOST_IN_ONE = 32;

export function createPinStore(db: Database, shared: boolean): PinStore {
  const share = shared ? shareStatements : runAlone;
  const findCard = share<{ merchantId: number; cardNo: string }, CardForPin | undefined>({
    lanes: LANES,
    most: MOST_IN_ONE,
    run: (items) => findCards(db, items),
  });
  const writer = (name: string, sql: string) =>
    share<PinWrite, boolean>({
      lanes: LANES,
      most: MOST_IN_ONE,
      keyOf: ({ cardNo }) => cardNo, // unique over all merchants
      run: (pins) => writePins(db, name, sql, pins),
    });
  const writePlain = writer('write-pins', WRITE_PINS);
  const writeMore = writer('write-pins-and-more', WRITE_PINS_AND_MORE);
  return {
    findCard: (merchantId, cardNo) => findCard({ merchantId, cardNo }),
    write: (pin) => (pin.jti === undefined && pin.keep === 0 ? writePlain : writeMore)(pin),
    findRecent: (merchantId, cardNo, count) => findRecent(db, merchantId, cardNo, count),
    findPersonal: (merchantId, cardholderNo) => findPersonal(db, merchantId, cardholderNo),
  };
}

/** What the bench compares with: a statement for each. */
function runAlone<Item, Result>({ run }: ShareOptions<Item, Result>): (item: Item) => Promise<Result> {
  return async (item) => {
    const [result] = await run([item]);
    return result as Result;
  };
}

export const FIND_CARDS = `
select c.cardholder_no, c.card_type, c.status, c.pan_wrapped
  from unnest($1::int[], $2::text[]) with ordinality as asked (merchant_id, card_no, ord)
  left join cards c on c.merchant_id = asked.merchant_id and c.card_no = asked.card_no
 order by asked.ord`;

async function findCards(db: Database, asked: { merchantId: number; cardNo: string }[]): Promise<(CardForPin | undefined)[]> {
  const rows = await db.query<[string | null, CardType, CardStatus, Buffer | null]>('find-cards-for-pin', FIND_CARDS, [
    plainArray(asked.map(({ merchantId }) => merchantId)),
    plainArray(asked.map(({ cardNo }) => cardNo)),
  ]);
  return rows.map(([cardholderNo, cardType, status, panWrapped]) =>
    cardholderNo === null ? undefined : { cardholderNo, cardType, status, panWrapped },
  );
}

/**
 * One statement, one commit, for any number of cards, no card twice. The first update locks each card, and judges its status
 * on the row as it is once locked: a card that was frozen a moment ago gives no row and gets no PIN. It assigns the
 * PIN's version and the audit record's place in its chain from that row too. The cards come sorted, so that two such
 * statements don't wait for each other; should they ever, the one that the server ends is run again card by card.
 */
export const WRITE_PINS = writeStatement('');

/**
 * The same for sets that use up a `jti` or are remembered for the policy that looks back. A `jti` that was used fails the statement,
 * which leaves nothing behind: then those that shared it run again alone, and it is refused. The PIN that is replaced is remembered too,
 * since it may be from before the policy was switched on; it is seen as it was before this statement. Apart from the plain one, since every
 * table that a statement could write costs it time, also where it writes none of its rows.
 */
const WRITE_PINS_AND_MORE = writeStatement(`, used as (
  insert into used_jtis (merchant_id, jti, expires_at)
  select merchant_id, jti, to_timestamp(jti_expires_ms / 1000.0) from head where jti <> '-'
), remembered as (
  insert into pin_history (merchant_id, card_no, version, prv, salt, key_version)
  select merchant_id, card_no, pin_version, pin_prv, pin_salt, pin_key_version from head where keep > 0
  union all
  select merchant_id, card_no, c.pin_version, c.pin_prv, c.pin_salt, c.pin_key_version from head join cards c using (merchant_id, card_no)
   where keep > 0 and c.pin_version > 0 and c.pin_version > head.pin_version - keep
  on conflict do nothing
), forgotten as (
  delete from pin_history h using head
   where keep > 0 and h.merchant_id = head.merchant_id and h.card_no = head.card_no and h.version <= head.pin_version - keep
)`);

function writeStatement(more: string): string {
  return `
with head as (
  update cards c
     set pin_version = c.pin_version + 1, pin_prv = asked.prv, pin_salt = asked.salt, pin_key_version = asked.key_version,
         pin_envelope = asked.envelope, pin_channel = 'merchant-api', pin_credential_id = asked.credential_id, pin_set_at = to_timestamp(asked.at_ms / 1000.0),
         pin_failed_tries = 0, pin_last_failure_at = null, pin_blocked_at = null, audit_count = c.audit_count + 1,
         audit_head = audit_hash(c.audit_head, c.merchant_id, c.card_no, c.audit_count + 1, asked.at_ms, 'pin_set',
                                 pin_set_details(c.pin_version + 1, asked.credential_id, asked.ip, asked.request_id, asked.envelope))
    from unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[], $5::int[], $6::text[], $7::int[], $8::bigint[], $9::text[], $10::text[], $11::bool[]${more && ', $12::text[], $13::bigint[], $14::int[]'})
      as asked (merchant_id, card_no, prv, salt, key_version, envelope, credential_id, at_ms, ip, request_id, tell_merchant${more && ', jti, jti_expires_ms, keep'})
   where c.merchant_id = asked.merchant_id and c.card_no = asked.card_no and c.status = 'Activated' and c.card_type = 'Physical'
  returning c.merchant_id, c.card_no, c.cardholder_no, c.pin_version, c.pin_set_at, c.audit_count, c.audit_head,
            asked.envelope, asked.credential_id, asked.at_ms, asked.ip, asked.request_id, asked.tell_merchant${more && ', c.pin_prv, c.pin_salt, c.pin_key_version, asked.jti, asked.jti_expires_ms, asked.keep'}
), audit as (
  insert into audit_records (merchant_id, card_no, seq, at, action, details, hash)
  select merchant_id, card_no, audit_count, pin_set_at, 'pin_set', pin_set_details(pin_version, credential_id, ip, request_id, envelope), audit_head
    from head
), event as (
  insert into callback_events (merchant_id, card_no, action, push_id, data, created_at, due_at)
  select merchant_id, card_no, 'Pin_set', request_id::uuid, concat('{"card_no":"', card_no, '","cardholder_no":"', cardholder_no, '","time":', at_ms, '}'),
         pin_set_at, pin_set_at from head where tell_merchant
)${more}
select string_agg(card_no, ',') from head`;
}

async function writePins(db: Database, name: string, sql: string, asked: PinWrite[]): Promise<boolean[]> {
  const pins = asked.toSorted((a, b) => (a.cardNo < b.cardNo ? -1 : 1));
  const columns = [
    pins.map((pin) => pin.merchantId),
    pins.map((pin) => pin.cardNo),
    pins.map((pin) => `\\\\x${pin.prv.toString('hex')}`),
    pins.map((pin) => `\\\\x${pin.salt.toString('hex')}`),
    pins.map((pin) => pin.keyVersion),
    pins.map((pin) => pin.envelope),
    pins.map((pin) => pin.credentialId),
    pins.map((pin) => pin.atMs),
    pins.map((pin) => pin.ip),
    pins.map((pin) => pin.requestId),
    pins.map((pin) => pin.tellMerchant),
  ];
  if (sql === WRITE_PINS_AND_MORE)
    columns.push(
      pins.map((pin) => pin.jti ?? '-'),
      pins.map((pin) => pin.jtiExpiresAtMs),
      pins.map((pin) => pin.keep),
    );
  const [[written] = [null]] = await db.query<[string | null]>(name, sql, columns.map(plainArray));
  const done = new Set(written?.split(','));
  return asked.map(({ cardNo }) => done.has(cardNo));
}

async function findRecent(db: Database, merchantId: number, cardNo: string, count: number): Promise<RecentPin[]> {
  const rows = await db.query<[Buffer, Buffer, number]>(
    'find-recent-pins',
    `select prv, salt, key_version from
       (select pin_version as version, pin_prv as prv, pin_salt as salt, pin_key_version as key_version from cards
         where merchant_id = $1 and card_no = $2 and pin_version > 0
        union select version, prv, salt, key_version from pin_history where merchant_id = $1 and card_no = $2) recent
      order by version desc limit $3`,
    [merchantId, cardNo, count],
  );
  return rows.map(([prv, salt, keyVersion]) => ({ prv, salt, keyVersion }));
}

async function findPersonal(db: Database, merchantId: number, cardholderNo: string): Promise<Buffer | undefined> {
  const [row] = await db.query<[Buffer | null]>(
    'find-personal',
    'select personal_wrapped from cardholders where merchant_id = $1 and cardholder_no = $2',
    [merchantId, cardholderNo],
  );
  return row?.[0] ?? undefined;
}

/** Forgets numbers that no envelope could use any more; gives how many. */
export function forgetUsedJtis(db: Queryable, nowMs: number): Promise<number> {
  return forgetOld(db, 'used_jtis', 'expires_at', '<', nowMs);
}

/**
 * Forgets earlier PINs where the merchant's policy looks back no more; gives how many. Not when it is switched off: processes
 * go on remembering until they have noticed. `lateral` and the order make it one look at the index a merchant, and no pass over all histories; of two
 * processes each takes what the other leaves.
 */
export function forgetHistories(db: Queryable): Promise<number> {
  return forget(
    db,
    'forget-histories',
    `delete from pin_history where ctid = any(array(
       select h.ctid from merchants m
        cross join lateral (select ctid from pin_history h where h.merchant_id = m.merchant_id order by card_no, version limit ${FORGET_AT_ONCE} for update skip locked) h
        where m.pin_history = 0 limit ${FORGET_AT_ONCE}))
     returning 1`,
  );
}

/**
 * An array in PostgreSQL's own notation, of values that need no quotes in it: numbers, card numbers, addresses, hex. The driver
 * quotes and escapes every element by itself, which costs a set more than its cipher does.
 */
function plainArray(values: readonly (string | number | boolean)[]): string {
  const joined = values.join(',');
  if (!/^[\w.:\\,-]+$/.test(joined)) throw new Error('a value that would need quotes');
  return `{${joined}}`;
}
