import type { CardType } from '@pinward/contract/vocabulary';
import { ApiError } from '../api-error.ts';
import { auditDetails, type MerchantActor } from '../audit/actor.ts';
import { requireApproved } from '../cardholders/require-approved.ts';
import { findCardholder } from '../cardholders/store.ts';
import type { Keys } from '../keys/keys.ts';
import type { Caller } from '../merchants/caller.ts';
import { orderNumber } from '../order-number.ts';
import { findOffer, type Offer } from '../products/store.ts';
import type { Services } from '../services.ts';
import { type AddressInfo, type GivenAddress, judgeAddress } from './address.ts';
import { type Applied, addressIdentity, findApplied, insertApplication } from './application-store.ts';

export interface CardApplication {
  /** The merchant's integration mode decides which of the two the call must give. */
  cardBinNo: string | undefined;
  packageNo: string | undefined;
  cardholderNo: string;
  cardUniqueNo: string;
  cardType: CardType;
  address: GivenAddress | undefined;
}

const ATTEMPTS_LIMIT = 10;

/**
 * Applies for a card. Its issuer then issues or refuses it (issue-card.ts, fail-card.ts).
 * The same application again returns the same answer and makes no second card. Errors, in
 * this order: 1012, 1004, those of the address (address.ts), 4002, 2002, 2004, 2005, 4004,
 * 4006.
 */
export async function applyCard(
  { db, keys, clock }: Services,
  caller: Caller,
  application: CardApplication,
  by: MerchantActor,
): Promise<{ cardNo: string }> {
  const { merchantId } = caller;
  const { cardholderNo, cardUniqueNo, cardType } = application;
  const product = productOf(caller, application);
  const address = judgeAddress(application.address, cardType);

  for (let attempt = 0; attempt < ATTEMPTS_LIMIT; attempt++) {
    const [applied, cardholder, offer] = await Promise.all([
      findApplied(db, merchantId, cardUniqueNo),
      findCardholder(db, merchantId, cardholderNo),
      findOffer(db, merchantId, product),
    ]);
    if (applied !== undefined) {
      if (!isSame(keys, applied, application, address)) throw new ApiError('cardUniqueNoTaken');
      return { cardNo: applied.cardNo };
    }
    requireApproved(cardholder?.status);
    requireType(offer, cardType);

    const now = clock();
    const cardNo = orderNumber('C', now);
    const stored = await insertApplication(db, {
      merchantId,
      cardNo,
      cardUniqueNo,
      cardholderNo,
      cardType,
      offer,
      addressWrapped: address && wrapAddress(keys, cardNo, address),
      atMs: now,
      details: auditDetails(by, {
        cardholder_no: cardholderNo,
        card_type: cardType,
        card_bin_no: offer.cardBinNo,
        package_no: offer.packageNo ?? undefined,
      }),
    });
    if (stored) return { cardNo };
    // Another request has just taken the unique number or the card number: look again.
  }
  throw new Error('no card number was free');
}

function productOf(
  { integrationMode }: Caller,
  { cardBinNo, packageNo }: CardApplication,
): { cardBinNo: string } | { packageNo: string } {
  const byBin = integrationMode === 'AUTHORIZATION';
  if ((byBin ? packageNo : cardBinNo) !== undefined) throw new ApiError('modeUnsupported');
  if (byBin && cardBinNo !== undefined) return { cardBinNo };
  if (!byBin && packageNo !== undefined) return { packageNo };
  throw new ApiError('invalidParameter', { field: byBin ? 'card_bin_no' : 'package_no' });
}

function requireType(offer: Offer | undefined, cardType: CardType): asserts offer is Offer {
  if (offer === undefined) throw new ApiError('productMissing');
  if (!offer.cardTypes.includes(cardType)) throw new ApiError('cardTypeUnsupported');
}

function wrapAddress(keys: Keys, cardNo: string, address: AddressInfo): Buffer {
  const clear = Buffer.from(JSON.stringify(address), 'utf8');
  try {
    return keys.pan.wrap(clear, addressIdentity(cardNo));
  } finally {
    clear.fill(0);
  }
}

/** The address of an application, as `judgeAddress` returned it. */
export function unwrapAddress(keys: Keys, cardNo: string, wrapped: Buffer): AddressInfo {
  const clear = keys.pan.unwrap(wrapped, addressIdentity(cardNo));
  try {
    return JSON.parse(clear.toString('utf8')) as AddressInfo;
  } finally {
    clear.fill(0);
  }
}

function isSame(keys: Keys, applied: Applied, application: CardApplication, address: AddressInfo | undefined): boolean {
  const { cardNo, addressWrapped } = applied;
  const stored = addressWrapped === null ? undefined : unwrapAddress(keys, cardNo, addressWrapped);
  // A card by package has its package's BIN too, which the application did not name.
  const isSameProduct =
    application.packageNo === undefined
      ? applied.cardBinNo === application.cardBinNo
      : applied.packageNo === application.packageNo;
  return (
    applied.appliedFor &&
    applied.cardholderNo === application.cardholderNo &&
    applied.cardType === application.cardType &&
    isSameProduct &&
    JSON.stringify(stored) === JSON.stringify(address)
  );
}
