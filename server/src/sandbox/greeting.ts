import { createSecretKey } from 'node:crypto';
import { sealEcb } from '../crypto/ecb-envelope.ts';
import { encipherPinBlock } from '../crypto/pin-block.ts';
import { cards, ISSUER, MAIN_CREDENTIAL, type SandboxCard } from './world.ts';

/**
 * What the sandbox prints when it is ready: its address, a credential, and commands to paste
 * that set a PIN and verify it.
 */
export function greeting(url: string, place: string): string {
  const { apiKey, apiSecret } = MAIN_CREDENTIAL;
  const card = cards[0] as SandboxCard;
  const pin = '142536';
  const [zoneKey] = ISSUER.keys;
  const zpk = { algorithm: zoneKey.algorithm, key: createSecretKey(Buffer.from(zoneKey.bytes, 'hex')) };
  const block = encipherPinBlock(zpk, 4, Buffer.from(pin), Buffer.from(card.pan)).toString('hex');
  const sealed = sealEcb(createSecretKey(Buffer.from(apiSecret, 'utf8')), pin);
  const setBody = JSON.stringify({ card_no: card.cardNo, cardholder_no: card.cardholderNo, pin: sealed });
  const verifyBody = JSON.stringify({ card_no: card.cardNo, pin_block: block, format: 4, zone_key: zoneKey.label });
  const key = `-H 'Api-Key: ${apiKey}'`;
  const timestamp = `-H "Timestamp: $(date +%s)000"`;
  const json = `-H 'Content-Type: application/json'`;
  const readToken = `sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/'`;
  return `
  Pinward sandbox   ${url}        API docs ${url}/docs
  Api-Key           ${apiKey}
  apiSecret         ${apiSecret}
  data              ${place}

  Paste this to set the PIN ${pin} on card ${card.cardNo}:

PINWARD=${url}
TOKEN=$(curl -s "$PINWARD/open-api/v1/merchant/token" ${key} ${timestamp} | ${readToken})
curl -s "$PINWARD/open-api/v1/card/pin/set" ${json} ${key} ${timestamp} -H "Access-Token: $TOKEN" -d '${setBody}'

  And this, as its issuer, to verify it:

curl -s "$PINWARD/issuer/v1/pin/verify" -H 'Authorization: Bearer ${ISSUER.secret}' ${json} -d '${verifyBody}'

`;
}
