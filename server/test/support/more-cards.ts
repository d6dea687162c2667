import { auditCard } from '../../src/audit/append.ts';
import { insertCard, panIdentity } from '../../src/cards/store.ts';
import type { Database } from '../../src/db/database.ts';
import type { Keys } from '../../src/keys/keys.ts';
import { EXPIRY_YYMM, sandboxPan } from '../../src/sandbox/world.ts';
import type { Card } from './sandbox.ts';
import { CARDHOLDER_NO } from './sandbox.ts';

/**
 * Adds activated physical cards to the sandbox merchant's first cardholder, for tests that need
 * many.
 */
export async function addCards({ db, keys }: { db: Database; keys: Keys }, count: number): Promise<Card[]> {
  const cards: Card[] = [];
  await db.transaction(async (tx) => {
    const [[merchantId] = [0]] = await tx.tuples<[number]>(
      'main-merchant',
      `select merchant_id from merchants where merchant_no = 'M202605220001'`,
    );
    for (let number = 0; number < count; number++) {
      const card = { cardNo: `C2026052210${String(number).padStart(2, '0')}`, cardholderNo: CARDHOLDER_NO };
      const pan = Buffer.from(sandboxPan(1000 + number), 'latin1');
      await insertCard(tx, {
        ...card,
        merchantId,
        cardUniqueNo: `unique-${card.cardNo}`,
        cardType: 'Physical',
        status: 'Activated',
        cardName: '',
        organization: 'Sandbox',
        panWrapped: keys.pan.wrap(pan, panIdentity(card.cardNo)),
        panFingerprint: keys.panFingerprint.mac(keys.panFingerprint.version, pan),
        panFingerprintVersion: keys.panFingerprint.version,
        cvkVersion: keys.cvv.version,
        panLastFour: pan.toString('latin1').slice(-4),
        expiryYymm: EXPIRY_YYMM,
        createdAtMs: Date.now(),
      });
      await auditCard(
        tx,
        { merchantId, cardNo: card.cardNo },
        { atMs: Date.now(), action: 'card_created', by: 'sandbox' },
      );
      cards.push(card);
    }
  });
  return cards;
}
