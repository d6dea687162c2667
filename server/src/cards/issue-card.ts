import { auditCard, detailsOf } from '../audit/append.ts';
import type { Queryable } from '../db/database.ts';
import { ApiError } from '../errors.ts';
import type { Keys } from '../keys/keys.ts';
import { type CardBin, findBin } from '../products/store.ts';
import type { Services } from '../services.ts';
import { setDecided } from './application-store.ts';
import { type By, changeStatus } from './change-status.ts';
import { type IssuerScope, lockApplication } from './lock-application.ts';
import { type CardStatus, type LockedCard, panIdentity, type StoredPan, setPan } from './store.ts';
import { claimPan, makePan, requireExpiry, requirePanOf, usualExpiry } from './store-pan.ts';

/** What the issuer's card system is to print or hand out. */
export interface IssuedCard {
  cardNo: string;
  status: CardStatus;
  pan: string;
  /** YYMM. */
  expiry: string;
  cvv2: string;
}

/**
 * Issues a card that was applied for: a physical one waits for its activation, a virtual one is activated. PAN and expiry are the
 * issuer's, or made here. Told once more of a card that is issued it gives the same answer, and audits that, unless that card has another PAN or expiry.
 * Errors: 4001, 4005, 1004 on `pan` or `expiry`, 5005, 5006.
 */
export async function issueCard(
  { db, keys, clock }: Pick<Services, 'db' | 'keys' | 'clock'>,
  issuer: IssuerScope,
  request: { cardNo: string; pan: string | undefined; expiry: string | undefined },
  by: By,
): Promise<IssuedCard> {
  const now = clock();
  return db.transaction(async (tx) => {
    const { card, cardBinNo } = await lockApplication(tx, issuer, request.cardNo);
    if (card.status !== 'Pending') {
      const answer = issuedBefore(keys, card, request);
      // PAN and CVV2 once more: a reading like any other.
      await auditCard(tx, card.merchantId, card.cardNo, now, 'card_private_read', detailsOf(by));
      return answer;
    }

    const stored = await panFor(tx, keys, card, (await findBin(tx, cardBinNo)) as CardBin, request, now);
    await setPan(tx, card.merchantId, card.cardNo, stored);
    await setDecided(tx, card.merchantId, card.cardNo, now);
    const transition = card.cardType === 'Physical' ? 'issuePhysical' : 'issueVirtual';
    const status = await changeStatus(tx, card, transition, by, now);
    return issued(keys, card.cardNo, status, stored);
  });
}

async function panFor(
  tx: Queryable,
  keys: Keys,
  { cardNo }: LockedCard,
  bin: CardBin,
  { pan, expiry }: { pan: string | undefined; expiry: string | undefined },
  now: number,
): Promise<StoredPan> {
  if (expiry !== undefined) requireExpiry(expiry, now);
  const expiryYymm = expiry ?? usualExpiry(now);
  if (pan === undefined) return makePan(tx, keys, cardNo, bin, expiryYymm);
  requirePanOf(bin, pan);
  return claimPan(tx, keys, cardNo, pan, expiryYymm);
}

function issuedBefore(keys: Keys, card: LockedCard, request: { pan: string | undefined; expiry: string | undefined }): IssuedCard {
  const { panWrapped, expiryYymm, status } = card;
  if (panWrapped === null || expiryYymm === null || status === 'Delete') throw new ApiError('cardStatusUnfit');
  const answer = issued(keys, card.cardNo, status, { panWrapped, expiryYymm, cvkVersion: card.cvkVersion });
  const same = (request.pan ?? answer.pan) === answer.pan && (request.expiry ?? answer.expiry) === answer.expiry;
  if (!same) throw new ApiError('cardStatusUnfit');
  return answer;
}

function issued(
  keys: Keys,
  cardNo: string,
  status: CardStatus,
  { panWrapped, expiryYymm, cvkVersion }: Pick<StoredPan, 'panWrapped' | 'expiryYymm' | 'cvkVersion'>,
): IssuedCard {
  const clear = keys.pan.unwrap(panWrapped, panIdentity(cardNo));
  const pan = clear.toString('latin1');
  clear.fill(0);
  return { cardNo, status, pan, expiry: expiryYymm, cvv2: keys.cvv.cvv2(cvkVersion, pan, expiryYymm) };
}
