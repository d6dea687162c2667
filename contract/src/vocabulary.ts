/**
 * Words that appear on the wire and in the database. Each list is the only definition of its words.
 */

export const CARD_TYPES = ['Virtual', 'Physical'] as const;
export type CardType = (typeof CARD_TYPES)[number];

/** Who has frozen a card. Neither of them can unfreeze what the other froze. */
export const FREEZERS = ['merchant', 'issuer', 'both'] as const;
export type Freezer = (typeof FREEZERS)[number];

export const CARDHOLDER_STATUSES = ['Pending', 'In_progress', 'Approved', 'Rejected'] as const;
export type CardholderStatus = (typeof CARDHOLDER_STATUSES)[number];

/** `AUTHORIZATION` merchants apply for cards by BIN, `CREDIT_EXTENSION` merchants by package. */
export const INTEGRATION_MODES = ['AUTHORIZATION', 'CREDIT_EXTENSION'] as const;
export type IntegrationMode = (typeof INTEGRATION_MODES)[number];

/** What a callback can report. A merchant with a callback URL receives the actions set for it. */
export const CALLBACK_ACTIONS = ['Card_update', 'Pin_set', 'Pin_blocked', 'Pin_unblocked'] as const;
export type CallbackAction = (typeof CALLBACK_ACTIONS)[number];

/** Languages of an answer's `msg`. */
export type Language = 'en_US' | 'zh_CN';
