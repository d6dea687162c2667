import type { CardStatus } from '@pinward/contract/card-status';
import type { CardType } from '@pinward/contract/vocabulary';
import { luhnDigit } from '../crypto/luhn.ts';

/*
 * The sandbox world. It is the same on every machine and all of it is public: use none of it
 * elsewhere. PANs begin with 999999. No card network has numbers that begin with 9
 * (ISO/IEC 7812-1), so none of these PANs can belong to a real card.
 */

/** The CVV key. It is public, so that the README can give the CVVs of the cards. */
export const SANDBOX_CVK = '0123456789ABCDEFFEDCBA9876543210';

export const SANDBOX_MERCHANT_NO = 'M202605220001';
const OTHER_MERCHANT_NO = 'M202605220002';
const SUSPENDED_MERCHANT_NO = 'M202605220003';
const CREDIT_MERCHANT_NO = 'M202605220004';

const LOCAL_ALLOWLIST = ['127.0.0.0/8', '::1'];

export const merchants = [
  {
    merchantNo: SANDBOX_MERCHANT_NO,
    name: 'Sandbox merchant',
    integrationMode: 'AUTHORIZATION',
    pciEnabled: true,
    suspended: false,
  },
  {
    merchantNo: OTHER_MERCHANT_NO,
    name: 'Other merchant',
    integrationMode: 'AUTHORIZATION',
    pciEnabled: false,
    suspended: false,
  },
  {
    merchantNo: SUSPENDED_MERCHANT_NO,
    name: 'Suspended merchant',
    integrationMode: 'AUTHORIZATION',
    pciEnabled: false,
    suspended: true,
  },
  {
    merchantNo: CREDIT_MERCHANT_NO,
    name: 'Credit merchant',
    integrationMode: 'CREDIT_EXTENSION',
    pciEnabled: true,
    suspended: false,
  },
] as const;

export interface SandboxCredential {
  merchantNo: string;
  apiKey: string;
  apiSecret: string;
  ipAllowlist: string[];
  disabled?: boolean;
  expired?: boolean;
}

export const MAIN_CREDENTIAL: SandboxCredential = {
  merchantNo: SANDBOX_MERCHANT_NO,
  apiKey: 'sandbox_api_key',
  apiSecret: 'sandbox-api-secret-0123456789abc',
  ipAllowlist: LOCAL_ALLOWLIST,
};

export const credentials: SandboxCredential[] = [
  MAIN_CREDENTIAL,
  {
    merchantNo: OTHER_MERCHANT_NO,
    apiKey: 'other_api_key',
    apiSecret: 'other-api-secret-0123456789abcde',
    ipAllowlist: LOCAL_ALLOWLIST,
  },
  {
    merchantNo: SANDBOX_MERCHANT_NO,
    apiKey: 'disabled_api_key',
    apiSecret: 'disabled-api-secret-0123456789ab',
    ipAllowlist: LOCAL_ALLOWLIST,
    disabled: true,
  },
  {
    merchantNo: SANDBOX_MERCHANT_NO,
    apiKey: 'expired_api_key',
    apiSecret: 'expired-api-secret-0123456789abc',
    ipAllowlist: LOCAL_ALLOWLIST,
    expired: true,
  },
  // 192.0.2.0/24 is reserved for documentation (RFC 5737): no call comes from there.
  {
    merchantNo: SANDBOX_MERCHANT_NO,
    apiKey: 'elsewhere_api_key',
    apiSecret: 'elsewhere-api-secret-0123456789a',
    ipAllowlist: ['192.0.2.0/24'],
  },
  {
    merchantNo: SUSPENDED_MERCHANT_NO,
    apiKey: 'suspended_merchant_api_key',
    apiSecret: 'suspended-api-secret-0123456789a',
    ipAllowlist: LOCAL_ALLOWLIST,
  },
  {
    merchantNo: CREDIT_MERCHANT_NO,
    apiKey: 'credit_api_key',
    apiSecret: 'credit-api-secret-0123456789abcd',
    ipAllowlist: LOCAL_ALLOWLIST,
  },
];

/** The issuer of all cards. Its keys are public, so that a newcomer can verify a PIN. */
export const ISSUER = {
  issuerNo: 'I202605220001',
  name: 'Sandbox issuer',
  secret: 'sandbox_issuer_key',
  ipAllowlist: LOCAL_ALLOWLIST,
  keys: [
    {
      kind: 'zpk',
      label: 'sandbox_zpk',
      algorithm: 'AES-256',
      bytes: '53414E44424F582D5A4F4E452D50494E2D4B45592D30313233343536373839AB',
    },
    {
      kind: 'kbpk',
      label: 'sandbox_kbpk',
      algorithm: 'AES-256',
      bytes: '53414E44424F582D4B45592D424C4F434B2D50524F54454354494F4E2D303132',
    },
  ],
} as const;

const SANDBOX_BIN = '999999';

export const CARD_BIN = {
  cardBinNo: 'B202605220001',
  bin: SANDBOX_BIN,
  panDigits: 16,
  organization: 'Sandbox',
  supportPhysical: true,
  supportVirtual: true,
  currencies: ['USD'],
  limits: {
    limit_balance: '10000.00',
    limit_week_balance: '5000.00',
    limit_atm_day_balance: '500.00',
    limit_atm_month_balance: '2000.00',
  },
};

export const cardPackages = [
  {
    package_no: 'P202605220001',
    card_bin_no: CARD_BIN.cardBinNo,
    package_type: 'Virtual',
    package_en_name: 'Sandbox virtual card',
    package_cn_name: '沙盒虚拟卡',
    consumption_limit: CARD_BIN.limits,
    fee_detail: { open_cost: '1.00', consume_rate: '0.01' },
  },
  {
    package_no: 'P202605220002',
    card_bin_no: CARD_BIN.cardBinNo,
    package_type: 'Physical',
    package_en_name: 'Sandbox physical card',
    package_cn_name: '沙盒实体卡',
    consumption_limit: CARD_BIN.limits,
    fee_detail: { open_cost: '10.00', consume_rate: '0.01', atm_rate: '0.02', atm_min_fee: '2.00' },
  },
];

export const cardholders = [
  { merchantNo: SANDBOX_MERCHANT_NO, cardholderNo: 'U202605220001' },
  { merchantNo: SANDBOX_MERCHANT_NO, cardholderNo: 'U202605220002' },
  { merchantNo: OTHER_MERCHANT_NO, cardholderNo: 'U202605220003' },
  { merchantNo: CREDIT_MERCHANT_NO, cardholderNo: 'U202605220004' },
] as const;

export interface SandboxCard {
  cardNo: string;
  cardholderNo: string;
  cardType: CardType;
  status: CardStatus;
  merchantNo: string;
  pan: string;
}

export const EXPIRY_YYMM = '3012';

export const cards: SandboxCard[] = [
  {
    merchantNo: SANDBOX_MERCHANT_NO,
    cardNo: 'C202605220001',
    cardholderNo: 'U202605220001',
    cardType: 'Physical',
    status: 'Activated',
    pan: sandboxPan(1),
  },
  {
    merchantNo: SANDBOX_MERCHANT_NO,
    cardNo: 'C202605220002',
    cardholderNo: 'U202605220001',
    cardType: 'Virtual',
    status: 'Activated',
    pan: sandboxPan(2),
  },
  {
    merchantNo: SANDBOX_MERCHANT_NO,
    cardNo: 'C202605220003',
    cardholderNo: 'U202605220001',
    cardType: 'Physical',
    status: 'ToActivate',
    pan: sandboxPan(3),
  },
  {
    merchantNo: SANDBOX_MERCHANT_NO,
    cardNo: 'C202605220004',
    cardholderNo: 'U202605220001',
    cardType: 'Physical',
    status: 'Frozen',
    pan: sandboxPan(4),
  },
  {
    merchantNo: SANDBOX_MERCHANT_NO,
    cardNo: 'C202605220005',
    cardholderNo: 'U202605220002',
    cardType: 'Physical',
    status: 'Activated',
    pan: sandboxPan(5),
  },
  {
    merchantNo: OTHER_MERCHANT_NO,
    cardNo: 'C202605220006',
    cardholderNo: 'U202605220003',
    cardType: 'Physical',
    status: 'Activated',
    pan: sandboxPan(6),
  },
];

/** A PAN of 16 digits: the sandbox's BIN, the number in nine digits, and the Luhn digit. */
export function sandboxPan(number: number): string {
  const body = `${SANDBOX_BIN}${String(number).padStart(9, '0')}`;
  return `${body}${luhnDigit(body)}`;
}
