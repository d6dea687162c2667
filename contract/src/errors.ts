import { PIN_POLICIES, type PinPolicy } from './pin-policies.ts';
import type { Language } from './vocabulary.ts';

interface ErrorEntry {
  code: number;
  english: string;
  chinese: string;
  /** For the documents: when the platform answers with this code. */
  when: string;
  /** The text after the name of the field at fault, if it differs from the code's own text. */
  field?: Record<Language, string>;
  /** Whether the name of a field always stands before the text. */
  alwaysField?: true;
}

/**
 * The error catalogue, by code: the only definition of codes and their texts. The English texts of
 * 1001 to 1022 are the API's own. The others, and all Chinese texts, are this platform's. A failure
 * has HTTP 200 and a `code` (docs/adr/0003). `docs/errors.md` is generated from this file. It is
 * one long table, so that it can be read from code to code.
 */
export const ERRORS = {
  systemError: {
    code: 1001,
    english: 'System error, please try again later',
    chinese: '系统异常，请稍后重试',
    when: 'A fault of the platform. Its log has the details under the `X-Request-Id` of the answer. The call was done completely or not at all.',
  },
  apiKeyRequired: {
    code: 1002,
    english: 'Api-Key is required',
    chinese: '缺少 Api-Key',
    when: 'The `Api-Key` header is missing or empty.',
  },
  ipNotAllowed: {
    code: 1003,
    english: 'IP address not allowed',
    chinese: 'IP 地址不在白名单内',
    when: "The caller's address is not on the credential's allowlist.",
  },
  invalidParameter: {
    code: 1004,
    english: 'Invalid request parameter',
    chinese: '请求参数无效',
    when: 'The body is not a JSON object, is over 16 KiB or has another content type, or a field is missing or malformed. If one field is at fault, its name stands before the text.',
    field: { en_US: 'invalid parameter', zh_CN: '参数无效' },
  },
  timestampInvalid: {
    code: 1005,
    english: 'Timestamp invalid or expired',
    chinese: '时间戳无效或已过期',
    when: 'The `Timestamp` header is missing, is not 13 digits of Unix milliseconds, is more than 60 s old, or lies in the future.',
  },
  accessTokenRequired: {
    code: 1006,
    english: 'Access-Token is required',
    chinese: '缺少 Access-Token',
    when: 'The `Access-Token` header is missing or empty.',
  },
  accessTokenInvalid: {
    code: 1007,
    english: 'Access-Token invalid or expired',
    chinese: 'Access-Token 无效或已过期',
    when: 'This platform did not issue the token, or it has expired, was ended, or was fetched with another Api-Key.',
  },
  apiKeyUnknown: {
    code: 1008,
    english: 'Api-Key does not exist',
    chinese: 'Api-Key 不存在',
    when: 'No credential has this Api-Key.',
  },
  tooFrequent: {
    code: 1009,
    english: 'Operation too frequent, please try again later',
    chinese: '操作过于频繁，请稍后重试',
    when: 'A limit was reached: failed authentications of an address, calls of a credential, or tries on a card. `Retry-After` gives the seconds to wait.',
  },
  apiKeyDisabled: {
    code: 1010,
    english: 'Api-Key is not enabled',
    chinese: 'Api-Key 未启用',
    when: 'The operator has disabled the credential.',
  },
  apiKeyExpired: {
    code: 1011,
    english: 'Api-Key has expired',
    chinese: 'Api-Key 已过期',
    when: 'The credential has expired.',
  },
  modeUnsupported: {
    code: 1012,
    english: 'Merchant integration mode not supported',
    chinese: '不支持该商户接入模式',
    when: 'The call is for merchants of the other integration mode.',
  },
  pciDisabled: {
    code: 1013,
    english: 'PCI sensitive card display is not enabled',
    chinese: '未开通 PCI 敏感卡信息展示',
    when: 'The merchant may not read PANs and CVVs: the operator has not allowed it.',
  },
  endBeforeStart: {
    code: 1019,
    english: 'Query end time must be after start time',
    chinese: '查询结束时间必须晚于开始时间',
    when: '`end_time` is not after `start_time`.',
  },
  rangeTooLong: {
    code: 1020,
    english: 'Query time range exceeds the allowed limit',
    chinese: '查询时间范围超出限制',
    when: '`start_time` and `end_time` are more than 90 days apart.',
  },
  merchantMissing: {
    // This platform never answers it. It stays because merchants' programs know the API's list.
    code: 1021,
    english: 'Merchant does not exist',
    chinese: '商户不存在',
    when: "Part of the API's list. This platform never answers it, since a credential cannot outlive its merchant here.",
  },
  merchantAbnormal: {
    code: 1022,
    english: 'Merchant status is abnormal, please contact administrator',
    chinese: '商户状态异常，请联系管理员',
    when: 'The operator has disabled the merchant.',
  },
  idempotencyKeyReused: {
    code: 1023,
    english: 'Idempotency-Key was used with another request',
    chinese: 'Idempotency-Key 已用于其他请求',
    when: 'The credential used this key within 24 hours for another call, or for the same call with other content. Use a new key for a new request.',
  },
  requestRunning: {
    code: 1024,
    english: 'A request with this Idempotency-Key is being processed',
    chinese: '使用该 Idempotency-Key 的请求正在处理中',
    when: 'The first request with this key has no answer yet. `Retry-After` gives the seconds to wait.',
  },
  callNotOffered: {
    code: 1025,
    english: 'This platform does not offer this call',
    chinese: '本平台不提供此接口',
    when: "The call is one of the API's money side (`account/*`, `card/consume/*`), which this platform does not do. HTTP 404.",
  },
  cardholderExists: {
    code: 2001,
    english: 'Cardholder already exists',
    chinese: '持卡人已存在',
    when: 'The `cardholder_unique_no` was applied for with another share token. The same application again gets the answer of the first.',
  },
  cardholderMissing: {
    code: 2002,
    english: 'Cardholder does not exist',
    chinese: '持卡人不存在',
    when: "No cardholder of the merchant, or of the issuer's merchants, has this number.",
  },
  cardholderVerified: {
    code: 2003,
    english: 'Cardholder already verified',
    chinese: '持卡人已通过认证',
    when: 'The cardholder is `Approved`: nothing is left to apply for or to decide.',
  },
  verificationPending: {
    code: 2004,
    english: 'Cardholder has a pending verification',
    chinese: '持卡人认证处理中',
    when: 'The verification is not decided yet. Until then the cardholder cannot apply again and gets no card.',
  },
  verificationFailed: {
    code: 2005,
    english: 'Cardholder verification failed',
    chinese: '持卡人认证失败',
    when: 'The cardholder is `Rejected` and gets no card. It can apply again with another share token.',
  },
  kycUnreadable: {
    code: 2006,
    english: 'Failed to retrieve cardholder KYC information',
    chinese: '获取持卡人 KYC 信息失败',
    when: 'The verifier does not know the share token. In the sandbox: it begins with none of `approve-`, `reject-`, `pending-`.',
  },
  addressCharacters: {
    code: 2007,
    english: 'Please use English letters, numbers, spaces, or common address symbols (e.g. - / #).',
    chinese: '请使用英文字母、数字、空格或常用地址符号（如 - / #）。',
    when: 'An address field holds another character.',
    alwaysField: true,
  },
  englishOnly: {
    code: 2008,
    english: 'Only English is supported',
    chinese: '仅支持英文',
    when: 'An address field is not in English.',
    alwaysField: true,
    field: { en_US: 'only supports English input', zh_CN: '仅支持英文输入' },
  },
  countryUnsupported: {
    code: 2009,
    english: 'Country is not supported',
    chinese: '不支持该国家',
    when: 'The `country` is not a supported ISO 3166-1 alpha-2 code.',
    alwaysField: true,
  },
  postalCodeUnfit: {
    code: 2010,
    english: 'The postal code does not match the selected address (state/province, city)',
    chinese: '邮政编码与所选地址（州/省、城市）不匹配',
    when: "The `postal_code` does not have the country's form.",
    // The API's own text blames state and city too, which are not judged here.
    field: {
      en_US: "The postal code does not match the country's form",
      zh_CN: '邮政编码与该国家的格式不匹配',
    },
    alwaysField: true,
  },
  cardholderUniqueNoMismatch: {
    code: 2011,
    english: 'Cardholder unique number mismatch',
    chinese: '持卡人唯一编号不匹配',
    when: 'The cardholder was created with another `cardholder_unique_no`.',
  },
  cardMissing: {
    code: 4001,
    english: 'Card does not exist',
    chinese: '卡片不存在',
    when: "No card of this merchant and cardholder has this number. Another merchant's card gets the same answer as no card.",
  },
  cardUniqueNoTaken: {
    code: 4002,
    english: 'Card unique number was used with another application',
    chinese: '卡片唯一编号已用于其他申请',
    when: 'The `card_unique_no` was applied for with other content. The same application again gets the answer of the first.',
  },
  cardVerificationFailed: {
    code: 4003,
    english: 'Card verification failed',
    chinese: '卡片验证失败',
    when: 'Activation: the CVV or the last four digits are wrong. The answer does not tell which.',
  },
  productMissing: {
    code: 4004,
    english: 'Card product does not exist',
    chinese: '卡产品不存在',
    when: 'No BIN or package with this number is offered to the merchant.',
  },
  cardStatusUnfit: {
    code: 4005,
    english: 'Card status does not allow this operation',
    chinese: '卡片当前状态不允许此操作',
    when: 'The card is not `Activated`, so its PIN cannot be set or verified; or its PAN and CVV cannot be read in its status; or it cannot change from its status to the requested one; or the issuer decides on a card that was not applied for.',
  },
  cardTypeUnsupported: {
    code: 4006,
    english: 'Card product does not support this card type',
    chinese: '卡产品不支持该卡类型',
    when: 'The product has no cards of this `card_type`.',
  },
  phoneCodeUnsupported: {
    code: 4010,
    english: 'Dialling code is not supported',
    chinese: '不支持该国际区号',
    when: 'The `phone_code` is not a country calling code.',
    alwaysField: true,
  },
  pinRefused: {
    code: 4016,
    english: 'PIN does not meet the requirements',
    chinese: 'PIN 不符合要求',
    when: "The `pin` does not open to six digits, or three digits in a row are equal or consecutive. All of these get one answer. If one of the merchant's own policies refuses the PIN, the reason follows the text.",
  },
  physicalOnly: {
    code: 4017,
    english: 'Only physical cards are supported',
    chinese: '仅支持实体卡',
    when: 'The call is for physical cards, and this card is virtual.',
  },
  pinNotSet: {
    code: 4018,
    english: 'PIN is not set',
    chinese: 'PIN 尚未设置',
    when: 'Issuer: the PIN cannot be unblocked, because the card has none.',
  },
  issuerUnknown: {
    code: 5001,
    english: 'Issuer credential missing or invalid',
    chinese: '发卡方凭证缺失或无效',
    when: 'Issuer: the `Authorization` header does not hold the bearer secret of an enabled issuer, or the required client certificate is missing. All of these get one answer.',
  },
  zoneKeyUnknown: {
    code: 5002,
    english: 'Zone key does not exist',
    chinese: '区域密钥不存在',
    when: 'Issuer: the issuer has no zone key with this label, or it was destroyed.',
  },
  keyBlockRefused: {
    code: 5003,
    english: 'Key block is not acceptable',
    chinese: '密钥块不可接受',
    when: 'Issuer: the key block is not of version B or D, does not open under the protection key, does not hold a PIN encryption key, or holds a key that is published (in production). All of these get one answer.',
  },
  labelTaken: {
    code: 5004,
    english: 'Label is in use',
    chinese: '标签已被使用',
    when: 'Issuer: a key with this label exists or existed. Use a new label for a new key.',
  },
  panTaken: {
    code: 5005,
    english: 'PAN is in use',
    chinese: '卡号已被使用',
    when: 'Issuer: another card has this PAN.',
  },
  binExhausted: {
    code: 5006,
    english: 'BIN has no free numbers',
    chinese: '卡段已无可用卡号',
    when: 'Issuer: no free PAN was found under the BIN. Send a PAN with the call.',
  },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorName = keyof typeof ERRORS;

/** What a failure's text may say beyond its code. */
export interface ErrorDetail {
  /** The field at fault, in wire names. A nested field is a dotted path. */
  field?: string | undefined;
  /** The merchant's own policy that refused the PIN. */
  policy?: PinPolicy | undefined;
}

/** The `msg` of a failure: the code's text, with the field before it or the policy after it. */
export function errorText(name: ErrorName, language: Language, { field, policy }: ErrorDetail = {}): string {
  const entry: ErrorEntry = ERRORS[name];
  const text = language === 'zh_CN' ? entry.chinese : entry.english;
  if (field !== undefined) return `${field} ${entry.field?.[language] ?? text}`;
  if (policy === undefined) return text;
  return `${text}${language === 'zh_CN' ? '：' : ': '}${PIN_POLICIES[policy].refusal[language]}`;
}
