import { createSecretKey } from 'node:crypto';
import { panIdentity } from '../server/src/cards/store.ts';
import { sealEcb } from '../server/src/crypto/ecb-envelope.ts';
import type { Platform } from '../server/src/platform.ts';
import { EXPIRY_YYMM, MAIN_CREDENTIAL, sandboxPan } from '../server/src/sandbox/world.ts';

export const CARDS = 20_000;
const CARDHOLDER = 'U202605220001';

/** The cards on which the load sets PINs. They are in the database before the first round. */
export const benchCards: string[] = Array.from({ length: CARDS }, (_, i) => `BENCH${i}`);

export async function fillWithCards({ db, keys }: Platform): Promise<void> {
  const pans = benchCards.map((_, i) => sandboxPan(1_000 + i));
  await db.tuples(
    'bench-fill',
    `insert into cards (merchant_id, card_no, card_unique_no, cardholder_no, card_type, status,
                        pan_wrapped, pan_fingerprint, pan_last_four, expiry_yymm)
     select 1, card_no, card_no, $1, 'Physical', 'Activated', wrapped, fingerprint, last_four, $2
       from unnest($3::text[], $4::bytea[], $5::bytea[], $6::text[]) as t (card_no, wrapped, fingerprint, last_four)`,
    [
      CARDHOLDER,
      EXPIRY_YYMM,
      benchCards,
      pans.map((pan, i) => keys.pan.wrap(Buffer.from(pan), panIdentity(benchCards[i] as string))),
      pans.map((pan) => keys.panFingerprint.mac(keys.panFingerprint.version, Buffer.from(pan))),
      pans.map((pan) => pan.slice(-4)),
    ],
  );
  await db.script('analyze');
}

const pin = sealEcb(createSecretKey(Buffer.from(MAIN_CREDENTIAL.apiSecret)), '142536');

export function requestFor(cardNo: string, token: string) {
  return {
    method: 'POST' as const,
    path: '/open-api/v1/card/pin/set',
    headers: {
      'Content-Type': 'application/json',
      'Api-Key': MAIN_CREDENTIAL.apiKey,
      Timestamp: String(Date.now()),
      'Access-Token': token,
    },
    body: JSON.stringify({ card_no: cardNo, cardholder_no: CARDHOLDER, pin }),
  };
}
