import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { type Cache, createCache } from './db/cache.ts';
import type { Database } from './db/database.ts';
import type { Keys } from './keys/keys.ts';
import { createRateLimit, type RateLimit } from './rate-limit.ts';

/** Unix milliseconds. The only way to learn the time. */
type Clock = () => number;

/** What the features are given: one plain object, passed as an argument. */
export interface Services {
  config: Config;
  clock: Clock;
  log: Logger;
  db: Database;
  keys: Keys;
  cache: Cache;
  limits: { failedAuth: RateLimit; callsPerCredential: RateLimit; pinSetsPerCard: RateLimit };
}

export function buildServices(given: Pick<Services, 'config' | 'clock' | 'log' | 'db' | 'keys'>): Services {
  const { config, db, keys } = given;
  return {
    ...given,
    cache: createCache(db, keys),
    limits: {
      failedAuth: createRateLimit(config.limits.failedAuthPerMinute),
      callsPerCredential: createRateLimit(config.limits.callsPerCredentialPerMinute),
      pinSetsPerCard: createRateLimit(config.limits.pinSetsPerCardPerMinute),
    },
  };
}
