import { ApiError } from '../api-error.ts';
import type { IssuerActor, IssuerScope } from '../audit/actor.ts';
import { auditIssuer } from '../audit/append.ts';
import type { Services } from '../services.ts';
import { type Personal, wrapPersonal } from './personal.ts';
import { setPersonal } from './store.ts';

/**
 * Stores a cardholder's birth date and phone, wrapped. They replace what was stored before;
 * an absent one is deleted. Errors: 1004, 2002.
 */
export async function supplyPersonal(
  { db, keys, clock }: Services,
  { issuerId, merchantIds }: IssuerScope,
  cardholderNo: string,
  personal: Personal,
  by: IssuerActor,
): Promise<void> {
  const wrapped = wrapPersonal(keys, cardholderNo, personal);
  const now = clock();
  await db.transaction(async (tx) => {
    if (!(await setPersonal(tx, merchantIds, cardholderNo, wrapped))) throw new ApiError('cardholderMissing');
    const fields = [
      ...(personal.birthDate === undefined ? [] : ['birth_date']),
      ...(personal.phone === undefined ? [] : ['phone']),
    ];
    const details = { cardholder_no: cardholderNo, fields };
    await auditIssuer(tx, issuerId, { atMs: now, action: 'personal_supplied', by, details });
  });
}
