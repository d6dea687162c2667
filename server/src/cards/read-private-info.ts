import { ApiError } from '../api-error.ts';
import type { MerchantActor } from '../audit/actor.ts';
import { auditCard } from '../audit/append.ts';
import { sealEcb } from '../crypto/ecb-envelope.ts';
import type { Caller } from '../merchants/caller.ts';
import type { Services } from '../services.ts';
import { findPrivateCard, panIdentity } from './store.ts';

/**
 * Returns PAN, CVV2 and expiry of a card that is `Activated` or `Frozen`, as JSON in the
 * API's envelope. Audits each read before it answers. A card that waits for its activation
 * is not shown: to activate it, a cardholder must have the card in hand. Errors: 1013,
 * 4001, 4005.
 */
export async function readPrivateInfo(
  { db, keys, clock }: Services,
  caller: Caller,
  cardNo: string,
  by: MerchantActor,
): Promise<string> {
  if (!caller.pciEnabled) throw new ApiError('pciDisabled');
  const { merchantId } = caller;
  const card = await findPrivateCard(db, merchantId, cardNo);
  if (card === undefined) throw new ApiError('cardMissing');
  const { panWrapped, expiryYymm, status } = card;
  const inUse = status === 'Activated' || status === 'Frozen';
  if (!inUse || panWrapped === null || expiryYymm === null) throw new ApiError('cardStatusUnfit');
  const record = { atMs: clock(), action: 'card_private_read', by } as const;
  await db.transaction((tx) => auditCard(tx, { merchantId, cardNo }, record));

  const pan = keys.pan.unwrap(panWrapped, panIdentity(cardNo));
  const before = JSON.stringify({
    card_no: cardNo,
    card_unique_no: card.cardUniqueNo,
    cvv: keys.cvv.cvv2(card.cvkVersion, pan.toString('latin1'), expiryYymm),
    exp_year: `20${expiryYymm.slice(0, 2)}`,
    exp_month: expiryYymm.slice(2),
  });
  const clear = Buffer.concat([
    Buffer.from(`${before.slice(0, -1)},"pan":"`, 'utf8'),
    pan,
    Buffer.from('"}', 'latin1'),
  ]);
  pan.fill(0);
  try {
    return sealEcb(caller.apiSecret, clear);
  } finally {
    clear.fill(0);
  }
}
