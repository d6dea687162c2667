import { createSecretKey } from 'node:crypto';
import { sealEcb } from '../../src/crypto/ecb-envelope.ts';

/*
 * The numbers and secrets of the sandbox world, by what they are. src/sandbox/world.ts makes them,
 * README.md lists them.
 */

export const MERCHANT_NO = 'M202605220001';
export const OTHER_MERCHANT_NO = 'M202605220002';
export const SUSPENDED_MERCHANT_NO = 'M202605220003';
/** Of integration mode `CREDIT_EXTENSION`; the others are `AUTHORIZATION` merchants. */
export const CREDIT_MERCHANT_NO = 'M202605220004';

export const API_KEY = 'sandbox_api_key';
export const SANDBOX_SECRET = 'sandbox-api-secret-0123456789abc';
export const OTHER_API_KEY = 'other_api_key';
export const OTHER_SECRET = 'other-api-secret-0123456789abcde';
export const CREDIT_API_KEY = 'credit_api_key';
export const DISABLED_API_KEY = 'disabled_api_key';
export const EXPIRED_API_KEY = 'expired_api_key';
/** Allowed from 192.0.2.0/24 alone. */
export const ELSEWHERE_API_KEY = 'elsewhere_api_key';
export const SUSPENDED_API_KEY = 'suspended_merchant_api_key';

export const CARDHOLDER_NO = 'U202605220001';
export const SECOND_CARDHOLDER_NO = 'U202605220002';
export const OTHER_MERCHANTS_CARDHOLDER_NO = 'U202605220003';
export const CREDIT_MERCHANTS_CARDHOLDER_NO = 'U202605220004';

export interface Card {
  cardNo: string;
  cardholderNo: string;
}

/** Physical and activated: its PIN can be set. */
export const FIRST_CARD: Card = { cardNo: 'C202605220001', cardholderNo: CARDHOLDER_NO };
export const VIRTUAL_CARD: Card = { cardNo: 'C202605220002', cardholderNo: CARDHOLDER_NO };
/** Physical; last four digits 0030, CVV 685. */
export const CARD_TO_ACTIVATE: Card = { cardNo: 'C202605220003', cardholderNo: CARDHOLDER_NO };
export const FROZEN_CARD: Card = { cardNo: 'C202605220004', cardholderNo: CARDHOLDER_NO };
/** Physical and activated. */
export const SECOND_CARDHOLDERS_CARD: Card = { cardNo: 'C202605220005', cardholderNo: SECOND_CARDHOLDER_NO };
/** Physical and activated. */
export const OTHER_MERCHANTS_CARD: Card = { cardNo: 'C202605220006', cardholderNo: OTHER_MERCHANTS_CARDHOLDER_NO };

export const BIN_NO = 'B202605220001';
export const VIRTUAL_PACKAGE_NO = 'P202605220001';
export const PHYSICAL_PACKAGE_NO = 'P202605220002';

export const ISSUER_NO = 'I202605220001';
export const ZONE_KEY = 'sandbox_zpk';
export const PROTECTION_KEY = 'sandbox_kbpk';

/** A card in wire names, for the body of a call. */
export function wireNamesOf({ cardNo, cardholderNo }: Card): { card_no: string; cardholder_no: string } {
  return { card_no: cardNo, cardholder_no: cardholderNo };
}

/** Enciphers as a merchant's server does. */
export function seal(digits: string, secret = SANDBOX_SECRET): string {
  return sealEcb(createSecretKey(Buffer.from(secret, 'utf8')), digits);
}

/** A body that sets a PIN on the first card. */
export function pinBody(pin: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { ...wireNamesOf(FIRST_CARD), pin: seal(pin), ...more };
}
