import { createHash, randomBytes } from 'node:crypto';
import { auditCard, detailsOf } from '../audit/append.ts';
import type { Origin } from '../auth/authenticate.ts';
import type { Caller } from '../auth/callers.ts';
import { ApiError } from '../errors.ts';
import type { Services } from '../services.ts';
import { findCard, insertClientToken } from './store.ts';

const LIFETIME_MS = 300_000;
const TOKEN_BYTES = 32;

/** The only form of a client access token that is stored. */
function clientTokenHash(token: string): Buffer {
  return createHash('sha256').update(token, 'utf8').digest();
}

/** A token by which a cardholder's browser gets at one card, once, within five minutes. Errors: 1013, 4001, 4005. */
export async function issueClientToken(
  { db, clock }: Services,
  caller: Caller,
  cardNo: string,
  origin: Origin,
): Promise<{ token: string; expiresInSeconds: number }> {
  if (!caller.pciEnabled) throw new ApiError('pciDisabled');
  const { merchantId, credentialId } = caller;
  const card = await findCard(db, merchantId, cardNo);
  if (card === undefined) throw new ApiError('cardMissing');
  if (card.status !== 'Activated' && card.status !== 'Frozen') throw new ApiError('cardStatusUnfit');
  const token = `ct_${randomBytes(TOKEN_BYTES).toString('base64url')}`;
  const now = clock();
  await db.transaction(async (tx) => {
    await insertClientToken(tx, { hash: clientTokenHash(token), merchantId, cardNo, credentialId, expiresAtMs: now + LIFETIME_MS });
    await auditCard(tx, merchantId, cardNo, now, 'client_token_issued', detailsOf(origin));
  });
  return { token, expiresInSeconds: LIFETIME_MS / 1000 };
}
