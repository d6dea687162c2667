import { InvalidArgumentError, Option } from 'commander';
import { type KeyPlace, NOTICED_WITHIN_MS } from '../custody/change-key-file.ts';
import { clockFault } from '../db/clock.ts';
import { PURPOSES, type Purpose } from '../keys/key-file.ts';
import { OperatorError } from '../operator-error.ts';
import type { OperatorPlatform } from './output.ts';

/** What several key commands need. */

export const PURPOSE_NAMES = Object.keys(PURPOSES) as Purpose[];

export function requirePurpose(given: string): Purpose {
  const purpose = PURPOSE_NAMES.find((name) => name === given);
  if (purpose === undefined) throw new OperatorError(`${given} is not one of ${PURPOSE_NAMES.join(', ')}`);
  return purpose;
}

export function placeOf({ db, config, source, now }: OperatorPlatform): KeyPlace {
  return { db, keyFile: config.keyFile, source, now };
}

/**
 * Throws an OperatorError if this machine's clock is wrong. A new key is active from an instant of
 * this clock, which every process compares with its own.
 */
export async function requireRightClock({ db, now }: OperatorPlatform): Promise<void> {
  const fault = await clockFault(db, now);
  if (fault !== undefined) throw new OperatorError(`${fault}; nothing was changed`);
}

/** A cluster whose key files are copied by hand needs more than the default. */
export function activeInOption(): Option {
  return new Option(
    '--active-in <seconds>',
    'how long the new key is pending: by then every process must have the key file',
  )
    .argParser(readSeconds)
    .default(NOTICED_WITHIN_MS / 1000);
}

export function expiryOrderOption(): Option {
  return new Option('--expiry-order <order>', 'the order in which a CVV key takes the expiry').choices([
    'YYMM',
    'MMYY',
  ]);
}

function readSeconds(given: string): number {
  if (!/^\d{1,7}$/.test(given)) throw new InvalidArgumentError('That is not a number of seconds.');
  return Number(given);
}
