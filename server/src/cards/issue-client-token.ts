import { randomBytes } from 'node:crypto';
import { ApiError } from '../api-error.ts';
import type { MerchantActor } from '../audit/actor.ts';
import { auditCard } from '../audit/append.ts';
import { secretHashOf } from '../crypto/secret-hash.ts';
import type { Caller } from '../merchants/caller.ts';
import type { Services } from '../services.ts';
import { insertClientToken } from './client-token-store.ts';
import { findCard } from './store.ts';

const LIFETIME_MS = 300_000;
const TOKEN_BYTES = 32;

/**
 * Issues a client access token: with it a cardholder's browser can open one card, once,
 * within five minutes. Only its hash is stored. Errors: 1013, 4001, 4005.
 */
export async function issueClientToken(
  { db, clock }: Services,
  caller: Caller,
  cardNo: string,
  by: MerchantActor,
): Promise<{ token: string; expiresInSeconds: number }> {
  if (!caller.pciEnabled) throw new ApiError('pciDisabled');
  const { merchantId, credentialId } = caller;
  const card = await findCard(db, merchantId, cardNo);
  if (card === undefined) throw new ApiError('cardMissing');
  if (card.status !== 'Activated' && card.status !== 'Frozen') throw new ApiError('cardStatusUnfit');
  const token = `ct_${randomBytes(TOKEN_BYTES).toString('base64url')}`;
  const now = clock();
  const stored = { hash: secretHashOf(token), merchantId, cardNo, credentialId, expiresAtMs: now + LIFETIME_MS };
  await db.transaction(async (tx) => {
    await insertClientToken(tx, stored);
    await auditCard(tx, { merchantId, cardNo }, { atMs: now, action: 'client_token_issued', by });
  });
  return { token, expiresInSeconds: LIFETIME_MS / 1000 };
}
