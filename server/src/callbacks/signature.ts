import { createHmac, type KeyObject } from 'node:crypto';

/**
 * The callback signature V1: HMAC-SHA256, lowercase hex, under the UTF-8 bytes of the apiSecret, over `key=value` pairs joined by `&` in the
 * order of the keys' UTF-16 code units. The pairs are `appId`, `timestamp` and the members of `data` that are not null, of which one named
 * `appId` or `timestamp` takes the place of ours. Nothing is escaped: `a=1&b` is one value or two pairs (SECURITY.md says what follows).
 *
 * A string stands for itself, any other member for its compact JSON text. Here that is JSON.stringify of the parsed member, which gives
 * back what was sent, as `data` is written by JSON.stringify or, of strings and whole numbers alone, by the statements in pins/store.ts and
 * issuer/store.ts. It would not be for 1.10, for whole numbers above 2^53, or for nested members whose names are numbers.
 *
 * `dataText` that is blank has no members. Throws if it is no JSON object.
 */
export function signCallback(appId: string, timestamp: string, dataText: string, secret: KeyObject): string {
  const pairs = new Map([
    ['appId', appId],
    ['timestamp', timestamp],
  ]);
  for (const [name, value] of Object.entries(membersOf(dataText))) {
    if (value !== null) pairs.set(name, typeof value === 'string' ? value : JSON.stringify(value));
  }
  const names = [...pairs.keys()].sort(); // without a comparison: by code units
  const signed = names.map((name) => `${name}=${pairs.get(name)}`).join('&');
  return createHmac('sha256', secret).update(signed, 'utf8').digest('hex');
}

function membersOf(dataText: string): object {
  if (dataText.trim() === '') return {};
  const data: unknown = JSON.parse(dataText);
  if (typeof data !== 'object' || data === null || Array.isArray(data)) throw new Error('the data of a callback is a JSON object');
  return data;
}
