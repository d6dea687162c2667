import { deleteExpired } from '../db/delete-expired.ts';
import type { Queryable } from '../db/queryable.ts';
import { fromMs } from '../db/sql-time.ts';

export interface ClientToken {
  /** SHA-256 of the token. */
  hash: Buffer;
  merchantId: number;
  cardNo: string;
  credentialId: number;
  expiresAtMs: number;
}

export async function insertClientToken(tx: Queryable, token: ClientToken): Promise<void> {
  await tx.query(
    'insert-client-token',
    `insert into client_tokens (token_hash, merchant_id, card_no, credential_id, expires_at)
     values ($1, $2, $3, $4, ${fromMs('$5')})`,
    [token.hash, token.merchantId, token.cardNo, token.credentialId, token.expiresAtMs],
  );
}

/** Deletes expired tokens. Returns how many. */
export function deleteExpiredClientTokens(db: Queryable, nowMs: number): Promise<number> {
  return deleteExpired(db, { table: 'client_tokens', column: 'expires_at', is: '<', timeMs: nowMs });
}
