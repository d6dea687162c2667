import { auditCard, detailsOf } from '../audit/append.ts';
import type { Origin } from '../auth/authenticate.ts';
import type { Caller } from '../auth/callers.ts';
import { sealEcb } from '../crypto/ecb-envelope.ts';
import { ApiError } from '../errors.ts';
import type { Services } from '../services.ts';
import { findPrivate, panIdentity } from './store.ts';

/**
 * PAN, CVV2 and expiry of a card in use, as JSON in the API's envelope; each reading is audited before it is given. A card that waits
 * for its activation is not shown: whoever activates it is to have it in hand. Errors: 1013, 4001, 4005.
 */
export async function readPrivateInfo({ db, keys, clock }: Services, caller: Caller, cardNo: string, origin: Origin): Promise<string> {
  if (!caller.pciEnabled) throw new ApiError('pciDisabled');
  const { merchantId } = caller;
  const card = await findPrivate(db, merchantId, cardNo);
  if (card === undefined) throw new ApiError('cardMissing');
  const { panWrapped, expiryYymm, status } = card;
  if ((status !== 'Activated' && status !== 'Frozen') || panWrapped === null || expiryYymm === null) throw new ApiError('cardStatusUnfit');
  await db.transaction((tx) => auditCard(tx, merchantId, cardNo, clock(), 'card_private_read', detailsOf(origin)));

  const pan = keys.pan.unwrap(panWrapped, panIdentity(cardNo));
  const before = JSON.stringify({
    card_no: cardNo,
    card_unique_no: card.cardUniqueNo,
    cvv: keys.cvv.cvv2(card.cvkVersion, pan.toString('latin1'), expiryYymm),
    exp_year: `20${expiryYymm.slice(0, 2)}`,
    exp_month: expiryYymm.slice(2),
  });
  const clear = Buffer.concat([Buffer.from(`${before.slice(0, -1)},"pan":"`, 'utf8'), pan, Buffer.from('"}', 'latin1')]);
  pan.fill(0);
  try {
    return sealEcb(caller.apiSecret, clear);
  } finally {
    clear.fill(0);
  }
}
