import type { CardStatus } from '@pinward/contract/card-status';
import type { CardType, Freezer } from '@pinward/contract/vocabulary';
import { ApiError } from '../api-error.ts';
import type { Actor } from '../audit/actor.ts';
import { auditCard, auditCardholder } from '../audit/append.ts';
import { requireApproved } from '../cardholders/require-approved.ts';
import { findByUniqueNo, findCardholder, insertCardholder } from '../cardholders/store.ts';
import type { Queryable } from '../db/queryable.ts';
import type { Keys } from '../keys/keys.ts';
import { orderNumber } from '../order-number.ts';
import { type CardBin, findBinOfPan } from '../products/store.ts';
import type { Services } from '../services.ts';
import { findApplied } from './application-store.ts';
import { requireMonth } from './expiry.ts';
import { requirePanOf, tryPan } from './pan.ts';
import { findPrivateCard, insertCard, panIdentity } from './store.ts';

/** A card that exists elsewhere already. */
export interface ImportedCard {
  /** The number under which merchants know it, if there is one. */
  cardNo: string | undefined;
  cardUniqueNo: string;
  /**
   * One of the two names the cardholder. An unknown unique number makes a new cardholder,
   * which is `Approved`.
   */
  cardholderNo: string | undefined;
  cardholderUniqueNo: string | undefined;
  email: string | undefined;
  cardType: CardType;
  status: Extract<CardStatus, 'ToActivate' | 'Activated' | 'Frozen'>;
  /** Who has frozen it, if it is `Frozen`. */
  frozenBy: Freezer;
  cardName: string | undefined;
  pan: string;
  /** YYMM. */
  expiry: string;
}

export interface Imported {
  cardNo: string;
  cardholderNo: string;
  /** False if this card existed already: then nothing changed. */
  added: boolean;
}

/** Where a card is imported to, and who imports it. */
interface Target {
  merchantId: number;
  cardholderNo: string;
  by: Actor;
  atMs: number;
}

const ATTEMPTS_LIMIT = 10;

/**
 * Imports a card that exists elsewhere already, under a BIN of the issuer, for one of its
 * merchants; with its cardholder, if that is new. The same card again changes nothing.
 * Errors: 1004 on `pan`, `expiry` or `cardholder_no`, 2002, 2004, 2005, 2011, 4002 for a
 * unique or card number that another card has, 5005.
 */
export async function importCard(
  { db, keys, clock }: Pick<Services, 'db' | 'keys' | 'clock'>,
  { issuerId, merchantId }: { issuerId: number; merchantId: number },
  card: ImportedCard,
  by: Actor,
): Promise<Imported> {
  requireMonth(card.expiry);
  const bin = await findBinOfPan(db, issuerId, card.pan);
  if (bin === undefined) throw new ApiError('invalidParameter', { field: 'pan' });
  requirePanOf(bin, card.pan);
  const atMs = clock();
  return db.transaction(async (tx) => {
    const cardholderNo = await findOrAddCardholder(tx, card, { merchantId, by, atMs });
    const target = { merchantId, cardholderNo, by, atMs };
    return (await findImported(tx, keys, card, target)) ?? addCard(tx, keys, { card, bin }, target);
  });
}

async function addCard(
  tx: Queryable,
  keys: Keys,
  { card, bin }: { card: ImportedCard; bin: CardBin },
  target: Target,
): Promise<Imported> {
  const { merchantId, cardholderNo, by, atMs } = target;
  const { cardUniqueNo, cardType, status, frozenBy, cardName = '', pan, expiry: expiryYymm } = card;
  const { cardBinNo, organization } = bin;
  for (let attempt = 0; attempt < ATTEMPTS_LIMIT; attempt++) {
    const cardNo = card.cardNo ?? orderNumber('C', atMs);
    const storedPan = await tryPan(tx, keys, { cardNo, pan, expiryYymm }, 'wait');
    if (storedPan !== undefined) {
      const numbers = { merchantId, cardNo, cardUniqueNo, cardholderNo, cardBinNo };
      const about = { cardType, status, frozenBy, cardName, organization, createdAtMs: atMs };
      if (await insertCard(tx, { ...numbers, ...about, ...storedPan })) {
        const details = { status, card_type: cardType, imported: true };
        await auditCard(tx, { merchantId, cardNo }, { atMs, action: 'card_created', by, details });
        return { cardNo, cardholderNo, added: true };
      }
    }
    // Another request may just have imported this card, or taken its unique number.
    const imported = await findImported(tx, keys, card, target);
    if (imported !== undefined) return imported;
    if (storedPan === undefined) throw new ApiError('panTaken');
    if (card.cardNo !== undefined) throw new ApiError('cardUniqueNoTaken');
  }
  throw new Error('no card number was free');
}

/** This very card, if it exists already. Errors: 4002 if its unique number is another card's. */
async function findImported(
  tx: Queryable,
  keys: Keys,
  card: ImportedCard,
  { merchantId, cardholderNo }: Target,
): Promise<Imported | undefined> {
  const existing = await findApplied(tx, merchantId, card.cardUniqueNo);
  if (existing === undefined) return undefined;
  const { cardNo } = existing;
  const same =
    existing.cardholderNo === cardholderNo &&
    existing.cardType === card.cardType &&
    (card.cardNo ?? cardNo) === cardNo &&
    (await hasPanOf(tx, keys, card, { merchantId, cardNo }));
  if (!same) throw new ApiError('cardUniqueNoTaken');
  return { cardNo, cardholderNo, added: false };
}

/** Whether a stored card has the PAN and expiry of an imported one. */
async function hasPanOf(
  tx: Queryable,
  keys: Keys,
  { pan, expiry }: ImportedCard,
  { merchantId, cardNo }: { merchantId: number; cardNo: string },
): Promise<boolean> {
  const stored = await findPrivateCard(tx, merchantId, cardNo);
  if (stored === undefined || stored.panWrapped === null) return false;
  const clear = keys.pan.unwrap(stored.panWrapped, panIdentity(cardNo));
  const same = clear.equals(Buffer.from(pan, 'latin1'));
  clear.fill(0);
  return same && stored.expiryYymm === expiry;
}

/**
 * The number of the card's cardholder, who must be `Approved`. Makes a cardholder for an
 * unknown unique number.
 */
async function findOrAddCardholder(
  tx: Queryable,
  { cardholderNo, cardholderUniqueNo, email }: ImportedCard,
  { merchantId, by, atMs }: Omit<Target, 'cardholderNo'>,
): Promise<string> {
  if (cardholderUniqueNo === undefined) {
    if (cardholderNo === undefined) throw new ApiError('invalidParameter', { field: 'cardholder_no' });
    requireApproved((await findCardholder(tx, merchantId, cardholderNo))?.status);
    return cardholderNo;
  }
  for (let attempt = 0; attempt < ATTEMPTS_LIMIT; attempt++) {
    const existing = await findByUniqueNo(tx, merchantId, cardholderUniqueNo);
    if (existing !== undefined) {
      if ((cardholderNo ?? existing.cardholderNo) !== existing.cardholderNo)
        throw new ApiError('cardholderUniqueNoMismatch');
      requireApproved(existing.status);
      return existing.cardholderNo;
    }
    const key = { merchantId, cardholderNo: cardholderNo ?? orderNumber('U', atMs) };
    if (await insertCardholder(tx, { ...key, cardholderUniqueNo, email, status: 'Approved', createdAtMs: atMs })) {
      const details = { imported: true };
      await auditCardholder(tx, key, { atMs, action: 'cardholder_created', by, details });
      return key.cardholderNo;
    }
    // The given number is another cardholder's, unless another request has just added this one.
    if (cardholderNo !== undefined && (await findByUniqueNo(tx, merchantId, cardholderUniqueNo)) === undefined)
      throw new ApiError('cardholderUniqueNoMismatch');
  }
  throw new Error('no cardholder number was free');
}
