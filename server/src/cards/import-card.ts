import { auditCard, auditCardholder, detailsOf } from '../audit/append.ts';
import { requireApproved } from '../cardholders/require-approved.ts';
import { findByUniqueNo, findCardholder, insertCardholder } from '../cardholders/store.ts';
import type { Queryable } from '../db/database.ts';
import { ApiError } from '../errors.ts';
import { orderNumber } from '../order-number.ts';
import { findBinOfPan } from '../products/store.ts';
import type { Services } from '../services.ts';
import { findApplied } from './application-store.ts';
import type { By } from './change-status.ts';
import { type CardStatus, type CardType, type FrozenBy, findPrivate, insertCard, panIdentity } from './store.ts';
import { requireMonth, requirePanOf, tryPan } from './store-pan.ts';

/** A card that is out already. */
export interface ImportedCard {
  /** Its number so far, where merchants know one. */
  cardNo: string | undefined;
  cardUniqueNo: string;
  /** Of the two, one; a cardholder of an unknown unique number is made, `Approved`. */
  cardholderNo: string | undefined;
  cardholderUniqueNo: string | undefined;
  email: string | undefined;
  cardType: CardType;
  status: Extract<CardStatus, 'ToActivate' | 'Activated' | 'Frozen'>;
  /** Whose freeze it is, of a frozen one. */
  frozenBy: FrozenBy;
  cardName: string | undefined;
  pan: string;
  /** YYMM. */
  expiry: string;
}

export interface Imported {
  cardNo: string;
  cardholderNo: string;
  /** False where the very card was there already: nothing changed. */
  added: boolean;
}

const MOST_ATTEMPTS = 10;

/**
 * Brings a card in that is out already, of the issuer's BIN, to one of its merchants; with its cardholder, if that is new. The same card once
 * more changes nothing. Errors: 1004 on `pan`, `expiry` or `cardholder_no`, 2002, 2004, 2005, 2011, 4002 for a unique or card number that another card has, 5005.
 */
export async function importCard(
  { db, keys, clock }: Pick<Services, 'db' | 'keys' | 'clock'>,
  issuerId: number,
  merchantId: number,
  card: ImportedCard,
  by: By,
): Promise<Imported> {
  const { cardUniqueNo, cardType, status, frozenBy, pan, expiry } = card;
  requireMonth(expiry);
  const bin = await findBinOfPan(db, issuerId, pan);
  if (bin === undefined) throw new ApiError('invalidParameter', { field: 'pan' });
  requirePanOf(bin, pan);
  const now = clock();
  return db.transaction(async (tx) => {
    const cardholderNo = await cardholderFor(tx, merchantId, card, by, now);
    const there = await findThere(tx, cardholderNo);
    if (there !== undefined) return there;
    for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
      const cardNo = card.cardNo ?? orderNumber('C', now);
      const stored = await tryPan(tx, keys, cardNo, pan, expiry);
      const { cardBinNo, organization } = bin;
      const row = { merchantId, cardNo, cardUniqueNo, cardholderNo, cardType, status, frozenBy, cardBinNo, organization, createdAtMs: now };
      if (stored !== undefined && (await insertCard(tx, { ...row, ...stored, cardName: card.cardName ?? '' }))) {
        await auditCard(tx, merchantId, cardNo, now, 'card_created', detailsOf(by, { status, card_type: cardType, imported: true }));
        return { cardNo, cardholderNo, added: true };
      }
      // Another request may have brought the very card, or its unique number, a moment ago.
      const since = await findThere(tx, cardholderNo);
      if (since !== undefined) return since;
      if (stored === undefined) throw new ApiError('panTaken');
      if (card.cardNo !== undefined) throw new ApiError('cardUniqueNoTaken');
    }
    throw new Error('no card number was free');
  });

  /** The very card, where it is there already. Errors: 4002 where the unique number is another card's. */
  async function findThere(tx: Queryable, cardholderNo: string): Promise<Imported | undefined> {
    const there = await findApplied(tx, merchantId, cardUniqueNo);
    if (there === undefined) return undefined;
    const same = there.cardholderNo === cardholderNo && there.cardType === cardType && (card.cardNo ?? there.cardNo) === there.cardNo;
    if (!same || !(await hasPan(tx, there.cardNo))) throw new ApiError('cardUniqueNoTaken');
    return { cardNo: there.cardNo, cardholderNo, added: false };
  }

  async function hasPan(tx: Queryable, cardNo: string): Promise<boolean> {
    const stored = await findPrivate(tx, merchantId, cardNo);
    if (stored === undefined || stored.panWrapped === null) return false;
    const clear = keys.pan.unwrap(stored.panWrapped, panIdentity(cardNo));
    const same = clear.equals(Buffer.from(pan, 'latin1'));
    clear.fill(0);
    return same && stored.expiryYymm === expiry;
  }
}

async function cardholderFor(tx: Queryable, merchantId: number, card: ImportedCard, by: By, now: number): Promise<string> {
  const { cardholderNo, cardholderUniqueNo, email } = card;
  if (cardholderUniqueNo === undefined) {
    if (cardholderNo === undefined) throw new ApiError('invalidParameter', { field: 'cardholder_no' });
    requireApproved((await findCardholder(tx, merchantId, cardholderNo))?.status);
    return cardholderNo;
  }
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
    const there = await findByUniqueNo(tx, merchantId, cardholderUniqueNo);
    if (there !== undefined) {
      if ((cardholderNo ?? there.cardholderNo) !== there.cardholderNo) throw new ApiError('cardholderUniqueNoMismatch');
      requireApproved(there.status);
      return there.cardholderNo;
    }
    const fresh = cardholderNo ?? orderNumber('U', now);
    const cardholder = { merchantId, cardholderNo: fresh, cardholderUniqueNo, status: 'Approved' as const, createdAtMs: now };
    if (await insertCardholder(tx, { ...cardholder, ...(email !== undefined && { email }) })) {
      await auditCardholder(tx, merchantId, fresh, now, 'cardholder_created', detailsOf(by, { imported: true }));
      return fresh;
    }
    if (cardholderNo !== undefined && (await findByUniqueNo(tx, merchantId, cardholderUniqueNo)) === undefined)
      throw new ApiError('cardholderUniqueNoMismatch'); // the number is somebody else's
  }
  throw new Error('no cardholder number was free');
}
