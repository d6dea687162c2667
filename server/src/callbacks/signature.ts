import { createHmac, type KeyObject } from 'node:crypto';
import { callbackSigningText } from '@pinward/contract/callback-signature';

/**
 * The callback signature V1: HMAC-SHA-256 in lower-case hex, under the UTF-8 bytes of the
 * apiSecret. The contract package says what text it covers. A blank `dataText` has no
 * members. Throws if `dataText` is not a JSON object.
 */
export function signCallback(appId: string, timestamp: string, dataText: string, secret: KeyObject): string {
  const text = callbackSigningText(appId, timestamp, parseData(dataText));
  return createHmac('sha256', secret).update(text, 'utf8').digest('hex');
}

function parseData(dataText: string): object {
  if (dataText.trim() === '') return {};
  const data: unknown = JSON.parse(dataText);
  if (typeof data !== 'object' || data === null || Array.isArray(data))
    throw new Error('the data of a callback must be a JSON object');
  return data;
}
