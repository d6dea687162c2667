import type { CardType } from '@pinward/contract/vocabulary';
import { auditPlatform } from '../audit/append.ts';
import type { Database } from '../db/database.ts';
import { OperatorError } from '../operator-error.ts';
import { randomText } from '../random-text.ts';
import { requireName } from '../text.ts';
import { type CardBin, insertBin, lockBins, NO_LIMITS } from './store.ts';

export interface NewBin {
  /** Undefined: a new one is made. */
  cardBinNo?: string;
  issuerNo: string;
  /** The first digits of its PANs. */
  bin: string;
  panDigits: number;
  organization: string;
  cardTypes: CardType[];
  currencies: string[];
}

/**
 * Creates a BIN of an issuer. The merchants that the issuer is bound to may apply for its cards.
 * No PAN may begin with the BINs of two issuers. Returns the BIN's number.
 */
export async function createBin({ db, now }: { db: Database; now: () => number }, given: NewBin): Promise<string> {
  const { issuerNo, bin: digits, panDigits, organization, cardTypes, currencies } = given;
  requireName('an organization', organization);
  for (const currency of currencies) requireName('a currency', currency);
  if (given.cardBinNo !== undefined && !/^[A-Za-z0-9_-]{1,64}$/.test(given.cardBinNo))
    throw new OperatorError('a number has 1 to 64 letters, digits, - and _');
  if (!/^[0-9]{6,11}$/.test(digits)) throw new OperatorError('a BIN has 6 to 11 digits');
  if (panDigits < digits.length + 2) throw new OperatorError('the PAN is too short for the BIN');
  const cardBinNo = given.cardBinNo ?? `B${randomText(12)}`;
  const bin: CardBin = {
    cardBinNo,
    bin: digits,
    panDigits,
    organization,
    supportPhysical: cardTypes.includes('Physical'),
    supportVirtual: cardTypes.includes('Virtual'),
    currencies,
    limits: NO_LIMITS,
  };
  await db.transaction(async (tx) => {
    const other = await lockBins(tx, issuerNo, digits);
    if (other !== undefined) throw new OperatorError(`the BIN overlaps with one of issuer ${other}`);
    const stored = await insertBin(tx, issuerNo, bin, now());
    if (!stored) throw new OperatorError(`there is no issuer ${issuerNo}`);
    const details = { card_bin_no: cardBinNo, bin: digits, issuer: issuerNo };
    await auditPlatform(tx, { atMs: now(), action: 'product_created', by: 'operator', details });
  });
  return cardBinNo;
}
