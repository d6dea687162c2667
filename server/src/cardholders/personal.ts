import { ApiError } from '../api-error.ts';
import type { Keys } from '../keys/keys.ts';
import { readUtcDate } from '../utc-time.ts';
import { personalIdentity } from './store.ts';

/** What the PIN policies compare a PIN with. */
export interface Personal {
  /** `yyyy-MM-dd`. */
  birthDate?: string | undefined;
  /** Its digits count; `wrapPersonal` leaves out what stands between them. */
  phone?: string | undefined;
}

/**
 * Wraps personal data under the PAN key, as they are stored; null if there are none.
 * Errors: 1004 on `birth_date`.
 */
export function wrapPersonal(keys: Keys, cardholderNo: string, { birthDate, phone }: Personal): Buffer | null {
  if (birthDate !== undefined && readUtcDate(birthDate) === undefined)
    throw new ApiError('invalidParameter', { field: 'birth_date' });
  if (birthDate === undefined && phone === undefined) return null;
  const clear = Buffer.from(JSON.stringify({ birth_date: birthDate, phone: phone?.replace(/\D/g, '') }), 'utf8');
  try {
    return keys.pan.wrap(clear, personalIdentity(cardholderNo));
  } finally {
    clear.fill(0);
  }
}

/** Unwraps what `wrapPersonal` wrapped. */
export function unwrapPersonal(keys: Keys, cardholderNo: string, wrapped: Buffer): Personal {
  const clear = keys.pan.unwrap(wrapped, personalIdentity(cardholderNo));
  try {
    const { birth_date, phone } = JSON.parse(clear.toString('utf8')) as { birth_date?: string; phone?: string };
    return { birthDate: birth_date, phone };
  } finally {
    clear.fill(0);
  }
}
