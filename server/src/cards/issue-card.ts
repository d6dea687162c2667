import type { CardStatus } from '@pinward/contract/card-status';
import { ApiError } from '../api-error.ts';
import type { Actor, IssuerScope } from '../audit/actor.ts';
import { auditCard } from '../audit/append.ts';
import type { Queryable } from '../db/queryable.ts';
import type { Keys } from '../keys/keys.ts';
import { type CardBin, findBin } from '../products/store.ts';
import type { Services } from '../services.ts';
import { setDecided } from './application-store.ts';
import { applyTransition } from './apply-transition.ts';
import { defaultExpiry, requireExpiry } from './expiry.ts';
import { lockApplication } from './lock-application.ts';
import { claimPan, generatePan, requirePanOf } from './pan.ts';
import { setPan } from './pan-store.ts';
import { type LockedCard, panIdentity, type StoredPan } from './store.ts';

export interface IssueRequest {
  cardNo: string;
  /** Undefined: the platform makes one. */
  pan: string | undefined;
  /** YYMM. Undefined: the platform chooses it. */
  expiry: string | undefined;
}

/** What the issuer's card system prints on the card, or shows to the cardholder. */
export interface IssuedCard {
  cardNo: string;
  status: CardStatus;
  pan: string;
  /** YYMM. */
  expiry: string;
  cvv2: string;
}

/**
 * Issues a card that was applied for: a physical card then waits for its activation, a
 * virtual card is activated. PAN and expiry are the issuer's, or are made here. The same
 * call again returns the same answer and audits it as a read; with another PAN or expiry it
 * is 4005. Errors: 4001, 4005, 1004 on `pan` or `expiry`, 5005, 5006.
 */
export async function issueCard(
  { db, keys, clock }: Pick<Services, 'db' | 'keys' | 'clock'>,
  issuer: IssuerScope,
  request: IssueRequest,
  by: Actor,
): Promise<IssuedCard> {
  const atMs = clock();
  return db.transaction(async (tx) => {
    const { card, cardBinNo } = await lockApplication(tx, issuer, request.cardNo);
    if (card.status !== 'Pending') {
      const answer = issuedBefore(keys, card, request);
      // The answer has PAN and CVV2 again, so it is audited like any other read of them.
      await auditCard(tx, card, { atMs, action: 'card_private_read', by });
      return answer;
    }

    const bin = (await findBin(tx, cardBinNo)) as CardBin;
    const stored = await panFor(tx, keys, bin, request, atMs);
    await setPan(tx, card, stored);
    await setDecided(tx, card, { atMs });
    const transition = card.cardType === 'Physical' ? 'issuePhysical' : 'issueVirtual';
    const status = await applyTransition(tx, card, { transition, by, atMs });
    return issuedCard(keys, card.cardNo, status, stored);
  });
}

async function panFor(
  tx: Queryable,
  keys: Keys,
  bin: CardBin,
  { cardNo, pan, expiry }: IssueRequest,
  nowMs: number,
): Promise<StoredPan> {
  if (expiry !== undefined) requireExpiry(expiry, nowMs);
  const expiryYymm = expiry ?? defaultExpiry(nowMs);
  if (pan === undefined) return generatePan(tx, keys, { cardNo, bin, expiryYymm });
  requirePanOf(bin, pan);
  return claimPan(tx, keys, { cardNo, pan, expiryYymm });
}

function issuedBefore(keys: Keys, card: LockedCard, request: IssueRequest): IssuedCard {
  const { cardNo, status, panWrapped, expiryYymm, cvkVersion } = card;
  if (panWrapped === null || expiryYymm === null || status === 'Delete') throw new ApiError('cardStatusUnfit');
  const answer = issuedCard(keys, cardNo, status, { panWrapped, expiryYymm, cvkVersion });
  const same = (request.pan ?? answer.pan) === answer.pan && (request.expiry ?? answer.expiry) === answer.expiry;
  if (!same) throw new ApiError('cardStatusUnfit');
  return answer;
}

function issuedCard(
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
