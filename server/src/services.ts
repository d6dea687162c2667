import type { Logger } from 'pino';
import { findCaller, type KnownCredential } from './auth/callers.ts';
import { createGateMemory, type GateMemory, type Memory } from './auth/gate-memory.ts';
import type { Config } from './config.ts';
import type { Database } from './db/database.ts';
import { createRateLimit, type RateLimit } from './http/rate-limit.ts';
import { findIssuer, type Issuer } from './issuer/store.ts';
import { createZoneKeys, type ZoneKeys } from './issuer/zone-keys.ts';
import type { Keys } from './keys/keys.ts';
import { createPinStore, type PinStore } from './pins/store.ts';

/** Unix milliseconds. The only way to learn the time. */
type Clock = () => number;

/** What the features are given. One plain object, passed as an argument. */
export interface Services {
  config: Config;
  clock: Clock;
  log: Logger;
  db: Database;
  keys: Keys;
  gate: GateMemory;
  /** By Api-Key. */
  callers: Memory<KnownCredential>;
  /** By the hash of their secret. */
  issuers: Memory<Issuer>;
  zoneKeys: ZoneKeys;
  pins: PinStore;
  limits: { failedAuth: RateLimit; callsPerCredential: RateLimit; pinSetsPerCard: RateLimit };
}

export function buildServices(given: Pick<Services, 'config' | 'clock' | 'log' | 'db' | 'keys'>): Services {
  const { config, db, keys } = given;
  const gate = createGateMemory(db, keys);
  return {
    ...given,
    gate,
    callers: gate.of((apiKey) => findCaller(db, keys, apiKey)),
    issuers: gate.of((secretHash) => findIssuer(db, secretHash)),
    zoneKeys: createZoneKeys(db, keys),
    pins: createPinStore(db, config.sharedWrites),
    limits: {
      failedAuth: createRateLimit(config.limits.failedAuthPerMinute),
      callsPerCredential: createRateLimit(config.limits.callsPerCredentialPerMinute),
      pinSetsPerCard: createRateLimit(config.limits.pinSetsPerCardPerMinute),
    },
  };
}
