import { timingSafeEqual } from 'node:crypto';
import { auditCard, detailsOf } from '../audit/append.ts';
import { panIdentity } from '../cards/store.ts';
import { decipherPinBlock, PinBlockError, type PinBlockFormat } from '../crypto/pin-block.ts';
import { randomBytesPooled } from '../crypto/random.ts';
import { ApiError } from '../errors.ts';
import { pinReferenceValue } from '../pins/pin-reference-value.ts';
import type { Services } from '../services.ts';
import type { IssuerOrigin } from './authenticate.ts';
import { type CardToVerify, countMalformed, findToVerify, type Issuer, type Malformed, writeTry } from './store.ts';

export interface VerifyRequest {
  card: { cardNo: string } | { pan: string };
  pinBlock: Buffer;
  format: PinBlockFormat;
  zoneKey: string;
}

export type VerifyAnswer = { result: 'match' | 'blocked' | 'not_set' | 'malformed' } | { result: 'mismatch'; triesLeft: number };

const MALFORMED_WINDOW_MS = 3_600_000;
/** Each loss means that another try, set or unblocking got through. */
const MOST_ATTEMPTS = 1_000;
const SALT_BYTES = 16;

/**
 * Verifies a PIN block from the network. Errors, in this order: 4001, 5002, 4005, 1004 on `format` where the zone key is of the
 * other cipher, 1009 after too many malformed blocks on the card or under the zone key.
 *
 * A verdict counts only if the card's row, once locked, is as it was when the verdict was made; else it is made anew. So of any
 * number of guesses at once no more are told than the tries allow. A block that does not parse costs no try, since its sender
 * learns nothing of the PIN; but that it does not parse is told, and so such answers are few.
 */
export async function verifyPin(services: Services, issuer: Issuer, request: VerifyRequest, origin: IssuerOrigin): Promise<VerifyAnswer> {
  const { db, clock, config, keys } = services;
  const asked =
    'cardNo' in request.card ? request.card : { fingerprints: fingerprintsOf(services, Buffer.from(request.card.pan, 'latin1')) };
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
    const card = await findToVerify(db, issuer, asked, request.zoneKey);
    if (card === undefined) throw new ApiError('cardMissing');
    if (card.zoneKey === undefined) throw new ApiError('zoneKeyUnknown');
    if (card.status !== 'Activated') throw new ApiError('cardStatusUnfit');
    if (card.zoneKey.algorithm.startsWith('AES') !== (request.format === 4)) throw new ApiError('invalidParameter', { field: 'format' });
    const now = clock();
    const most = config.limits.malformedBlocksPerHour;
    requireFew(card.malformed, most, now);
    requireFew(card.zoneKey.malformed, most, now);
    if (card.pin === undefined) return { result: 'not_set' };
    if (card.blocked) return { result: 'blocked' };

    const verdict = await judge(services, issuer, card, request);
    if (verdict.result === 'malformed') {
      await storeMalformed(services, issuer, card, request, origin, now);
      return { result: 'malformed' };
    }
    const { result } = verdict;
    const triesLeft = result === 'match' ? config.pinTries : config.pinTries - card.failedTries - 1;
    const written = await writeTry(db, {
      merchantId: card.merchantId,
      cardNo: card.cardNo,
      pinVersion: card.pinVersion,
      failedTries: card.failedTries,
      result,
      blocks: triesLeft <= 0,
      atMs: now,
      details: detailsOf(origin, { result, tries_left: Math.max(0, triesLeft), format: request.format, zone_key: request.zoneKey }),
      renewed: result === 'match' && card.pin.keyVersion !== keys.pinVerify.version ? verdict.renewed : undefined,
    });
    if (written) return result === 'match' ? { result } : { result, triesLeft: Math.max(0, triesLeft) };
  }
  throw new Error('a verification found the card changed each time');
}

/** Under every live version of the key: until all cards are moved to a new one, some stand under the old. */
function fingerprintsOf({ keys }: Services, pan: Buffer): Buffer[] {
  try {
    return keys.panFingerprint.versions.map((version) => keys.panFingerprint.mac(version, pan));
  } finally {
    pan.fill(0);
  }
}

function requireFew({ count, sinceMs }: Malformed, most: number, now: number): void {
  if (sinceMs === undefined || count < most) return;
  const wait = sinceMs + MALFORMED_WINDOW_MS - now;
  if (wait > 0) throw new ApiError('tooFrequent', { retryAfterSeconds: Math.ceil(wait / 1000) });
}

type Verdict =
  | { result: 'malformed' | 'mismatch' }
  | { result: 'match'; renewed: { prv: Buffer; salt: Buffer; keyVersion: number } | undefined };

/** Opens the block and compares. The clear PIN exists here alone, as bytes. */
async function judge({ keys, zoneKeys }: Services, { issuerId }: Issuer, card: CardToVerify, request: VerifyRequest): Promise<Verdict> {
  const { merchantId, cardNo, panWrapped } = card;
  const { prv, salt, keyVersion } = card.pin as NonNullable<CardToVerify['pin']>;
  const zoneKey = await zoneKeys.open(issuerId, request.zoneKey, card.zoneKey?.createdAtMs as number);
  if (panWrapped === null) throw new Error('an activated card without PAN');
  const pan = keys.pan.unwrap(panWrapped, panIdentity(cardNo));
  let pin: Buffer | undefined;
  try {
    pin = decipherPinBlock(zoneKey, request.format, request.pinBlock, pan);
    const value = await pinReferenceValue(keys.pinVerify, keyVersion, { merchantId, cardNo, pan, salt, pin });
    if (!timingSafeEqual(value, prv)) return { result: 'mismatch' };
    const { version } = keys.pinVerify;
    if (version === keyVersion) return { result: 'match', renewed: undefined };
    // The key was rotated since the PIN was set; now that the PIN is at hand its value moves to the new version.
    const newSalt = randomBytesPooled(SALT_BYTES);
    const renewed = await pinReferenceValue(keys.pinVerify, version, { merchantId, cardNo, pan, salt: newSalt, pin });
    return { result: 'match', renewed: { prv: renewed, salt: newSalt, keyVersion: version } };
  } catch (error) {
    if (error instanceof PinBlockError) return { result: 'malformed' };
    throw error;
  } finally {
    pin?.fill(0);
    pan.fill(0);
  }
}

/** Counted with card and zone key, and audited, before it is told; 1009 if either has too many by now. */
async function storeMalformed(
  { db, config }: Services,
  { issuerId }: Issuer,
  { merchantId, cardNo }: CardToVerify,
  { zoneKey, format }: VerifyRequest,
  origin: IssuerOrigin,
  now: number,
): Promise<void> {
  await db.transaction(async (tx) => {
    const window = { fromMs: now - MALFORMED_WINDOW_MS, atMs: now, most: config.limits.malformedBlocksPerHour };
    if (!(await countMalformed(tx, { merchantId, cardNo, issuerId, zoneKey }, window)))
      throw new ApiError('tooFrequent', { retryAfterSeconds: MALFORMED_WINDOW_MS / 1000 });
    await auditCard(tx, merchantId, cardNo, now, 'pin_verified', detailsOf(origin, { result: 'malformed', format, zone_key: zoneKey }));
  });
}
