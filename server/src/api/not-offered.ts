/*
 * The money side of the merchant API, which this platform does not do (docs/compatibility.md). Its
 * calls answer that they are not offered, so that merchants do not look for a typing error.
 */

const NOT_OFFERED = [
  /^\/open-api\/v1\/account\/transfer(\/list)?$/,
  /^\/open-api\/v1\/account\/[^/]+\/info$/,
  /^\/open-api\/v1\/card\/consume\/list$/,
  /^\/open-api\/v1\/card\/consume\/[^/]+\/info$/,
];

/**
 * Whether a request target, a path or a whole URL, is one of a call of the API that this platform
 * does not offer.
 */
export function isNotOffered(url: string): boolean {
  const path = url.replace(/^[a-z]+:\/\/[^/?#]*/i, '').replace(/[?#].*$/s, '');
  return NOT_OFFERED.some((call) => call.test(path));
}
