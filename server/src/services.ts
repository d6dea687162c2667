import type { Logger } from 'pino';
import { type Callers, createCallers } from './auth/callers.ts';
import type { Config } from './config.ts';
import type { Database } from './db/database.ts';
import { createRateLimit, type RateLimit } from './http/rate-limit.ts';
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
  callers: Callers;
  pins: PinStore;
  limits: { failedAuth: RateLimit; callsPerCredential: RateLimit; pinSetsPerCard: RateLimit };
}

export function buildServices(given: Pick<Services, 'config' | 'clock' | 'log' | 'db' | 'keys'>): Services {
  const { config, db, keys } = given;
  return {
    ...given,
    callers: createCallers(db, keys),
    pins: createPinStore(db, config.sharedWrites),
    limits: {
      failedAuth: createRateLimit(config.limits.failedAuthPerMinute),
      callsPerCredential: createRateLimit(config.limits.callsPerCredentialPerMinute),
      pinSetsPerCard: createRateLimit(config.limits.pinSetsPerCardPerMinute),
    },
  };
}
