/** What audit chains are about: a card, a cardholder, a merchant, an issuer, or the platform. */

interface SubjectTable {
  /** The table whose rows hold the heads of these chains. */
  table: string;
  /** The table's primary key, along whose index all heads are read (store.ts). */
  key: readonly string[];
  /**
   * SQL expressions over a row, by its alias with a dot (`c.`) or none: the merchant's id (0
   * without one), the subject's number, and the chain's name in hashes, as the SQL function
   * `audit_chain` gives it.
   */
  of: (row: string) => { merchantId: string; number: string; chain: string };
}

export const SUBJECTS = {
  card: {
    table: 'cards',
    key: ['merchant_id', 'card_no'],
    of: (row) => ({ merchantId: `${row}merchant_id`, number: `${row}card_no`, chain: `${row}card_no` }),
  },
  cardholder: {
    table: 'cardholders',
    key: ['merchant_id', 'cardholder_no'],
    of: (row) => ({
      merchantId: `${row}merchant_id`,
      number: `${row}cardholder_no`,
      chain: `'cardholder:' || ${row}cardholder_no`,
    }),
  },
  merchant: {
    table: 'merchants',
    key: ['merchant_id'],
    of: (row) => ({ merchantId: `${row}merchant_id`, number: `${row}merchant_no`, chain: "''" }),
  },
  issuer: {
    table: 'issuers',
    key: ['issuer_id'],
    of: (row) => ({ merchantId: '0', number: `${row}issuer_no`, chain: `'issuer:' || ${row}issuer_no` }),
  },
  platform: {
    table: 'installation',
    key: ['one'],
    of: () => ({ merchantId: '0', number: "''", chain: "''" }),
  },
} as const satisfies Record<string, SubjectTable>;

export type SubjectKind = keyof typeof SUBJECTS;

/** What a chain is about. `merchantId` is 0 for issuers and the platform. */
export interface Subject {
  merchantId: number;
  kind: SubjectKind;
  /** Its number; empty for the platform. */
  subject: string;
}

/**
 * The name of a chain in hashes and signatures, beside the merchant's id. The SQL function
 * `audit_chain` is the same.
 */
export function chainOf({ kind, subject }: { kind: SubjectKind; subject: string }): string {
  if (kind === 'card') return subject;
  return kind === 'merchant' || kind === 'platform' ? '' : `${kind}:${subject}`;
}

/** For people: "card C1 of merchant M1", "merchant M1", "issuer I1", "the platform". */
export function subjectText({ merchantId, kind, subject }: Subject, merchants: Map<number, string>): string {
  if (kind === 'platform') return 'the platform';
  const text = `${kind} ${subject}`;
  if (kind === 'merchant' || kind === 'issuer') return text;
  return `${text} of merchant ${merchants.get(merchantId) ?? `number ${merchantId}`}`;
}
