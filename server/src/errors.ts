import type { PinPolicy } from './pins/pin-policies.ts';

/**
 * The error catalogue: the only place where a code and its words stand.
 * English texts of 1001 to 1022 are the API's own; the others, and all Chinese ones, are this platform's wording.
 * Failures travel with HTTP 200 and a `code` (docs/adr/0003); `docs/errors.md` is generated from here.
 */
const catalogue = {
  systemError: [
    1001,
    'System error, please try again later',
    '系统异常，请稍后重试',
    'A fault on the platform. The `X-Request-Id` header names the line in its log; nothing was half-done.',
  ],
  apiKeyRequired: [1002, 'Api-Key is required', '缺少 Api-Key', 'The `Api-Key` header is missing or empty.'],
  ipNotAllowed: [1003, 'IP address not allowed', 'IP 地址不在白名单内', "The caller's address is not on the credential's allowlist."],
  invalidParameter: [
    1004,
    'Invalid request parameter',
    '请求参数无效',
    'The body is no JSON object, is over 16 KiB, has another content type, or a field is missing or malformed. The field, where one is at fault, stands before the text.',
  ],
  timestampInvalid: [
    1005,
    'Timestamp invalid or expired',
    '时间戳无效或已过期',
    'The `Timestamp` header is missing, is not 13 digits of Unix milliseconds, is more than 60 s old, or lies in the future.',
  ],
  accessTokenRequired: [1006, 'Access-Token is required', '缺少 Access-Token', 'The `Access-Token` header is missing or empty.'],
  accessTokenInvalid: [
    1007,
    'Access-Token invalid or expired',
    'Access-Token 无效或已过期',
    'The token was not issued by this platform, has expired, was ended, or was fetched with another Api-Key.',
  ],
  apiKeyUnknown: [1008, 'Api-Key does not exist', 'Api-Key 不存在', 'No credential has this Api-Key.'],
  tooFrequent: [
    1009,
    'Operation too frequent, please try again later',
    '操作过于频繁，请稍后重试',
    'A limit was reached: failed authentications of an address, calls of a credential, or tries on a card. `Retry-After` gives the seconds to wait.',
  ],
  apiKeyDisabled: [1010, 'Api-Key is not enabled', 'Api-Key 未启用', 'The operator disabled the credential.'],
  apiKeyExpired: [1011, 'Api-Key has expired', 'Api-Key 已过期', "The credential's expiry has passed."],
  modeUnsupported: [
    1012,
    'Merchant integration mode not supported',
    '不支持该商户接入模式',
    'The call is for merchants of the other integration mode.',
  ],
  pciDisabled: [
    1013,
    'PCI sensitive card display is not enabled',
    '未开通 PCI 敏感卡信息展示',
    'The merchant may not read PANs and CVVs: the operator has not enabled it.',
  ],
  merchantMissing: [
    1021,
    'Merchant does not exist',
    '商户不存在',
    'Kept for compatibility: a credential cannot outlive its merchant here.',
  ],
  merchantAbnormal: [
    1022,
    'Merchant status is abnormal, please contact administrator',
    '商户状态异常，请联系管理员',
    'The operator disabled the merchant.',
  ],
  endBeforeStart: [
    1019,
    'Query end time must be after start time',
    '查询结束时间必须晚于开始时间',
    '`end_time` does not lie after `start_time`.',
  ],
  rangeTooLong: [
    1020,
    'Query time range exceeds the allowed limit',
    '查询时间范围超出限制',
    '`start_time` and `end_time` lie more than 90 days apart.',
  ],
  idempotencyKeyReused: [
    1023,
    'Idempotency-Key was used with another request',
    'Idempotency-Key 已用于其他请求',
    'Within 24 hours the credential used this key for another call, or for the same with other content. A new request takes a new key.',
  ],
  requestRunning: [
    1024,
    'A request with this Idempotency-Key is being processed',
    '使用该 Idempotency-Key 的请求正在处理中',
    'The first request with this key has no answer yet. `Retry-After` gives the seconds to wait.',
  ],
  cardholderExists: [
    2001,
    'Cardholder already exists',
    '持卡人已存在',
    'The `cardholder_unique_no` was applied for with another share token. The same application once more is answered as the first was.',
  ],
  cardholderMissing: [
    2002,
    'Cardholder does not exist',
    '持卡人不存在',
    "No cardholder of the merchant's, or of the issuer's merchants, has this number.",
  ],
  cardholderVerified: [
    2003,
    'Cardholder already verified',
    '持卡人已通过认证',
    'There is nothing to apply for or to decide: the cardholder is `Approved`.',
  ],
  verificationPending: [
    2004,
    'Cardholder has a pending verification',
    '持卡人认证处理中',
    'The cardholder was not verified yet: it cannot apply anew, nor get a card.',
  ],
  verificationFailed: [
    2005,
    'Cardholder verification failed',
    '持卡人认证失败',
    'The cardholder is `Rejected`: it gets no card, and applies anew with another share token.',
  ],
  kycUnreadable: [
    2006,
    'Failed to retrieve cardholder KYC information',
    '获取持卡人 KYC 信息失败',
    'The verifier does not know the share token. In the sandbox: it begins with none of `approve-`, `reject-`, `pending-`.',
  ],
  addressCharacters: [
    2007,
    'Please use English letters, numbers, spaces, or common address symbols (e.g. - / #).',
    '请使用英文字母、数字、空格或常用地址符号（如 - / #）。',
    'An address field holds another character. The field stands before the text.',
  ],
  englishOnly: [2008, 'Only English is supported', '仅支持英文', 'An address field is not in English. The field stands before the text.'],
  countryUnsupported: [2009, 'Country is not supported', '不支持该国家', 'The `country` is no ISO 3166-1 alpha-2 code that is supported.'],
  postalCodeUnfit: [
    2010,
    'The postal code does not match the selected address (state/province, city)',
    '邮政编码与所选地址（州/省、城市）不匹配',
    "The `postal_code` is not of the country's form. The field stands before the text.",
  ],
  cardholderUniqueNoMismatch: [
    2011,
    'Cardholder unique number mismatch',
    '持卡人唯一编号不匹配',
    'The `cardholder_unique_no` is not the one with which this cardholder was created.',
  ],
  cardMissing: [
    4001,
    'Card does not exist',
    '卡片不存在',
    "No card of this merchant and cardholder has this number. Another merchant's card gives the same answer as none.",
  ],
  cardUniqueNoTaken: [
    4002,
    'Card unique number was used with another application',
    '卡片唯一编号已用于其他申请',
    'The `card_unique_no` was applied for with other content. The same application once more is answered as the first was.',
  ],
  productMissing: [4004, 'Card product does not exist', '卡产品不存在', 'No BIN or package of this number is offered to the merchant.'],
  cardTypeUnsupported: [
    4006,
    'Card product does not support this card type',
    '卡产品不支持该卡类型',
    'The product is not for the `card_type`.',
  ],
  phoneCodeUnsupported: [
    4010,
    'Dialling code is not supported',
    '不支持该国际区号',
    'The `phone_code` is no country calling code. The field stands before the text.',
  ],
  cardVerificationFailed: [
    4003,
    'Card verification failed',
    '卡片验证失败',
    'Activation: the CVV or the last four digits do not fit. Which of them is not told.',
  ],
  cardStatusUnfit: [
    4005,
    'Card status does not allow this operation',
    '卡片当前状态不允许此操作',
    'A PIN is set on a card that is not `Activated`, or a status was asked for that the card cannot take from where it stands.',
  ],
  pinRefused: [
    4016,
    'PIN does not meet the requirements',
    'PIN 不符合要求',
    "The `pin` does not open to six digits, or holds three equal or consecutive digits in a row: one answer for all of these. Where one of the merchant's own policies refuses, its reason follows the text.",
  ],
  pinNotSet: [4018, 'PIN is not set', 'PIN 尚未设置', 'Issuer: a PIN is to be unblocked on a card that has none.'],
  issuerUnknown: [
    5001,
    'Issuer credential missing or invalid',
    '发卡方凭证缺失或无效',
    'Issuer: the `Authorization` header holds no bearer secret of an issuer that is enabled, or its client certificate did not come along. One answer for all of these.',
  ],
  zoneKeyUnknown: [
    5002,
    'Zone key does not exist',
    '区域密钥不存在',
    'Issuer: no zone key of this issuer has the label, or it was destroyed.',
  ],
  keyBlockRefused: [
    5003,
    'Key block is not acceptable',
    '密钥块不可接受',
    'Issuer: the key block is not of version B or D, does not open under the protection key, or holds no PIN encryption key. One answer for all of these.',
  ],
  labelTaken: [5004, 'Label is in use', '标签已被使用', 'Issuer: a key of this label is or was there. New keys take new labels.'],
  panTaken: [5005, 'PAN is in use', '卡号已被使用', 'Issuer: another card has this PAN.'],
  binExhausted: [5006, 'BIN has no free numbers', '卡段已无可用卡号', 'Issuer: no PAN that is free was found under the BIN. Give one.'],
  physicalOnly: [4017, 'Only physical cards are supported', '仅支持实体卡', 'The call is for physical cards and this one is virtual.'],
} as const satisfies Record<string, readonly [code: number, english: string, chinese: string, when: string]>;

export type ErrorName = keyof typeof catalogue;
export type Language = 'en_US' | 'zh_CN';

/** Text after a field's name when that field is at fault, where it is not the code's own: `card_no invalid parameter`. */
const FIELD_TEXT: Partial<Record<ErrorName, Record<Language, string>>> = {
  invalidParameter: { en_US: 'invalid parameter', zh_CN: '参数无效' },
  englishOnly: { en_US: 'only supports English input', zh_CN: '仅支持英文输入' },
};

/** Follows 4016 where a policy of the merchant's own refuses. */
const POLICY_TEXT: Record<PinPolicy, Record<Language, string>> = {
  repeats: { en_US: 'it repeats itself', zh_CN: '存在重复规律' },
  steps: { en_US: 'its digits follow one another in even steps', zh_CN: '数字等差排列' },
  keypad: { en_US: 'it is a shape on the keypad', zh_CN: '为键盘图形' },
  dates: { en_US: 'it is a date', zh_CN: '为日期' },
  'birth-date': { en_US: "it holds the cardholder's birth date", zh_CN: '包含持卡人生日' },
  phone: { en_US: "it is part of the cardholder's phone number", zh_CN: '包含持卡人手机号' },
  'pan-tail': { en_US: 'it is part of the card number', zh_CN: '包含卡号' },
  history: { en_US: 'it was used before', zh_CN: '近期已使用过' },
};

/** A refusal that the contract knows. Everything else that is thrown answers 1001. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly error: ErrorName;
  /** The offending field in wire names, nested ones as a dotted path. */
  readonly field: string | undefined;
  readonly retryAfterSeconds: number | undefined;
  /** The merchant's own policy that refused the PIN. */
  readonly policy: PinPolicy | undefined;

  constructor(error: ErrorName, about: { field?: string; retryAfterSeconds?: number; policy?: PinPolicy } = {}) {
    super(catalogue[error][1]);
    this.error = error;
    this.field = about.field;
    this.retryAfterSeconds = about.retryAfterSeconds;
    this.policy = about.policy;
  }
}

export function codeOf(error: ErrorName): number {
  return catalogue[error][0];
}

export function textOf(
  error: ErrorName,
  language: Language,
  about: { field?: string | undefined; policy?: PinPolicy | undefined } = {},
): string {
  const text = catalogue[error][language === 'zh_CN' ? 2 : 1];
  if (about.field !== undefined) return `${about.field} ${FIELD_TEXT[error]?.[language] ?? text}`;
  if (about.policy === undefined) return text;
  return `${text}${language === 'zh_CN' ? '：' : ': '}${POLICY_TEXT[about.policy][language]}`;
}

export interface CatalogueEntry {
  name: ErrorName;
  code: number;
  english: string;
  chinese: string;
  when: string;
}

/** The whole catalogue, by rising code, for documents and tests. */
export function catalogueEntries(): CatalogueEntry[] {
  return Object.entries(catalogue)
    .map(([name, [code, english, chinese, when]]) => ({ name: name as ErrorName, code, english, chinese, when }))
    .sort((a, b) => a.code - b.code);
}
