import type { Queryable } from '../db/database.ts';

export interface NewCardholder {
  merchantId: number;
  cardholderNo: string;
  cardholderUniqueNo: string;
  email: string;
  status: 'Pending' | 'In_progress' | 'Approved' | 'Rejected';
  createdAtMs: number;
}

/** What wrapped personal data are bound to. */
export function personalIdentity(cardholderNo: string): string {
  return `personal:${cardholderNo}`;
}

export async function insertCardholder(tx: Queryable, cardholder: NewCardholder): Promise<void> {
  await tx.query(
    'insert-cardholder',
    `insert into cardholders (merchant_id, cardholder_no, cardholder_unique_no, email, status, created_at)
     values ($1, $2, $3, $4, $5, to_timestamp($6::bigint / 1000.0))`,
    [
      cardholder.merchantId,
      cardholder.cardholderNo,
      cardholder.cardholderUniqueNo,
      cardholder.email,
      cardholder.status,
      cardholder.createdAtMs,
    ],
  );
}
