import type { Queryable } from '../db/queryable.ts';
import { fromMs } from '../db/sql-time.ts';

/* How callbacks are configured for a merchant: the URL, and the credential that signs. */

export interface EndpointRow {
  merchantNo: string;
  url: string;
  apiKey: string;
  secretWrapped: Buffer;
}

/**
 * Where a merchant's callbacks go and whose secret signs them; undefined if it has no
 * callback URL. A secret signs until the operator names another one, also while its
 * credential is disabled.
 */
export async function findEndpoint(db: Queryable, merchantId: number): Promise<EndpointRow | undefined> {
  const [row] = await db.query<EndpointRow>(
    'find-endpoint',
    `select m.merchant_no as "merchantNo", m.callback_url as url, c.api_key as "apiKey",
            c.secret_wrapped as "secretWrapped"
       from merchants m join credentials c on c.credential_id = m.callback_credential_id
      where m.merchant_id = $1 and m.callback_url is not null`,
    [merchantId],
  );
  return row;
}

export interface CallbackSettings {
  merchantId: number;
  url: string | null;
  /** The credential that signs. */
  credentialId: number | null;
}

/**
 * Locks the merchant, so that the changes of two operators do not mix. Undefined if there
 * is no such merchant.
 */
export async function lockSettings(tx: Queryable, merchantNo: string): Promise<CallbackSettings | undefined> {
  const [row] = await tx.query<CallbackSettings>(
    'lock-callback-settings',
    `select merchant_id as "merchantId", callback_url as url, callback_credential_id as "credentialId"
       from merchants where merchant_no = $1 for update`,
    [merchantNo],
  );
  return row;
}

/** The id of a merchant's credential, if it is enabled and has not expired. */
export async function findUsableCredential(
  db: Queryable,
  { merchantId, apiKey, nowMs }: { merchantId: number; apiKey: string; nowMs: number },
): Promise<number | undefined> {
  const [row] = await db.query<{ credentialId: number }>(
    'find-usable-credential',
    `select credential_id as "credentialId" from credentials
      where merchant_id = $1 and api_key = $2 and status = 'Enabled'
        and (expires_at is null or expires_at > ${fromMs('$3')})`,
    [merchantId, apiKey, nowMs],
  );
  return row?.credentialId;
}
