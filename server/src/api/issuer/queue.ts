import Type, { type Static } from 'typebox';
import { FilledLine, OrderNumber } from '../fields.ts';

/** The query of the issuer's queues, which answer from the oldest item on. */
export const QueueQuery = Type.Object({
  after: Type.Optional(OrderNumber('The number of the last item of the page before')),
  size: Type.Optional(Type.String({ pattern: '^([1-9][0-9]?|100)$', description: '1 to 100; 100 if absent' })),
});

export function readQueueSize({ size }: Static<typeof QueueQuery>): number {
  return Number(size ?? 100);
}

/** Why the issuer decides as it does. */
export const Reason = FilledLine(256);
