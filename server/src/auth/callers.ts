import { createSecretKey, type KeyObject } from 'node:crypto';
import type { Database } from '../db/database.ts';
import { ApiError } from '../errors.ts';
import type { Keys } from '../keys/keys.ts';
import { type CredentialRow, findCredential, type IntegrationMode, secretIdentity } from '../merchants/store.ts';
import type { PinEnvelope } from '../pins/pin-envelope.ts';
import { type PoliciesInForce, policiesInForce } from '../pins/pin-policies.ts';
import type { PinRuns } from '../pins/pin-policy.ts';
import { createTokenIssuer, type TokenIssuer } from './access-token.ts';
import { createAllowlist } from './ip-allowlist.ts';

/** The authenticated merchant of a request, and the credential that it came with. */
export interface Caller {
  merchantId: number;
  merchantNo: string;
  credentialId: number;
  /** Outside the JavaScript heap, and unprintable. */
  apiSecret: KeyObject;
  pinRuns: PinRuns;
  pinEnvelope: PinEnvelope;
  pinEnvelopeMinimum: PinEnvelope;
  pinPolicies: PoliciesInForce;
  /** How many PINs the `history` policy looks back at. */
  pinHistory: number;
  integrationMode: IntegrationMode;
  /** Whether PANs and CVVs may be read. */
  pciEnabled: boolean;
  /** The callback actions that the merchant takes; none where it has not said where. */
  callbackActions: ReadonlySet<string>;
  /** Issues and verifies this credential's access tokens. */
  tokens: TokenIssuer;
}

export interface KnownCredential {
  caller: Caller;
  /** What its calls are counted by. */
  key: string;
  enabled: boolean;
  expiresAtMs: number | undefined;
  merchantActive: boolean;
  allows: (address: string) => boolean;
}

/** 1012 unless the merchant is of that integration mode. */
export function requireMode(caller: Caller, mode: IntegrationMode): void {
  if (caller.integrationMode !== mode) throw new ApiError('modeUnsupported');
}

/** Finds the credential of an Api-Key, ready to be judged by. */
export async function findCaller(db: Database, keys: Keys, apiKey: string): Promise<KnownCredential | undefined> {
  const row = await findCredential(db, apiKey);
  return row && build(row, apiKey, keys);
}

async function build(row: CredentialRow, apiKey: string, keys: Keys): Promise<KnownCredential> {
  const secret = await keys.kek.unwrap(row.secretWrapped, secretIdentity(apiKey));
  try {
    return {
      caller: {
        merchantId: row.merchantId,
        merchantNo: row.merchantNo,
        credentialId: row.credentialId,
        apiSecret: createSecretKey(secret),
        pinRuns: row.pinRuns,
        pinEnvelope: row.pinEnvelope,
        pinEnvelopeMinimum: row.pinEnvelopeMinimum,
        pinPolicies: policiesInForce(row.pinPolicies),
        pinHistory: row.pinHistory,
        integrationMode: row.integrationMode,
        pciEnabled: row.pciEnabled,
        callbackActions: new Set(row.callbackActions),
        tokens: createTokenIssuer(keys.accessToken, {
          credentialId: row.credentialId,
          apiKey,
          apiSecret: secret,
          credentialEpoch: row.tokenEpoch,
          merchantEpoch: row.merchantTokenEpoch,
        }),
      },
      key: String(row.credentialId),
      enabled: row.status === 'Enabled',
      expiresAtMs: row.expiresAtMs ?? undefined,
      merchantActive: row.merchantStatus === 'Active',
      allows: createAllowlist(row.ipAllowlist),
    };
  } finally {
    secret.fill(0);
  }
}
