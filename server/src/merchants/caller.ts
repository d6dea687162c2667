import { createSecretKey, type KeyObject } from 'node:crypto';
import type { PinEnvelope } from '@pinward/contract/pin-envelope';
import { type PoliciesInForce, policiesInForce } from '@pinward/contract/pin-policies';
import type { PinRuns } from '@pinward/contract/pin-rule';
import type { IntegrationMode } from '@pinward/contract/vocabulary';
import { ApiError } from '../api-error.ts';
import type { Cached } from '../db/cache.ts';
import type { Keys } from '../keys/keys.ts';
import { createAllowlist } from '../net/ip-allowlist.ts';
import { createTokenIssuer, type TokenIssuer } from './access-token.ts';
import { type CredentialRow, findCredential, listApiKeys, secretIdentity } from './store.ts';

/** The authenticated merchant of a request, and the credential that it used. */
export interface Caller {
  merchantId: number;
  merchantNo: string;
  credentialId: number;
  /** Outside the JavaScript heap, and unprintable. */
  apiSecret: KeyObject;
  pinRuns: PinRuns;
  /** The envelope of a call that names none. */
  pinEnvelope: PinEnvelope;
  pinEnvelopeMinimum: PinEnvelope;
  pinPolicies: PoliciesInForce;
  /** How many PINs the `history` policy looks back at. */
  pinHistory: number;
  integrationMode: IntegrationMode;
  /** Whether it may read PANs and CVVs. */
  pciEnabled: boolean;
  /** The callback actions that it takes; none without a callback URL. */
  callbackActions: ReadonlySet<string>;
  /** Issues and verifies the credential's access tokens. */
  tokens: TokenIssuer;
}

/** A credential as the gate knows it, usable or not. */
export interface KnownCredential {
  caller: Caller;
  /** The key under which its calls are counted (`callsPerCredential`). */
  limitKey: string;
  enabled: boolean;
  expiresAtMs: number | undefined;
  merchantActive: boolean;
  allows: (address: string) => boolean;
}

/** Credentials by their Api-Key. */
export const CREDENTIALS: Cached<KnownCredential> = {
  list: ({ monitor }) => listApiKeys(monitor),
  async load({ db, keys }, apiKey) {
    const row = await findCredential(db, apiKey);
    return row && knownCredential(row, apiKey, keys);
  },
};

async function knownCredential(row: CredentialRow, apiKey: string, keys: Keys): Promise<KnownCredential> {
  const { credentialId } = row;
  const secret = await keys.kek.unwrap(row.secretWrapped, secretIdentity(apiKey));
  try {
    return {
      caller: {
        merchantId: row.merchantId,
        merchantNo: row.merchantNo,
        credentialId,
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
          credentialId,
          apiKey,
          apiSecret: secret,
          credentialEpoch: row.tokenEpoch,
          merchantEpoch: row.merchantTokenEpoch,
        }),
      },
      limitKey: String(credentialId),
      enabled: row.status === 'Enabled',
      expiresAtMs: row.expiresAtMs ?? undefined,
      merchantActive: row.merchantStatus === 'Active',
      allows: createAllowlist(row.ipAllowlist),
    };
  } finally {
    secret.fill(0);
  }
}

/** 1012 unless the merchant has that integration mode. */
export function requireMode(caller: Caller, mode: IntegrationMode): void {
  if (caller.integrationMode !== mode) throw new ApiError('modeUnsupported');
}
