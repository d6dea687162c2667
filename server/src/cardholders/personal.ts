import { ApiError } from '../errors.ts';
import type { Keys } from '../keys/keys.ts';
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
  if (birthDate !== undefined && !isDate(birthDate)) throw new ApiError('invalidParameter', { field: 'birth_date' });
  if (birthDate === undefined && phone === undefined) return null;
  const clear = Buffer.from(JSON.stringify({ birth_date: birthDate, phone }), 'utf8');
  try {
    return keys.pan.wrap(clear, personalIdentity(cardholderNo));
  } finally {
    clear.fill(0);
  }
}

/** Date.parse takes 30 February for 2 March: what it read must be what was written. */
function isDate(text: string): boolean {
  const ms = Date.parse(`${text}T00:00:00Z`);
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(text);
}
