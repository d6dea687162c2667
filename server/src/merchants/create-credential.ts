import { auditMerchant } from '../audit/append.ts';
import type { Config } from '../config.ts';
import { isPublishedKey } from '../crypto/published-keys.ts';
import type { Database } from '../db/database.ts';
import type { Keys } from '../keys/keys.ts';
import { requireAllowlistEntries } from '../net/ip-allowlist.ts';
import { OperatorError } from '../operator-error.ts';
import { randomText } from '../random-text.ts';
import { Secret } from '../secret.ts';
import { findMerchantId, insertCredential, secretIdentity } from './store.ts';

/**
 * The UTF-8 bytes of an apiSecret are an AES key, so a new secret has 32 ASCII characters
 * (docs/adr/0004).
 */
const SECRET_LENGTH = 32;
const AES_KEY_BYTES = [16, 24, 32];

export interface NewCredential {
  merchantNo: string;
  /** The Api-Key of a credential from another platform. Undefined: a new one is made. */
  apiKey?: string;
  /** Its secret: 16, 24 or 32 bytes in UTF-8. Undefined: a new one is made. */
  apiSecret?: Secret<string>;
  expiresAtMs?: number;
  ipAllowlist: string[];
}

/** Creates a credential. Returns its secret, which is stored wrapped and not shown again. */
export async function createCredential(
  { db, keys, now, config }: { db: Database; keys: Keys; now: () => number; config: Pick<Config, 'mode'> },
  credential: NewCredential,
): Promise<{ apiKey: string; apiSecret: Secret<string> }> {
  const { merchantNo, expiresAtMs, ipAllowlist } = credential;
  requireAllowlistEntries(ipAllowlist);
  if (credential.apiKey !== undefined && !/^[\x21-\x7e]{1,128}$/.test(credential.apiKey))
    throw new OperatorError('an Api-Key has 1 to 128 visible ASCII characters, as it travels in a header');
  const apiKey = credential.apiKey ?? `ak_${randomText(24)}`;
  const apiSecret = credential.apiSecret ?? new Secret(randomText(SECRET_LENGTH));
  const bytes = Buffer.from(apiSecret.expose(), 'utf8');
  if (!AES_KEY_BYTES.includes(bytes.length))
    throw new OperatorError('an apiSecret has 16, 24 or 32 bytes, as it is an AES key');
  if (config.mode === 'production' && isPublishedKey(bytes))
    throw new OperatorError('the apiSecret is published (a sandbox has it), and so not for production');
  const secretWrapped = await keys.kek.wrap(bytes, secretIdentity(apiKey));
  bytes.fill(0);
  await db.transaction(async (tx) => {
    const merchantId = await findMerchantId(tx, merchantNo);
    if (merchantId === undefined) throw new OperatorError(`there is no merchant ${merchantNo}`);
    await insertCredential(tx, { merchantId, apiKey, secretWrapped, expiresAtMs, ipAllowlist });
    const details = { api_key: apiKey, ip_allowlist: ipAllowlist };
    await auditMerchant(tx, merchantId, { atMs: now(), action: 'credential_created', by: 'operator', details });
  });
  return { apiKey, apiSecret };
}
