import type { CardStatus, CardType } from '../cards/store.ts';
import type { Database } from '../db/database.ts';
import { shareStatements } from '../db/share.ts';

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
  requestId: string;
  /** Whether the merchant takes the event. */
  tellMerchant: boolean;
}

/** The two statements of a PIN set. Concurrent callers share them (db/share.ts). */
export interface PinStore {
  findCard(merchantId: number, cardNo: string): Promise<CardForPin | undefined>;
  /** Stores PIN, audit record and event, durably and together. False, and nothing stored, if the card is not `Activated`. */
  write(pin: PinWrite): Promise<boolean>;
}

const READ_LANES = 4;
const WRITE_LANES = 4;
const MOST_IN_ONE = 64;

export function createPinStore(db: Database, shared: boolean): PinStore {
  const findCard = shareStatements<{ merchantId: number; cardNo: string }, CardForPin | undefined>({
    lanes: shared ? READ_LANES : Number.POSITIVE_INFINITY,
    most: shared ? MOST_IN_ONE : 1,
    run: (items) => findCards(db, items),
  });
  const write = shareStatements<PinWrite, boolean>({
    lanes: shared ? WRITE_LANES : Number.POSITIVE_INFINITY,
    most: shared ? MOST_IN_ONE : 1,
    keyOf: ({ cardNo }) => cardNo, // unique over all merchants
    run: (pins) => writePins(db, pins),
  });
  return { findCard: (merchantId, cardNo) => findCard({ merchantId, cardNo }), write };
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
export const WRITE_PINS = `
with head as (
  update cards c
     set pin_version = c.pin_version + 1, pin_failed_tries = 0, pin_last_failure_at = null, pin_blocked_at = null, audit_count = c.audit_count + 1,
         audit_head = audit_hash(c.audit_head, c.merchant_id, c.card_no, c.audit_count + 1, asked.at_ms, 'pin_set',
                                 pin_set_details(c.pin_version + 1, asked.credential_id, asked.ip, asked.request_id, asked.envelope))
    from unnest($1::int[], $2::text[], $3::bytea[], $4::bytea[], $5::int[], $6::text[], $7::int[], $8::bigint[], $9::text[], $10::text[], $11::bool[])
      as asked (merchant_id, card_no, prv, salt, key_version, envelope, credential_id, at_ms, ip, request_id, tell_merchant)
   where c.merchant_id = asked.merchant_id and c.card_no = asked.card_no and c.status = 'Activated' and c.card_type = 'Physical'
  returning c.merchant_id, c.card_no, c.cardholder_no, c.pin_version, c.audit_count, c.audit_head, asked.prv, asked.salt, asked.key_version,
            asked.envelope, asked.credential_id, asked.at_ms, to_timestamp(asked.at_ms / 1000.0) as at, asked.ip, asked.request_id, asked.tell_merchant
), pin as (
  insert into pins as p (merchant_id, card_no, version, prv, salt, key_version, envelope, channel, credential_id, set_at)
  select merchant_id, card_no, pin_version, prv, salt, key_version, envelope, 'merchant-api', credential_id, at from head
  on conflict (merchant_id, card_no) do update
     set version = excluded.version, prv = excluded.prv, salt = excluded.salt, key_version = excluded.key_version, envelope = excluded.envelope,
         channel = excluded.channel, credential_id = excluded.credential_id, set_at = excluded.set_at
), audit as (
  insert into audit_records (merchant_id, card_no, seq, at, action, details, hash)
  select merchant_id, card_no, audit_count, at, 'pin_set', pin_set_details(pin_version, credential_id, ip, request_id, envelope), audit_head from head
), event as (
  insert into callback_events (merchant_id, card_no, action, data, created_at)
  select merchant_id, card_no, 'Pin_set', concat('{"card_no":"', card_no, '","cardholder_no":"', cardholder_no, '","time":', at_ms, '}'), at
    from head where tell_merchant
)
select string_agg(card_no, ',') from head`;

async function writePins(db: Database, asked: PinWrite[]): Promise<boolean[]> {
  const pins = asked.toSorted((a, b) => (a.cardNo < b.cardNo ? -1 : 1));
  const [[written] = [null]] = await db.query<[string | null]>('write-pins', WRITE_PINS, [
    plainArray(pins.map((pin) => pin.merchantId)),
    plainArray(pins.map((pin) => pin.cardNo)),
    plainArray(pins.map((pin) => `\\\\x${pin.prv.toString('hex')}`)),
    plainArray(pins.map((pin) => `\\\\x${pin.salt.toString('hex')}`)),
    plainArray(pins.map((pin) => pin.keyVersion)),
    plainArray(pins.map((pin) => pin.envelope)),
    plainArray(pins.map((pin) => pin.credentialId)),
    plainArray(pins.map((pin) => pin.atMs)),
    plainArray(pins.map((pin) => pin.ip)),
    plainArray(pins.map((pin) => pin.requestId)),
    plainArray(pins.map((pin) => pin.tellMerchant)),
  ]);
  const done = new Set(written?.split(','));
  return asked.map(({ cardNo }) => done.has(cardNo));
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
