import { CARD_TYPES } from '@pinward/contract/vocabulary';
import Type, { type Static } from 'typebox';
import Value from 'typebox/value';
import { OperatorError } from '../operator-error.ts';
import { FILLED_LINE, findIllFormed, LINE } from '../text.ts';
import { NO_LIMITS } from './store.ts';

const Amount = Type.String({ pattern: '^[0-9]{1,12}(\\.[0-9]{1,6})?$' });
const Count = Type.Integer({ minimum: 0, maximum: 1_000_000 });
/** The API's constants 8.7. */
const Exemption = Type.Enum(['Forever', 'None', 'Day']);

/** Amounts, as decimal text. */
export const LimitFields = Type.Object({
  limit_balance: Amount,
  limit_week_balance: Amount,
  limit_atm_day_balance: Amount,
  limit_atm_month_balance: Amount,
});

/**
 * The API's fee table, member by member (section 12.3). `consume_cancle_fee` is the API's own
 * spelling.
 */
const FEE_FIELDS = {
  consume_rate: Amount,
  open_cost: Amount,
  cross_consume_rate: Amount,
  small_consume_threshold: Amount,
  small_consume_deduct: Amount,
  free_small_consume_count: Count,
  free_small_excuse_type: Exemption,
  free_small_excuse_days: Count,
  refund_rate: Amount,
  consume_cancle_fee: Amount,
  consume_cancel_threshold: Amount,
  decline_fee: Amount,
  decline_fee_free_count: Count,
  decline_fee_free_type: Exemption,
  decline_fee_free_days: Count,
  atm_rate: Amount,
  atm_min_fee: Amount,
  apple_pay_fee: Amount,
  manage_fee_type: Type.String({ maxLength: 32, pattern: LINE }),
  manage_fee: Amount,
  management_fee_free_type: Exemption,
  free_management_fee_threshold: Amount,
};

/** Empty for cards without a package. */
export const FeeDetail = Type.Partial(Type.Object(FEE_FIELDS));

/** What an absent fee means: none. */
const NO_FEES = Object.fromEntries(Object.entries(FEE_FIELDS).map(([name, field]) => [name, noFee(field)]));

function noFee(field: (typeof FEE_FIELDS)[keyof typeof FEE_FIELDS]): string | number {
  if (field === Count) return 0;
  if (field === Amount) return '0';
  return field === Exemption ? 'None' : '';
}

const PackageNo = Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$' });
const Name = Type.String({ minLength: 1, maxLength: 128, pattern: FILLED_LINE });
const Text = Type.String({ maxLength: 4_096, pattern: '^[^\\u0000]*$' });
const Tags = Type.Array(Name, { maxItems: 32 });

/** What `package create` reads, in wire names. */
const Sheet = Type.Object(
  {
    package_no: PackageNo,
    card_bin_no: PackageNo,
    package_type: Type.Enum([...CARD_TYPES]),
    package_en_name: Name,
    package_cn_name: Name,
    en_desc: Text,
    cn_desc: Text,
    en_tag_list: Tags,
    cn_tag_list: Tags,
    consumption_limit: LimitFields,
    fee_detail: Type.Object(FEE_FIELDS, { additionalProperties: false }),
  },
  { additionalProperties: false },
);

export type PackageSheet = Static<typeof Sheet>;

/**
 * Reads a package's sheet, which is JSON. An absent text or list is empty, an absent amount or
 * count is 0. Throws an OperatorError that names the member with the fault.
 */
export function readPackageSheet(text: string): PackageSheet {
  let given: Partial<PackageSheet>;
  try {
    given = JSON.parse(text);
  } catch {
    throw new OperatorError('the file is not JSON');
  }
  const illFormed = findIllFormed(text, given);
  if (illFormed !== undefined)
    throw new OperatorError(`the package is not valid: ${illFormed || 'it'} has an unpaired surrogate`);
  const sheet: unknown = {
    en_desc: '',
    cn_desc: '',
    en_tag_list: [],
    cn_tag_list: [],
    ...given,
    consumption_limit: { ...NO_LIMITS, ...given?.consumption_limit },
    fee_detail: { ...NO_FEES, ...given?.fee_detail },
  };
  const [fault] = Value.Errors(Sheet, sheet);
  if (fault !== undefined)
    throw new OperatorError(`the package is not valid: ${fault.instancePath.slice(1) || 'it'} ${fault.message}`);
  return sheet as PackageSheet;
}
