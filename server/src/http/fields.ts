import Type from 'typebox';
import { successSchema } from './envelope.ts';

/** A platform's or merchant's number of a card, cardholder or the like. */
export function OrderNumber(description: string) {
  return Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$', description });
}

/** The answer of calls that have nothing to tell but that they worked. */
export const Result = successSchema(Type.Object({ result: Type.Boolean() }));
