import type { PinEnvelope } from '@pinward/contract/pin-envelope';
import type { PolicySettings } from '@pinward/contract/pin-policies';
import type { PinRuns } from '@pinward/contract/pin-rule';
import type { IntegrationMode } from '@pinward/contract/vocabulary';
import type { Queryable } from '../db/queryable.ts';
import { fromMs, toMs } from '../db/sql-time.ts';

/** A credential with its merchant: everything that the gate checks. */
export interface CredentialRow {
  credentialId: number;
  merchantId: number;
  merchantNo: string;
  secretWrapped: Buffer;
  status: 'Enabled' | 'Disabled';
  expiresAtMs: number | null;
  ipAllowlist: string[];
  tokenEpoch: number;
  merchantStatus: 'Active' | 'Disabled';
  merchantTokenEpoch: number;
  pinRuns: PinRuns;
  /** Empty without a callback URL. */
  callbackActions: string[];
  pinEnvelope: PinEnvelope;
  pinEnvelopeMinimum: PinEnvelope;
  pinPolicies: PolicySettings;
  pinHistory: number;
  integrationMode: IntegrationMode;
  pciEnabled: boolean;
}

/** What a wrapped apiSecret is bound to. It does not open in another credential's row. */
export function secretIdentity(apiKey: string): string {
  return `credential:${apiKey}`;
}

export async function findCredential(db: Queryable, apiKey: string): Promise<CredentialRow | undefined> {
  const [row] = await db.query<CredentialRow>(
    'find-credential',
    `select c.credential_id as "credentialId", m.merchant_id as "merchantId", m.merchant_no as "merchantNo",
            c.secret_wrapped as "secretWrapped", c.status, ${toMs('c.expires_at')} as "expiresAtMs",
            c.ip_allowlist as "ipAllowlist", c.token_epoch as "tokenEpoch", m.status as "merchantStatus",
            m.token_epoch as "merchantTokenEpoch", m.pin_runs as "pinRuns",
            case when m.callback_url is null then '{}' else m.callback_actions end as "callbackActions",
            c.pin_envelope as "pinEnvelope", c.pin_envelope_minimum as "pinEnvelopeMinimum",
            m.pin_policies as "pinPolicies", m.pin_history as "pinHistory",
            m.integration_mode as "integrationMode", m.pci_enabled as "pciEnabled"
       from credentials c join merchants m using (merchant_id)
      where c.api_key = $1`,
    [apiKey],
  );
  return row;
}

/** Every Api-Key, usable or not. */
export async function listApiKeys(db: Pick<Queryable, 'query'>): Promise<string[]> {
  const rows = await db.query<{ apiKey: string }>('list-api-keys', 'select api_key as "apiKey" from credentials');
  return rows.map(({ apiKey }) => apiKey);
}

export interface StoredMerchant {
  merchantNo: string;
  name: string;
  integrationMode: IntegrationMode;
  pinRuns: PinRuns;
  pciEnabled: boolean;
}

/** Returns the merchant's id. */
export async function insertMerchant(tx: Queryable, merchant: StoredMerchant): Promise<number> {
  const { merchantNo, name, integrationMode, pinRuns, pciEnabled } = merchant;
  const [row] = await tx.query<{ merchantId: number }>(
    'insert-merchant',
    `insert into merchants (merchant_no, name, integration_mode, pin_runs, pci_enabled)
     values ($1, $2, $3, $4, $5) returning merchant_id as "merchantId"`,
    [merchantNo, name, integrationMode, pinRuns, pciEnabled],
  );
  return (row as { merchantId: number }).merchantId;
}

/** Changes to a merchant; absent members stay. */
export interface MerchantChange {
  name?: string;
  pinRuns?: PinRuns;
  callbackActions?: string[];
  status?: 'Active' | 'Disabled';
  pciEnabled?: boolean;
  /** Where callbacks go; null for nowhere. */
  callbackUrl?: string | null;
  callbackCredentialId?: number;
  /** Changes the policies that it names; the others stay. */
  pinPolicies?: PolicySettings;
  pinHistory?: number;
}

/**
 * Changes a merchant; disabling it ends the tokens of all its credentials. Returns its id, or
 * undefined if there is no such merchant.
 */
export async function updateStoredMerchant(
  tx: Queryable,
  merchantNo: string,
  change: MerchantChange,
): Promise<number | undefined> {
  const [row] = await tx.query<{ merchantId: number }>(
    'update-merchant',
    `update merchants
        set name = coalesce($2, name), pin_runs = coalesce($3, pin_runs),
            callback_actions = coalesce($4, callback_actions),
            pin_policies = pin_policies || coalesce($6::jsonb, '{}'), pin_history = coalesce($7, pin_history),
            pci_enabled = coalesce($8, pci_enabled),
            callback_credential_id = coalesce($9, callback_credential_id),
            callback_url = case when $10 then $11 else callback_url end,
            status = coalesce($5, status), token_epoch = token_epoch + ($5 is not null and $5 = 'Disabled')::int
      where merchant_no = $1 returning merchant_id as "merchantId"`,
    [
      merchantNo,
      change.name,
      change.pinRuns,
      change.callbackActions,
      change.status,
      change.pinPolicies,
      change.pinHistory,
      change.pciEnabled,
      change.callbackCredentialId,
      change.callbackUrl !== undefined,
      change.callbackUrl,
    ],
  );
  return row?.merchantId;
}

export interface MerchantListing {
  merchantNo: string;
  name: string;
  status: string;
  integrationMode: string;
  pinRuns: string;
  callbackActions: string[];
  /** How many credentials it has. */
  credentials: number;
  pinPolicies: PolicySettings;
  pinHistory: number;
  pciEnabled: boolean;
}

export async function listMerchants(db: Queryable): Promise<MerchantListing[]> {
  return db.query(
    'list-merchants',
    `select m.merchant_no as "merchantNo", m.name, m.status, m.integration_mode as "integrationMode",
            m.pin_runs as "pinRuns", m.callback_actions as "callbackActions", count(c.credential_id) as credentials,
            m.pin_policies as "pinPolicies", m.pin_history as "pinHistory", m.pci_enabled as "pciEnabled"
       from merchants m left join credentials c using (merchant_id) group by m.merchant_id order by m.merchant_id`,
  );
}

export async function findMerchantId(db: Queryable, merchantNo: string): Promise<number | undefined> {
  const [row] = await db.query<{ merchantId: number }>(
    'find-merchant',
    'select merchant_id as "merchantId" from merchants where merchant_no = $1',
    [merchantNo],
  );
  return row?.merchantId;
}

export interface StoredCredential {
  merchantId: number;
  apiKey: string;
  secretWrapped: Buffer;
  expiresAtMs: number | undefined;
  ipAllowlist: string[];
}

export async function insertCredential(tx: Queryable, credential: StoredCredential): Promise<void> {
  const { merchantId, apiKey, secretWrapped, expiresAtMs, ipAllowlist } = credential;
  await tx.query(
    'insert-credential',
    `insert into credentials (merchant_id, api_key, secret_wrapped, expires_at, ip_allowlist)
     values ($1, $2, $3, ${fromMs('$4')}, $5)`,
    [merchantId, apiKey, secretWrapped, expiresAtMs, ipAllowlist],
  );
}

/**
 * Disables a credential and ends its tokens. Returns the merchant's id, or undefined if there is
 * no such credential.
 */
export async function disableStoredCredential(tx: Queryable, apiKey: string): Promise<number | undefined> {
  const [row] = await tx.query<{ merchantId: number }>(
    'disable-credential',
    `update credentials set status = 'Disabled', token_epoch = token_epoch + 1
      where api_key = $1 returning merchant_id as "merchantId"`,
    [apiKey],
  );
  return row?.merchantId;
}

export interface Envelopes {
  /** The envelope of a call that names none. */
  envelope: PinEnvelope;
  /** Weaker envelopes are refused. */
  minimum: PinEnvelope;
}

/** Changes what is given. Returns both settings, or undefined if there is no such credential. */
export async function storeEnvelopes(
  tx: Queryable,
  apiKey: string,
  { envelope, minimum }: { envelope?: PinEnvelope | undefined; minimum?: PinEnvelope | undefined },
): Promise<(Envelopes & { merchantId: number }) | undefined> {
  const [row] = await tx.query<Envelopes & { merchantId: number }>(
    'store-envelopes',
    `update credentials
        set pin_envelope = coalesce($2, pin_envelope), pin_envelope_minimum = coalesce($3, pin_envelope_minimum)
      where api_key = $1
     returning merchant_id as "merchantId", pin_envelope as envelope, pin_envelope_minimum as minimum`,
    [apiKey, envelope, minimum],
  );
  return row;
}

/** Locks the credential, so that the changes of two operators don't overwrite each other. */
export async function lockAllowlist(
  tx: Queryable,
  apiKey: string,
): Promise<{ merchantId: number; ipAllowlist: string[] } | undefined> {
  const [row] = await tx.query<{ merchantId: number; ipAllowlist: string[] }>(
    'lock-allowlist',
    `select merchant_id as "merchantId", ip_allowlist as "ipAllowlist"
       from credentials where api_key = $1 for update`,
    [apiKey],
  );
  return row;
}

export async function storeAllowlist(tx: Queryable, apiKey: string, ipAllowlist: string[]): Promise<void> {
  await tx.query('store-allowlist', 'update credentials set ip_allowlist = $2 where api_key = $1', [
    apiKey,
    ipAllowlist,
  ]);
}

export interface CredentialListing {
  apiKey: string;
  merchantNo: string;
  status: string;
  expiresAtMs: number | null;
  ipAllowlist: string[];
  createdAtMs: number;
  pinEnvelope: string;
  pinEnvelopeMinimum: string;
}

/** Lists the credentials of one merchant, or of all without a number. */
export async function listCredentials(db: Queryable, merchantNo: string | undefined): Promise<CredentialListing[]> {
  return db.query(
    'list-credentials',
    `select c.api_key as "apiKey", m.merchant_no as "merchantNo", c.status, ${toMs('c.expires_at')} as "expiresAtMs",
            c.ip_allowlist as "ipAllowlist", ${toMs('c.created_at')} as "createdAtMs",
            c.pin_envelope as "pinEnvelope", c.pin_envelope_minimum as "pinEnvelopeMinimum"
       from credentials c join merchants m using (merchant_id)
      where $1::text is null or m.merchant_no = $1 order by c.credential_id`,
    [merchantNo],
  );
}
