import { createSecretKey } from 'node:crypto';
import { sealEcb } from '../crypto/ecb-envelope.ts';
import { encipherPinBlock } from '../crypto/pin-block.ts';
import { cards, ISSUER, MAIN_CREDENTIAL } from './world.ts';

/** What the sandbox prints when it stands: where it is, who may call, and a sequence to paste that works as it is. */
export function greeting(url: string, place: string): string {
  const { apiKey, apiSecret } = MAIN_CREDENTIAL;
  const card = cards[0] as (typeof cards)[number];
  const pin = '142536';
  const [zoneKey] = ISSUER.keys;
  const zpk = { algorithm: zoneKey.algorithm, key: createSecretKey(Buffer.from(zoneKey.bytes, 'hex')) };
  const block = encipherPinBlock(zpk, 4, Buffer.from(pin), Buffer.from(card.pan)).toString('hex');
  const sealed = sealEcb(createSecretKey(Buffer.from(apiSecret, 'utf8')), pin);
  return `
  Pinward sandbox   ${url}        API docs ${url}/docs
  Api-Key           ${apiKey}
  apiSecret         ${apiSecret}
  data              ${place}

  Paste this to set the PIN ${pin} on card ${card.cardNo}:

PINWARD=${url}
TOKEN=$(curl -s "$PINWARD/open-api/v1/merchant/token" -H 'Api-Key: ${apiKey}' -H "Timestamp: $(date +%s)000" | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
curl -s "$PINWARD/open-api/v1/card/pin/set" -H 'Content-Type: application/json' -H 'Api-Key: ${apiKey}' -H "Timestamp: $(date +%s)000" -H "Access-Token: $TOKEN" -d '{"card_no":"${card.cardNo}","cardholder_no":"${card.cardholderNo}","pin":"${sealed}"}'

  And this, as its issuer, to see it verified:

curl -s "$PINWARD/issuer/v1/pin/verify" -H 'Authorization: Bearer ${ISSUER.secret}' -H 'Content-Type: application/json' -d '{"card_no":"${card.cardNo}","pin_block":"${block}","format":4,"zone_key":"${zoneKey.label}"}'

`;
}
