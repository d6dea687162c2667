import { ERRORS, type ErrorName } from '@pinward/contract/errors';

/*
 * The refusals that each call can answer, for the OpenAPI documents. Tests hold every answer that
 * they get against them.
 */

/** Whatever the call: a field at fault, a limit, a fault of the platform. */
const ALWAYS: ErrorName[] = ['systemError', 'invalidParameter', 'tooFrequent', 'ipNotAllowed'];
const MERCHANT_GATE: ErrorName[] = [
  'apiKeyRequired',
  'timestampInvalid',
  'apiKeyUnknown',
  'apiKeyDisabled',
  'apiKeyExpired',
  'merchantAbnormal',
];
const ACCESS_TOKEN: ErrorName[] = ['accessTokenRequired', 'accessTokenInvalid'];
const IDEMPOTENCY_KEY: ErrorName[] = ['idempotencyKeyReused', 'requestRunning'];

const ADDRESS: ErrorName[] = [
  'addressCharacters',
  'englishOnly',
  'countryUnsupported',
  'postalCodeUnfit',
  'phoneCodeUnsupported',
];
const RANGE: ErrorName[] = ['endBeforeStart', 'rangeTooLong'];
const UNVERIFIED: ErrorName[] = ['cardholderMissing', 'verificationPending', 'verificationFailed'];
const ISSUING: ErrorName[] = ['cardMissing', 'cardStatusUnfit'];

/** By method and path. What the gate, or an Idempotency-Key, can answer comes on top. */
const OWN: Record<string, ErrorName[]> = {
  'get /open-api/v1/merchant/token': [],
  'post /open-api/v1/card/pin/set': ['cardMissing', 'physicalOnly', 'cardStatusUnfit', 'pinRefused'],
  'post /open-api/v1/cardholder/apply': [
    ...UNVERIFIED,
    'cardholderExists',
    'cardholderVerified',
    'kycUnreadable',
    'cardholderUniqueNoMismatch',
  ],
  'post /open-api/v1/cardholder/list': RANGE,
  'get /open-api/v1/cardholder/{cardholder_no}/info': ['cardholderMissing'],
  'post /open-api/v1/card/list': RANGE,
  'get /open-api/v1/card/{card_no}/detail': ['cardMissing'],
  'get /open-api/v1/card/{card_no}/private/info': ['pciDisabled', 'cardMissing', 'cardStatusUnfit'],
  'get /open-api/v1/merchant/client/{card_no}/token': ['pciDisabled', 'cardMissing', 'cardStatusUnfit'],
  'post /open-api/v1/card/apply': [
    ...UNVERIFIED,
    ...ADDRESS,
    'modeUnsupported',
    'cardUniqueNoTaken',
    'productMissing',
    'cardTypeUnsupported',
  ],
  'post /open-api/v1/card/active': ['cardMissing', 'physicalOnly', 'cardStatusUnfit', 'cardVerificationFailed'],
  'post /open-api/v1/card/status/update': ['cardMissing', 'cardStatusUnfit'],
  'post /open-api/v1/card/support/bins': ['modeUnsupported'],
  'post /open-api/v1/card/package/list': ['modeUnsupported'],
  'get /issuer/v1/cardholder/pending': [],
  'post /issuer/v1/cardholder/verification': [
    'cardholderMissing',
    'cardholderVerified',
    'verificationFailed',
    'verificationPending',
  ],
  'post /issuer/v1/cardholder/personal': ['cardholderMissing'],
  'get /issuer/v1/card/pending': [],
  'post /issuer/v1/card/issued': [...ISSUING, 'panTaken', 'binExhausted'],
  'post /issuer/v1/card/failed': ISSUING,
  'post /issuer/v1/card/import': [...UNVERIFIED, 'cardholderUniqueNoMismatch', 'cardUniqueNoTaken', 'panTaken'],
  'post /issuer/v1/card/status': ['cardMissing', 'cardStatusUnfit'],
  'post /issuer/v1/pin/verify': ['cardMissing', 'zoneKeyUnknown', 'cardStatusUnfit'],
  'post /issuer/v1/pin/unblock': ['cardMissing', 'pinNotSet'],
  'get /issuer/v1/pin/{card_no}': ['cardMissing'],
  'get /issuer/v1/zone-keys': [],
  'post /issuer/v1/zone-keys': ['zoneKeyUnknown', 'keyBlockRefused', 'labelTaken'],
  'delete /issuer/v1/zone-keys/{label}': ['zoneKeyUnknown'],
};

export interface Operation {
  /**
   * `post /open-api/v1/card/list`: the method in lower case, and the path as the document has it.
   */
  key: string;
  gate: 'merchant' | 'merchant without token' | 'issuer';
  repeatable: boolean;
}

/** The refusals of an operation, by code. Throws for one that is missing here. */
export function refusalsOf({ key, gate, repeatable }: Operation): ErrorName[] {
  const own = OWN[key];
  if (own === undefined) throw new Error(`name the refusals of ${key} in operation-codes.ts`);
  const names = new Set<ErrorName>([
    ...ALWAYS,
    ...(gate === 'issuer' ? (['issuerUnknown'] as const) : MERCHANT_GATE),
    ...(gate === 'merchant' ? ACCESS_TOKEN : []),
    ...(repeatable ? IDEMPOTENCY_KEY : []),
    ...own,
  ]);
  return [...names].toSorted((a, b) => ERRORS[a].code - ERRORS[b].code);
}
