import { auditIssuer, detailsOf } from '../audit/append.ts';
import { type Personal, wrapPersonal } from '../cardholders/personal.ts';
import { ApiError } from '../errors.ts';
import type { Services } from '../services.ts';
import type { IssuerOrigin } from './authenticate.ts';
import { type Issuer, setPersonal } from './store.ts';

/** Stores a cardholder's birth date and phone, wrapped, in place of what was there; without either, nothing is kept of them. Errors: 1004, 2002. */
export async function supplyPersonal(
  { db, keys, clock }: Services,
  { issuerId, merchantIds }: Issuer,
  cardholderNo: string,
  personal: Personal,
  origin: IssuerOrigin,
): Promise<void> {
  const wrapped = wrapPersonal(keys, cardholderNo, personal);
  const now = clock();
  await db.transaction(async (tx) => {
    if (!(await setPersonal(tx, merchantIds, cardholderNo, wrapped))) throw new ApiError('cardholderMissing');
    const fields = [personal.birthDate !== undefined && 'birth_date', personal.phone !== undefined && 'phone'].filter(Boolean);
    await auditIssuer(tx, issuerId, now, 'personal_supplied', detailsOf(origin, { cardholder_no: cardholderNo, fields }));
  });
}
