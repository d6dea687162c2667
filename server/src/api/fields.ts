import { CARD_STATUSES } from '@pinward/contract/card-status';
import { CARD_TYPES, CARDHOLDER_STATUSES } from '@pinward/contract/vocabulary';
import Type, { type TSchema } from 'typebox';
import { FILLED_LINE, isBlank } from '../text.ts';
import { successSchema } from './envelope.ts';

/**
 * The platform's number of a card, a cardholder and so on. Imported ones may have another form than
 * ours.
 */
export function OrderNumber(description: string) {
  return Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$', description });
}

/**
 * A line of text that is not blank: it has a letter, a digit or a symbol, and no control
 * characters.
 */
export function FilledLine(maxLength: number, description?: string) {
  return Type.String({ minLength: 1, maxLength, pattern: FILLED_LINE, ...(description && { description }) });
}

/** A number that the merchant gives, in a form of its own. */
export function UniqueNumber(description: string) {
  return FilledLine(64, description);
}

/**
 * A member that may be absent. `null` means the same, since many JSON libraries write it for a
 * missing value.
 */
export function Maybe<T extends TSchema>(schema: T) {
  return Type.Optional(Type.Union([schema, Type.Null()]));
}

/**
 * A filter by a number of either kind. An empty one filters nothing: the API's own samples send
 * empty fields.
 */
export const Filter = Maybe(Type.String({ maxLength: 64, pattern: '^[^\\u0000]*$' }));

/** The text of a member that may be absent; a blank one is absent. */
export function filled(text: string | null | undefined): string | undefined {
  return isBlank(text ?? '') ? undefined : (text ?? undefined);
}

export const CardTypeField = Type.Enum([...CARD_TYPES]);
export const CardStatusField = Type.Enum([...CARD_STATUSES]);
export const CardholderStatusField = Type.Enum([...CARDHOLDER_STATUSES]);

/** An instant in Unix milliseconds. */
export function Time(description: string) {
  return Type.Integer({ description: `${description}, Unix milliseconds` });
}

/** One @, no blanks or control characters, and a letter or digit after the @. */
const EMAIL_CHARACTER = '[^@\\s\\u0000-\\u001f\\u007f]';
const EMAIL = `^${EMAIL_CHARACTER}+@${EMAIL_CHARACTER}*[\\p{L}\\p{N}]${EMAIL_CHARACTER}*$`;

export function Email(description: string) {
  return Type.String({ maxLength: 254, pattern: EMAIL, description });
}

/** `yyyy-MM-dd`. That there is such a day is judged later. */
export const BirthDate = Type.String({ pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' });
const PHONE_DIGITS = '[ ().-]*([0-9][ ().-]*)';

export const Phone = Type.String({
  maxLength: 40,
  pattern: `^(${PHONE_DIGITS}{4,20}|[+]${PHONE_DIGITS}{7,20})$`,
  description:
    '4 to 20 digits, also with blanks, hyphens, dots and brackets between them; 7 to 20 after a + with the country calling code',
});

export const Pan = Type.String({ pattern: '^[0-9]{12,19}$' });
export const Expiry = Type.String({ pattern: '^[0-9]{4}$', description: 'YYMM' });

/** The answer of calls that only tell that they worked. */
export const Result = successSchema(Type.Object({ result: Type.Boolean() }));
