import type { Queryable } from '../db/database.ts';
import type { PinEnvelope } from '../pins/pin-envelope.ts';
import type { PolicySettings } from '../pins/pin-policies.ts';
import type { PinRuns } from '../pins/pin-policy.ts';

export type IntegrationMode = 'AUTHORIZATION' | 'CREDIT_EXTENSION';

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
  callbackActions: string[];
  pinEnvelope: PinEnvelope;
  pinEnvelopeMinimum: PinEnvelope;
  pinPolicies: PolicySettings;
  pinHistory: number;
  integrationMode: IntegrationMode;
  pciEnabled: boolean;
}

/** What a wrapped apiSecret is bound to: moved to another credential's row it does not open. */
export function secretIdentity(apiKey: string): string {
  return `credential:${apiKey}`;
}

/** Everything that the gate judges by, in one round trip. */
export async function findCredential(db: Queryable, apiKey: string): Promise<CredentialRow | undefined> {
  const [row] = await db.query<
    [
      number,
      number,
      string,
      Buffer,
      CredentialRow['status'],
      number | null,
      string[],
      number,
      CredentialRow['merchantStatus'],
      number,
      PinRuns,
      string[],
      PinEnvelope,
      PinEnvelope,
      PolicySettings,
      number,
      IntegrationMode,
      boolean,
    ]
  >(
    'find-credential',
    `select c.credential_id, m.merchant_id, m.merchant_no, c.secret_wrapped, c.status, (extract(epoch from c.expires_at) * 1000)::bigint,
            c.ip_allowlist, c.token_epoch, m.status, m.token_epoch, m.pin_runs,
            case when m.callback_url is null then '{}' else m.callback_actions end,
            c.pin_envelope, c.pin_envelope_minimum, m.pin_policies, m.pin_history, m.integration_mode, m.pci_enabled
       from credentials c join merchants m using (merchant_id)
      where c.api_key = $1`,
    [apiKey],
  );
  if (row === undefined) return undefined;
  const [
    credentialId,
    merchantId,
    merchantNo,
    secretWrapped,
    status,
    expiresAtMs,
    ipAllowlist,
    tokenEpoch,
    merchantStatus,
    merchantTokenEpoch,
    pinRuns,
    callbackActions,
    pinEnvelope,
    pinEnvelopeMinimum,
    pinPolicies,
    pinHistory,
    integrationMode,
    pciEnabled,
  ] = row;
  return {
    credentialId,
    merchantId,
    merchantNo,
    secretWrapped,
    status,
    expiresAtMs,
    ipAllowlist,
    tokenEpoch,
    merchantStatus,
    merchantTokenEpoch,
    pinRuns,
    callbackActions,
    pinEnvelope,
    pinEnvelopeMinimum,
    pinPolicies,
    pinHistory,
    integrationMode,
    pciEnabled,
  };
}

/** Moves whenever a credential or merchant changes; see the triggers in the first migration. */
export async function readGateVersion(db: Queryable): Promise<number> {
  const [row] = await db.query<[number]>('gate-version', 'select version from gate_version');
  return row?.[0] ?? 0;
}

export async function insertMerchant(
  tx: Queryable,
  merchant: { merchantNo: string; name: string; integrationMode: IntegrationMode; pinRuns: PinRuns; pciEnabled: boolean },
): Promise<number> {
  const [row] = await tx.query<[number]>(
    'insert-merchant',
    `insert into merchants (merchant_no, name, integration_mode, pin_runs, pci_enabled) values ($1, $2, $3, $4, $5) returning merchant_id`,
    [merchant.merchantNo, merchant.name, merchant.integrationMode, merchant.pinRuns, merchant.pciEnabled],
  );
  return (row as [number])[0];
}

export interface MerchantChange {
  name?: string;
  pinRuns?: PinRuns;
  callbackActions?: string[];
  status?: 'Active' | 'Disabled';
  pciEnabled?: boolean;
  /** Where callbacks go; null: nowhere. */
  callbackUrl?: string | null;
  callbackCredentialId?: number;
  /** Changes those that it names. */
  pinPolicies?: PolicySettings;
  pinHistory?: number;
}

/** Changes what is given; disabling ends the tokens of all its credentials. Undefined if there is no such merchant. */
export async function updateMerchant(tx: Queryable, merchantNo: string, change: MerchantChange): Promise<number | undefined> {
  const [row] = await tx.query<[number]>(
    'update-merchant',
    `update merchants set name = coalesce($2, name), pin_runs = coalesce($3, pin_runs), callback_actions = coalesce($4, callback_actions),
            pin_policies = pin_policies || coalesce($6::jsonb, '{}'), pin_history = coalesce($7, pin_history),
            pci_enabled = coalesce($8, pci_enabled), callback_credential_id = coalesce($9, callback_credential_id),
            callback_url = case when $10 then $11 else callback_url end,
            status = coalesce($5, status), token_epoch = token_epoch + ($5 is not null and $5 = 'Disabled')::int
      where merchant_no = $1 returning merchant_id`,
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
  return row?.[0];
}

export type MerchantListing = [
  merchantNo: string,
  name: string,
  status: string,
  integrationMode: string,
  pinRuns: string,
  callbackActions: string[],
  credentials: number,
  pinPolicies: PolicySettings,
  pinHistory: number,
  pciEnabled: boolean,
];

export function listMerchants(db: Queryable): Promise<MerchantListing[]> {
  return db.query(
    'list-merchants',
    `select m.merchant_no, m.name, m.status, m.integration_mode, m.pin_runs, m.callback_actions, count(c.credential_id), m.pin_policies, m.pin_history, m.pci_enabled
       from merchants m left join credentials c using (merchant_id) group by m.merchant_id order by m.merchant_id`,
  );
}

export async function findMerchantId(db: Queryable, merchantNo: string): Promise<number | undefined> {
  const [row] = await db.query<[number]>('find-merchant', 'select merchant_id from merchants where merchant_no = $1', [merchantNo]);
  return row?.[0];
}

export async function insertCredential(
  tx: Queryable,
  credential: { merchantId: number; apiKey: string; secretWrapped: Buffer; expiresAtMs: number | undefined; ipAllowlist: string[] },
): Promise<void> {
  await tx.query(
    'insert-credential',
    `insert into credentials (merchant_id, api_key, secret_wrapped, expires_at, ip_allowlist) values ($1, $2, $3, to_timestamp($4::bigint / 1000.0), $5)`,
    [credential.merchantId, credential.apiKey, credential.secretWrapped, credential.expiresAtMs, credential.ipAllowlist],
  );
}

/** Gives the merchant, or undefined if there is no such credential. */
export async function disableCredential(tx: Queryable, apiKey: string): Promise<number | undefined> {
  const [row] = await tx.query<[number]>(
    'disable-credential',
    `update credentials set status = 'Disabled', token_epoch = token_epoch + 1 where api_key = $1 returning merchant_id`,
    [apiKey],
  );
  return row?.[0];
}

/** Changes what is given. Gives the merchant, or undefined if there is no such credential. */
export async function setEnvelopes(
  tx: Queryable,
  apiKey: string,
  envelope: PinEnvelope | undefined,
  minimum: PinEnvelope | undefined,
): Promise<{ merchantId: number; envelope: PinEnvelope; minimum: PinEnvelope } | undefined> {
  const [row] = await tx.query<[number, PinEnvelope, PinEnvelope]>(
    'set-envelopes',
    `update credentials set pin_envelope = coalesce($2, pin_envelope), pin_envelope_minimum = coalesce($3, pin_envelope_minimum)
      where api_key = $1 returning merchant_id, pin_envelope, pin_envelope_minimum`,
    [apiKey, envelope, minimum],
  );
  return row && { merchantId: row[0], envelope: row[1], minimum: row[2] };
}

export async function setAllowlist(tx: Queryable, apiKey: string, ipAllowlist: string[]): Promise<number | undefined> {
  const [row] = await tx.query<[number]>(
    'set-allowlist',
    'update credentials set ip_allowlist = $2 where api_key = $1 returning merchant_id',
    [apiKey, ipAllowlist],
  );
  return row?.[0];
}

/** Locks the credential, so that two operators' changes don't lose one another's. */
export async function lockAllowlist(tx: Queryable, apiKey: string): Promise<string[] | undefined> {
  const [row] = await tx.query<[string[]]>('lock-allowlist', 'select ip_allowlist from credentials where api_key = $1 for update', [
    apiKey,
  ]);
  return row?.[0];
}

export type CredentialListing = [
  apiKey: string,
  merchantNo: string,
  status: string,
  expiresAt: Date | null,
  ipAllowlist: string[],
  createdAt: Date,
  pinEnvelope: string,
  pinEnvelopeMinimum: string,
];

export function listCredentials(db: Queryable, merchantNo: string | undefined): Promise<CredentialListing[]> {
  return db.query(
    'list-credentials',
    `select c.api_key, m.merchant_no, c.status, c.expires_at, c.ip_allowlist, c.created_at, c.pin_envelope, c.pin_envelope_minimum
       from credentials c join merchants m using (merchant_id) where $1::text is null or m.merchant_no = $1 order by c.credential_id`,
    [merchantNo],
  );
}
