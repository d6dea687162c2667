import Type, { type TSchema } from 'typebox';
import { successSchema } from './envelope.ts';

/** A platform's or merchant's number of a card, cardholder or the like. */
export function OrderNumber(description: string) {
  return Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$', description });
}

/** A number that the merchant gives: its own, so in its own form. */
export function UniqueNumber(description: string) {
  return Type.String({ minLength: 1, maxLength: 64, pattern: '^[^\\u0000-\\u001f\\u007f]*$', description });
}

/** A member that may be left out. `null` says the same: many JSON libraries write it for what is not there. */
export function Maybe<T extends TSchema>(schema: T) {
  return Type.Optional(Type.Union([schema, Type.Null()]));
}

export function Email(description: string) {
  return Type.String({ maxLength: 254, pattern: '^[^@\\s\\u0000]+@[^@\\s\\u0000]+$', description });
}

/** A filter by a number of either kind; an empty one is none, since the API's own samples send fields empty. */
export const Filter = Maybe(Type.String({ maxLength: 64, pattern: '^[^\\u0000]*$' }));

/** The answer of calls that have nothing to tell but that they worked. */
export const Result = successSchema(Type.Object({ result: Type.Boolean() }));
