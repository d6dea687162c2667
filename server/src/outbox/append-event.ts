import type { CallbackAction } from '@pinward/contract/vocabulary';
import type { Queryable } from '../db/queryable.ts';
import { fromMs } from '../db/sql-time.ts';

/*
 * The outbox: events for merchants, stored in the transaction of the change that they report.
 * callbacks/ sends them. Only this file has the SQL of the insert; statements that do other work at
 * the same time embed it.
 */

/** An event in SQL expressions over the rows of `from`, which have merchant_id and card_no. */
interface EventSql {
  /** A table expression, with its joins and condition: `head where tell_merchant`. */
  from: string;
  action: string;
  /** A uuid: the `id` that the merchant sees. */
  pushId?: string;
  /** JSON: the callback's `data`. */
  data: string;
  /** timestamptz: the time of the change's audit record. */
  at: string;
  /** timestamptz: now, by the clock of this process. */
  due: string;
}

/** SQL: inserts an event for each row of `from`. It is due at once. */
export function insertEvent({ from, action, pushId = 'gen_random_uuid()', data, at, due }: EventSql): string {
  return `insert into callback_events (merchant_id, card_no, action, push_id, data, created_at, due_at)
  select merchant_id, card_no, ${action}, ${pushId}, ${data}, ${at}, ${due} from ${from}`;
}

/** SQL: whether a merchant, by its alias, has a callback URL and takes the action. */
export function takesEvent(merchant: string, action: string): string {
  return `${merchant}.callback_url is not null and ${action} = any(${merchant}.callback_actions)`;
}

/**
 * SQL: the `data` of an event about a PIN. Made of strings that need no escaping, and a whole
 * number.
 */
export function pinEventData(atMs: string): string {
  return `concat('{"card_no":"', card_no, '","cardholder_no":"', cardholder_no, '","time":', ${atMs}, '}')`;
}

export interface NewEvent {
  merchantId: number;
  cardNo: string;
  action: CallbackAction;
  data: object;
  /** The time of the change's audit record. */
  atMs: number;
  /** Now, by the clock of this process; `atMs` if left out. */
  dueAtMs?: number;
}

/**
 * Stores an event if the merchant takes it. Runs in the transaction of the change, which holds the
 * lock of the card: so a card's events get their ids in the order of its commits.
 */
export async function appendEvent(tx: Queryable, event: NewEvent): Promise<void> {
  const { merchantId, cardNo, action, data, atMs, dueAtMs = atMs } = event;
  await tx.query(
    'append-event',
    insertEvent({
      from: `(select merchant_id, $2::text as card_no from merchants m where merchant_id = $1 and ${takesEvent('m', '$3')}) e`,
      action: '$3',
      data: '$4',
      at: fromMs('$5'),
      due: fromMs('$6'),
    }),
    [merchantId, cardNo, action, JSON.stringify(data), atMs, dueAtMs],
  );
}
