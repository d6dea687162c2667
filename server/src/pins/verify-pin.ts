import { timingSafeEqual } from 'node:crypto';
import { ApiError } from '../api-error.ts';
import { auditDetails, type IssuerActor, type IssuerScope } from '../audit/actor.ts';
import { auditCard } from '../audit/append.ts';
import { panIdentity } from '../cards/store.ts';
import { decipherPinBlock, PinBlockError, type PinBlockFormat } from '../crypto/pin-block.ts';
import { randomBytesPooled } from '../crypto/random.ts';
import type { Keys } from '../keys/keys.ts';
import type { Services } from '../services.ts';
import { openZoneKey } from '../zone-keys/open-zone-key.ts';
import {
  type CountedSources,
  callerName,
  countMalformed,
  isInWindow,
  MALFORMED_WINDOW_MS,
  requireFewMalformed,
  WELL_FORMED_BATCH,
} from './malformed-blocks.ts';
import { PIN_SALT_BYTES, pinReferenceValue } from './pin-reference-value.ts';
import { type CardToVerify, findToVerify, type NewTry, writeTry } from './try-store.ts';

export interface VerifyRequest {
  card: { cardNo: string } | { pan: string };
  pinBlock: Buffer;
  format: PinBlockFormat;
  /** Its label. */
  zoneKey: string;
  /** The terminal that the PIN was typed at, if the issuer tells it. */
  terminal: string | undefined;
}

export type VerifyAnswer =
  | { result: 'match' | 'blocked' | 'not_set' | 'malformed' }
  | { result: 'mismatch'; triesLeft: number };

/** Each failed attempt means that another try, set or unblocking got through. */
const ATTEMPTS = 1_000;

/**
 * Verifies a PIN block from the network. Errors, in this order: 4001, 5002, 4005, 1004 on `format`
 * if the zone key is of the other cipher, 1009 after too many malformed blocks on the card, from
 * the caller or under the zone key.
 *
 * A verdict counts only if the locked row of the card has not changed since the verdict was made.
 * Otherwise it is made again. So any number of guesses at once gets no more verdicts than the tries
 * allow. A malformed block costs no try, since its sender learns nothing about the PIN. But its
 * answer says that it was malformed, so the number of such answers is limited.
 */
export async function verifyPin(
  services: Services,
  issuer: IssuerScope,
  request: VerifyRequest,
  by: IssuerActor,
): Promise<VerifyAnswer> {
  const { db, clock, config, keys } = services;
  const named = 'cardNo' in request.card ? request.card : { fingerprints: fingerprintsOf(keys, request.card.pan) };
  const { zoneKey, terminal } = request;
  const caller = callerName({ terminal, address: by.ip });
  const sources = { issuerId: issuer.issuerId, caller, zoneKey };
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const card = await findToVerify(db, issuer, named, sources);
    if (card === undefined) throw new ApiError('cardMissing');
    if (card.zoneKey === undefined) throw new ApiError('zoneKeyUnknown');
    if (card.status !== 'Activated') throw new ApiError('cardStatusUnfit');
    const isAes = card.zoneKey.algorithm.startsWith('AES');
    if (isAes !== (request.format === 4)) throw new ApiError('invalidParameter', { field: 'format' });
    const now = clock();
    requireFewMalformed(card.counts, config.limits.malformedBlocksPerHour, now);
    if (card.pin === undefined) return { result: 'not_set' };
    if (card.blocked) return { result: 'blocked' };

    const verdict = await compare(services, issuer, card, request);
    const { result } = verdict;
    if (result === 'malformed') {
      await storeMalformed(services, card, request, { sources, by, now });
      return { result };
    }
    const triesLeft = Math.max(0, result === 'match' ? config.pinTries : config.pinTries - card.failedTries - 1);
    const details = { result, tries_left: triesLeft, format: request.format, zone_key: request.zoneKey };
    const written = await writeTry(db, {
      merchantId: card.merchantId,
      cardNo: card.cardNo,
      pinVersion: card.pinVersion,
      failedTries: card.failedTries,
      result,
      blocks: triesLeft === 0,
      atMs: now,
      details: auditDetails(by, details),
      renewed: verdict.renewed,
    });
    if (!written) continue;
    countWellFormed(services, card, sources, now);
    return result === 'match' ? { result } : { result, triesLeft };
  }
  throw new Error('a verification found the card changed each time');
}

/**
 * Under every live version of the key: until all cards are moved to a new version, some stand under
 * an old one.
 */
function fingerprintsOf({ panFingerprint }: Keys, digits: string): Buffer[] {
  const pan = Buffer.from(digits, 'latin1');
  try {
    return panFingerprint.versions.map((version) => panFingerprint.mac(version, pan));
  } finally {
    pan.fill(0);
  }
}

type Verdict =
  | { result: 'malformed' }
  | { result: 'mismatch'; renewed: undefined }
  | { result: 'match'; renewed: NewTry['renewed'] };

/** Opens the block and compares. The clear PIN exists only here, as bytes. */
async function compare(
  services: Services,
  issuer: IssuerScope,
  card: CardToVerify,
  request: VerifyRequest,
): Promise<Verdict> {
  const { keys } = services;
  const { merchantId, cardNo, panWrapped } = card;
  const { prv, salt, keyVersion } = card.pin as NonNullable<CardToVerify['pin']>;
  const { createdAtMs } = card.zoneKey as NonNullable<CardToVerify['zoneKey']>;
  const zoneKey = await openZoneKey(services.cache, { issuerId: issuer.issuerId, label: request.zoneKey, createdAtMs });
  if (panWrapped === null) throw new Error('an activated card without PAN');
  const pan = keys.pan.unwrap(panWrapped, panIdentity(cardNo));
  let pin: Buffer | undefined;
  try {
    pin = decipherPinBlock(zoneKey, request.format, request.pinBlock, pan);
    const value = await pinReferenceValue(keys.pinVerify, keyVersion, { merchantId, cardNo, pan, salt, pin });
    if (!timingSafeEqual(value, prv)) return { result: 'mismatch', renewed: undefined };
    const { version } = keys.pinVerify;
    if (version === keyVersion) return { result: 'match', renewed: undefined };
    // The key was rotated since the PIN was set. Now that the PIN is at hand, its value moves to
    // the new version.
    const newSalt = randomBytesPooled(PIN_SALT_BYTES);
    const newSubject = { merchantId, cardNo, pan, salt: newSalt, pin };
    const newValue = await pinReferenceValue(keys.pinVerify, version, newSubject);
    return { result: 'match', renewed: { prv: newValue, salt: newSalt, keyVersion: version } };
  } catch (error) {
    if (error instanceof PinBlockError) return { result: 'malformed' };
    throw error;
  } finally {
    pin?.fill(0);
    pan.fill(0);
  }
}

/** Counts the block and audits it, before it is answered. Errors: 1009 at a limit. */
async function storeMalformed(
  { db, log, config }: Services,
  { merchantId, cardNo }: CardToVerify,
  { zoneKey, format }: VerifyRequest,
  { sources, by, now }: { sources: CountedSources; by: IssuerActor; now: number },
): Promise<void> {
  await db.transaction(async (tx) => {
    const limit = config.limits.malformedBlocksPerHour;
    const limited = await countMalformed(tx, { ...sources, merchantId, cardNo }, { limit, atMs: now });
    if (limited !== undefined) {
      log.warn({ issuer: by.issuerNo, limited, ...sources, requestId: by.requestId }, 'too many malformed PIN blocks');
      throw new ApiError('tooFrequent', { field: limited, retryAfterSeconds: MALFORMED_WINDOW_MS / 1000 });
    }
    const details = { result: 'malformed', format, zone_key: zoneKey };
    await auditCard(tx, { merchantId, cardNo }, { atMs: now, action: 'pin_verified', by, details });
  });
}

/** Only while malformed blocks of the same caller or zone key are counted. Nobody waits for it. */
function countWellFormed(
  { db, log }: Services,
  { counts: { caller, zone_key: zoneKey } }: CardToVerify,
  sources: CountedSources,
  now: number,
): void {
  if (![caller, zoneKey].some((counts) => counts !== undefined && isInWindow(counts, now))) return;
  db.batched(WELL_FORMED_BATCH, { ...sources, atMs: now }).catch((err: unknown) =>
    log.warn({ err }, 'well-formed PIN blocks were not counted'),
  );
}
