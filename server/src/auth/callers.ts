import { createSecretKey, type KeyObject } from 'node:crypto';
import type { Database } from '../db/database.ts';
import type { Keys } from '../keys/keys.ts';
import { type CredentialRow, findCredential, readGateVersion, secretIdentity } from '../merchants/store.ts';
import type { PinEnvelope } from '../pins/pin-envelope.ts';
import type { PolicySettings } from '../pins/pin-policies.ts';
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
  pinPolicies: PolicySettings;
  /** How many PINs the `history` policy looks back at. */
  pinHistory: number;
  /** The callback actions that the merchant takes. */
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

export interface Callers {
  /** The credential of an Api-Key, as it stood at most FRESH_MS ago, if it is in memory. */
  known(apiKey: string): KnownCredential | undefined;
  /** As it stands in the database. */
  load(apiKey: string): Promise<KnownCredential | undefined>;
  stop(): void;
}

const POLL_EVERY_MS = 200;
/** With the poll's own interval this stays below the second within which a disabled credential must be out. */
const FRESH_MS = 700;
const MOST_KNOWN = 10_000;

/**
 * Keeps credentials in memory. Every process asks the database five times a second whether any credential or merchant
 * has changed, and forgets all when one has. When that question goes unanswered the memory counts for nothing and
 * every request asks anew: no process serves a disabled credential because it lost its database.
 */
export function createCallers(db: Database, keys: Keys): Callers {
  let known = new Map<string, KnownCredential>();
  let version: number | undefined;
  let keyRevision = keys.revision;
  let freshUntil = 0;
  let stopped = false;
  let asking = false;

  async function poll(): Promise<void> {
    if (asking || stopped) return;
    asking = true;
    const askedAt = performance.now();
    try {
      const current = await readGateVersion(db);
      // Loads under way still hold the old map and are lost with it. Tokens are signed under keys that were derived when loading.
      if (current !== version || keys.revision !== keyRevision) known = new Map();
      version = current;
      keyRevision = keys.revision;
      freshUntil = askedAt + FRESH_MS;
    } catch {
      // Not fresh any more, and `load` will meet the fault itself.
    } finally {
      asking = false;
    }
  }
  const timer = setInterval(() => void poll(), POLL_EVERY_MS);
  timer.unref();
  void poll();

  async function load(apiKey: string): Promise<KnownCredential | undefined> {
    const target = known;
    const row = await findCredential(db, apiKey);
    if (row === undefined) return undefined;
    const credential = await build(row, apiKey, keys);
    if (target.size >= MOST_KNOWN) target.clear();
    target.set(apiKey, credential);
    return credential;
  }

  return {
    known: (apiKey) => (performance.now() < freshUntil ? known.get(apiKey) : undefined),
    load,
    stop() {
      stopped = true;
      clearInterval(timer);
    },
  };
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
        pinPolicies: row.pinPolicies,
        pinHistory: row.pinHistory,
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
