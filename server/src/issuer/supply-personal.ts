import { auditIssuer, detailsOf } from '../audit/append.ts';
import { personalIdentity } from '../cardholders/store.ts';
import { ApiError } from '../errors.ts';
import type { Services } from '../services.ts';
import type { IssuerOrigin } from './authenticate.ts';
import { type Issuer, setPersonal } from './store.ts';

/** What the PIN policies look at. All of it replaces what was there. */
export interface Personal {
  birthDate: string | undefined;
  phone: string | undefined;
}

/** Stores a cardholder's birth date and phone, wrapped; without either, nothing is kept of them. Errors: 1004, 2002. */
export async function supplyPersonal(
  { db, keys, clock }: Services,
  { issuerId, merchantIds }: Issuer,
  cardholderNo: string,
  { birthDate, phone }: Personal,
  origin: IssuerOrigin,
): Promise<void> {
  if (birthDate !== undefined && !isDate(birthDate)) throw new ApiError('invalidParameter', { field: 'birth_date' });
  const given = birthDate !== undefined || phone !== undefined;
  const clear = Buffer.from(JSON.stringify({ birth_date: birthDate, phone }), 'utf8');
  const wrapped = given ? keys.pan.wrap(clear, personalIdentity(cardholderNo)) : null;
  clear.fill(0);
  const now = clock();
  await db.transaction(async (tx) => {
    if (!(await setPersonal(tx, merchantIds, cardholderNo, wrapped))) throw new ApiError('cardholderMissing');
    const fields = [birthDate !== undefined && 'birth_date', phone !== undefined && 'phone'].filter(Boolean);
    await auditIssuer(tx, issuerId, now, 'personal_supplied', detailsOf(origin, { cardholder_no: cardholderNo, fields }));
  });
}

/** Date.parse takes 30 February for 2 March: what it read must be what was written. */
function isDate(text: string): boolean {
  const ms = Date.parse(`${text}T00:00:00Z`);
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(text);
}
