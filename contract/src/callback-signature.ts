/** The `Sign-Version` header of callbacks that are signed as below. */
export const SIGN_VERSION = 'V1';

/**
 * The text that a callback's signature covers, version V1. The signature is the HMAC-SHA-256 of
 * this text under the UTF-8 bytes of the apiSecret, in lower-case hex.
 *
 * The text is `key=value` pairs joined by `&`, sorted by the UTF-16 code units of the keys. The
 * pairs are `appId` (the Api-Key), `timestamp` and the members of `data` that are not null. A
 * member of `data` named `appId` or `timestamp` replaces ours. Nothing is escaped, so `a=1&b` can
 * be one value or two pairs (SECURITY.md says what follows from that).
 *
 * A string stands for itself, any other member for its compact JSON text. This function uses
 * JSON.stringify of the parsed member. That equals the text that was sent, because the platform
 * writes `data` with JSON.stringify, or in SQL from strings and whole numbers only. It would differ
 * for 1.10, for whole numbers above 2^53, and for nested members whose names are numbers.
 */
export function callbackSigningText(appId: string, timestamp: string, data: object): string {
  const pairs = new Map([
    ['appId', appId],
    ['timestamp', timestamp],
  ]);
  for (const [name, value] of Object.entries(data)) {
    if (value !== null) pairs.set(name, typeof value === 'string' ? value : JSON.stringify(value));
  }
  const names = [...pairs.keys()].sort(); // without a comparison function, sort() orders by UTF-16 code units
  return names.map((name) => `${name}=${pairs.get(name)}`).join('&');
}
