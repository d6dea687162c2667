import { ApiError } from '../errors.ts';
import type { Keys } from '../keys/keys.ts';
import { readUtcDate } from '../utc-time.ts';
import { personalIdentity } from './store.ts';

/** What the PIN policies look at. */
export interface Personal {
  /** `yyyy-MM-dd`. */
  birthDate: string | undefined;
  /** Digits alone. */
  phone: string | undefined;
}

/** The form in which they are stored; null without either. Errors: 1004 on `birth_date`. */
export function wrapPersonal(keys: Keys, cardholderNo: string, { birthDate, phone }: Personal): Buffer | null {
  if (birthDate !== undefined && readUtcDate(birthDate) === undefined) throw new ApiError('invalidParameter', { field: 'birth_date' });
  if (birthDate === undefined && phone === undefined) return null;
  const clear = Buffer.from(JSON.stringify({ birth_date: birthDate, phone }), 'utf8');
  try {
    return keys.pan.wrap(clear, personalIdentity(cardholderNo));
  } finally {
    clear.fill(0);
  }
}
