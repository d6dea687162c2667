import type { Queryable } from '../db/database.ts';

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
