import type { CardStatus } from '@pinward/contract/card-status';
import type { CardType } from '@pinward/contract/vocabulary';
import { advanceChain, insertRecord, recordAtMs } from '../audit/append.ts';
import type { Batch } from '../db/batch.ts';
import type { Database } from '../db/database.ts';
import { DELETE_LIMIT, deleteExpired, deleteInBatches } from '../db/delete-expired.ts';
import type { Queryable } from '../db/queryable.ts';
import { fromMs } from '../db/sql-time.ts';
import { insertEvent, pinEventData } from '../outbox/append-event.ts';

/** A card, as far as setting its PIN needs it. */
export interface CardForPin {
  cardholderNo: string;
  cardType: CardType;
  status: CardStatus;
  panWrapped: Buffer | null;
}

export interface NewPin {
  merchantId: number;
  cardNo: string;
  prv: Buffer;
  salt: Buffer;
  keyVersion: number;
  envelope: string;
  credentialId: number;
  atMs: number;
  ip: string;
  /**
   * A UUID. It becomes the event's push id too: a random one for each row costs a tenth of the
   * event.
   */
  requestId: string;
  /** Whether the merchant takes the event. */
  tellMerchant: boolean;
  /** Of a `jwe` envelope: refused if it was used before, and used up with this set. */
  jti: string | undefined;
  jtiExpiresAtMs: number;
  /** How many PINs the merchant's `history` policy looks back at. */
  historyLength: number;
  /** The PIN's version that the history was read at. Undefined if it was not read. */
  judgedVersion: number | undefined;
}

const LANES = 4;
/**
 * Sets in one statement. With all 64 of a busy process in one, database and process would wait for
 * each other; with half of them in it, one works while the other does (docs/adr/0006).
 */
const LIMIT = 32;

/**
 * Reads a card for a PIN set; undefined if the merchant has none of that number. Concurrent callers
 * share a statement.
 */
export function findCardForPin(db: Database, merchantId: number, cardNo: string): Promise<CardForPin | undefined> {
  return db.batched(FIND, { merchantId, cardNo });
}

/**
 * Stores PIN, audit record and event, durably and together. Returns false, and stores nothing, if
 * the card is not `Activated`, or if its PIN is no longer of `judgedVersion`. Concurrent callers
 * share a statement.
 */
export function writePin(db: Database, pin: NewPin): Promise<boolean> {
  return db.batched(pin.jti === undefined && pin.historyLength === 0 ? WRITE : WRITE_WITH_HISTORY, pin);
}

export const FIND_CARDS = `
select c.cardholder_no, c.card_type, c.status, c.pan_wrapped
  from unnest($1::int[], $2::text[]) with ordinality as given (merchant_id, card_no, ord)
  left join cards c on c.merchant_id = given.merchant_id and c.card_no = given.card_no
 order by given.ord`;

const FIND: Batch<{ merchantId: number; cardNo: string }, CardForPin | undefined> = {
  lanes: LANES,
  limit: LIMIT,
  async run(db, cards) {
    // Tuples: one of the two statements of a PIN set.
    const rows = await db.tuples<[string | null, CardType, CardStatus, Buffer | null]>(
      'find-cards-for-pin',
      FIND_CARDS,
      [arrayText(cards.map(({ merchantId }) => merchantId)), arrayText(cards.map(({ cardNo }) => cardNo))],
    );
    return rows.map(([cardholderNo, cardType, status, panWrapped]) =>
      cardholderNo === null ? undefined : { cardholderNo, cardType, status, panWrapped },
    );
  },
};

/**
 * One statement and one commit for any number of cards, no card twice. The update locks each card
 * and judges its status on the locked row: a card that was frozen a moment ago gives no row and
 * gets no PIN. The row also gives the PIN's version and the audit record's place in its chain.
 * Cards come sorted, so that two such statements do not deadlock; if they ever do, the one that the
 * server ends runs again card by card.
 *
 * `more` adds common table expressions; then the statement takes four more arrays.
 */
function writeStatement(more: string): string {
  const details = (version: string, row: string): string =>
    `pin_set_details(${version}, ${row}credential_id, ${row}ip, ${row}request_id, ${row}envelope)`;
  const moreTypes = more && ', $12::text[], $13::bigint[], $14::int[], $15::int[]';
  const moreColumns = more && ', jti, jti_expires_ms, history_length, judged_version';
  const isAsJudged = more && 'and (given.judged_version < 0 or c.pin_version = given.judged_version)';
  const moreReturned =
    more && `, c.pin_prv, c.pin_salt, c.pin_key_version, given.jti, given.jti_expires_ms, given.history_length`;
  return `
with head as (
  update cards c
     set pin_version = c.pin_version + 1, pin_prv = given.prv, pin_salt = given.salt, pin_key_version = given.key_version,
         pin_envelope = given.envelope, pin_channel = 'merchant-api', pin_credential_id = given.credential_id,
         pin_set_at = ${fromMs(recordAtMs('c.', 'given.at_ms'))}, pin_failed_tries = 0, pin_last_failure_at = null, pin_blocked_at = null,
         ${advanceChain('card', 'c.', { atMs: 'given.at_ms', action: "'pin_set'", details: details('c.pin_version + 1', 'given.') })}
    from unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[], $5::int[], $6::text[], $7::int[], $8::bigint[], $9::text[],
                $10::text[], $11::bool[]${moreTypes})
      as given (merchant_id, card_no, prv, salt, key_version, envelope, credential_id, at_ms, ip, request_id, tell_merchant${moreColumns})
   where c.merchant_id = given.merchant_id and c.card_no = given.card_no
     and c.status = 'Activated' and c.card_type = 'Physical' ${isAsJudged}
  returning c.merchant_id, c.card_no, c.cardholder_no, c.pin_version, c.pin_set_at, c.audit_count, c.audit_at_ms, c.audit_head, given.envelope,
            given.credential_id, given.at_ms, given.ip, given.request_id, given.tell_merchant${moreReturned}
), audit as (
  ${insertRecord('card', {
    from: 'head',
    number: 'card_no',
    at: 'pin_set_at',
    action: "'pin_set'",
    details: details('pin_version', ''),
  })}
), event as (
  ${insertEvent({
    from: 'head where tell_merchant',
    action: "'Pin_set'",
    pushId: 'request_id::uuid',
    data: pinEventData('audit_at_ms'),
    at: 'pin_set_at',
    due: fromMs('at_ms'),
  })}
)${more}
select string_agg(card_no, ',') as written from head`;
}

export const WRITE_PINS = writeStatement('');

/**
 * The same for sets that use up a `jti` or are remembered for the `history` policy. A `jti` that
 * was used fails the statement, which then stores nothing; its members run again one by one, and
 * that one is refused. The PIN that is replaced is remembered too, since it may be from before the
 * policy was switched on (`cards c` is seen as it was before this statement). Two statements,
 * because every table that a statement could write costs it time, also where it writes no row of
 * it.
 *
 * A set that was judged against the history meets the version that it was judged at, on the locked
 * row. So no PIN that another set stored meanwhile is left out of the judgement, and the PIN that
 * is replaced is the one remembered.
 */
const WRITE_PINS_WITH_HISTORY = writeStatement(`, used as (
  insert into used_jtis (merchant_id, jti, expires_at)
  select merchant_id, jti, ${fromMs('jti_expires_ms')} from head where jti <> '-'
), remembered as (
  insert into pin_history (merchant_id, card_no, version, prv, salt, key_version)
  select merchant_id, card_no, pin_version, pin_prv, pin_salt, pin_key_version from head where history_length > 0
  union all
  select merchant_id, card_no, c.pin_version, c.pin_prv, c.pin_salt, c.pin_key_version
    from head join cards c using (merchant_id, card_no)
   where history_length > 0 and c.pin_version > 0 and c.pin_version > head.pin_version - history_length
  on conflict do nothing
), forgotten as (
  delete from pin_history h using head
   where history_length > 0 and h.merchant_id = head.merchant_id and h.card_no = head.card_no
     and h.version <= head.pin_version - history_length
)`);

const WRITE = writeBatch('write-pins', WRITE_PINS, false);
const WRITE_WITH_HISTORY = writeBatch('write-pins-with-history', WRITE_PINS_WITH_HISTORY, true);

function writeBatch(name: string, text: string, withHistory: boolean): Batch<NewPin, boolean> {
  return {
    lanes: LANES,
    limit: LIMIT,
    keyOf: ({ cardNo }) => cardNo, // unique over all merchants
    async run(db, pins) {
      const sorted = pins.toSorted((a, b) => (a.cardNo < b.cardNo ? -1 : 1));
      const columns = [
        sorted.map((pin) => pin.merchantId),
        sorted.map((pin) => pin.cardNo),
        sorted.map((pin) => `\\x${pin.prv.toString('hex')}`),
        sorted.map((pin) => `\\x${pin.salt.toString('hex')}`),
        sorted.map((pin) => pin.keyVersion),
        sorted.map((pin) => pin.envelope),
        sorted.map((pin) => pin.credentialId),
        sorted.map((pin) => pin.atMs),
        sorted.map((pin) => pin.ip),
        sorted.map((pin) => pin.requestId),
        sorted.map((pin) => pin.tellMerchant),
      ];
      if (withHistory)
        columns.push(
          sorted.map((pin) => pin.jti ?? '-'),
          sorted.map((pin) => pin.jtiExpiresAtMs),
          sorted.map((pin) => pin.historyLength),
          sorted.map((pin) => pin.judgedVersion ?? -1),
        );
      const [row] = await db.query<{ written: string | null }>(name, text, columns.map(arrayText));
      const written = new Set(row?.written?.split(','));
      return pins.map(({ cardNo }) => written.has(cardNo));
    },
  };
}

/**
 * An array in PostgreSQL's own notation. Texts stand in quotes, since without them `NULL` is no
 * text and an empty one is no element. It costs a set less than the driver's own conversion, which
 * judges the type of every element.
 */
function arrayText(values: readonly (string | number | boolean)[]): string {
  const elements = values.map((value) =>
    typeof value === 'string' ? `"${value.replaceAll(/["\\]/g, '\\$&')}"` : value,
  );
  return `{${elements.join(',')}}`;
}

/** A PIN that a card has or had, by its reference value. */
export interface RecentPin {
  version: number;
  prv: Buffer;
  salt: Buffer;
  keyVersion: number;
}

/** The card's last PINs, the present one first. */
export async function findRecentPins(
  db: Queryable,
  merchantId: number,
  cardNo: string,
  limit: number,
): Promise<RecentPin[]> {
  return db.query(
    'find-recent-pins',
    `select version, prv, salt, key_version as "keyVersion" from
       (select pin_version as version, pin_prv as prv, pin_salt as salt, pin_key_version as key_version from cards
         where merchant_id = $1 and card_no = $2 and pin_version > 0
        union select version, prv, salt, key_version from pin_history where merchant_id = $1 and card_no = $2) recent
      order by version desc limit $3`,
    [merchantId, cardNo, limit],
  );
}

/** Deletes the `jti`s that no envelope could use any more. Returns how many. */
export function deleteExpiredJtis(db: Queryable, nowMs: number): Promise<number> {
  return deleteExpired(db, { table: 'used_jtis', column: 'expires_at', is: '<', timeMs: nowMs });
}

/**
 * Deletes earlier PINs of merchants whose policy no longer looks back. Returns how many.
 * Housekeeping does it, and not the switching off: other processes go on remembering until they
 * have noticed. `lateral` and the order make it one look at the index for each merchant, not a pass
 * over all histories. Two processes take different rows.
 */
export function deleteUnneededHistory(db: Queryable): Promise<number> {
  return deleteInBatches(db, {
    name: 'delete-unneeded-history',
    text: `
      delete from pin_history where ctid = any(array(
        select h.ctid from merchants m
         cross join lateral (
           select ctid from pin_history h where h.merchant_id = m.merchant_id
            order by card_no, version limit ${DELETE_LIMIT} for update skip locked) h
         where m.pin_history = 0 limit ${DELETE_LIMIT}))
      returning 1`,
  });
}
