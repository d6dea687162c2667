import type { Keys } from '../keys/keys.ts';
import { shareTokenIdentity } from './store.ts';

/*
 * With a share token the verifier of cardholders gets access to a person's documents. It is
 * stored under the PAN key.
 */

export function wrapShareToken(keys: Keys, cardholderNo: string, token: string): Buffer {
  const clear = Buffer.from(token, 'utf8');
  try {
    return keys.pan.wrap(clear, shareTokenIdentity(cardholderNo));
  } finally {
    clear.fill(0);
  }
}

export function unwrapShareToken(keys: Keys, cardholderNo: string, wrapped: Buffer): string {
  const clear = keys.pan.unwrap(wrapped, shareTokenIdentity(cardholderNo));
  try {
    return clear.toString('utf8');
  } finally {
    clear.fill(0);
  }
}
