/** The `Sign-Version` header of callbacks that are signed as below. */
export const SIGN_VERSION = 'V1';

/**
 * The text that a callback's signature covers, version V1. The signature is its HMAC-SHA-256 under the UTF-8
 * bytes of the apiSecret, in lower-case hex.
 *
 * The text is `key=value` pairs joined by `&`, in the order of the keys' UTF-16 code units. The pairs are
 * `appId` (the Api-Key), `timestamp` and the members of `data` that are not null; a member of `data` named
 * `appId` or `timestamp` replaces ours. Nothing is escaped, so `a=1&b` is one value or two pairs
 * (SECURITY.md says what follows from that).
 *
 * A string stands for itself, any other member for its compact JSON text: here JSON.stringify of the parsed
 * member. That gives back what was sent, because the platform writes `data` by JSON.stringify, or in SQL from
 * strings and whole numbers alone. It would not for 1.10, for whole numbers above 2^53, or for nested members
 * whose names are numbers.
 */
export function callbackSigningText(appId: string, timestamp: string, data: object): string {
  const pairs = new Map([
    ['appId', appId],
    ['timestamp', timestamp],
  ]);
  for (const [name, value] of Object.entries(data)) {
    if (value !== null) pairs.set(name, typeof value === 'string' ? value : JSON.stringify(value));
  }
  const names = [...pairs.keys()].sort(); // without a comparison function: by UTF-16 code units
  return names.map((name) => `${name}=${pairs.get(name)}`).join('&');
}
