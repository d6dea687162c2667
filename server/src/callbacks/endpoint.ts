import { createSecretKey, type KeyObject } from 'node:crypto';
import type { Cache, Cached } from '../db/cache.ts';
import type { Database } from '../db/database.ts';
import type { Keys } from '../keys/keys.ts';
import { secretIdentity } from '../merchants/store.ts';
import { findEndpoint } from './settings-store.ts';

/** Where a merchant's callbacks go, and what signs them. */
export interface Endpoint {
  merchantNo: string;
  url: string;
  /** The `appId` of the signature. */
  apiKey: string;
  /** Outside the JavaScript heap, and unprintable. */
  apiSecret: KeyObject;
}

/** A merchant's endpoint, or undefined if it has no callback URL. */
export async function openEndpoint(db: Database, keys: Keys, merchantId: number): Promise<Endpoint | undefined> {
  const row = await findEndpoint(db, merchantId);
  if (row === undefined) return undefined;
  const { secretWrapped, ...endpoint } = row;
  const secret = await keys.kek.unwrap(secretWrapped, secretIdentity(row.apiKey));
  try {
    return { ...endpoint, apiSecret: createSecretKey(secret) };
  } finally {
    secret.fill(0);
  }
}

/** Endpoints by the merchant's id. */
const ENDPOINTS: Cached<Endpoint> = {
  load: ({ db, keys }, merchantId) => openEndpoint(db, keys, Number(merchantId)),
};

/** Why a merchant has no endpoint. This counts as a failed attempt. */
interface NoEndpoint {
  fault: string;
}

/** Finds a merchant's endpoint. Never throws. */
export async function cachedEndpoint(cache: Cache, merchantId: number): Promise<Endpoint | NoEndpoint> {
  const key = String(merchantId);
  try {
    const endpoint = await cache.load(ENDPOINTS, key);
    return endpoint ?? { fault: 'the merchant has no callback address' };
  } catch {
    return { fault: 'the secret that signs could not be read' };
  }
}
