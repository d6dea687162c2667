import type { CallbackAction } from '@pinward/contract/vocabulary';
import Type, { type TSchema } from 'typebox';
import { CardStatusField, Time } from './fields.ts';

/*
 * The callbacks that merchants get, as `webhooks` of the OpenAPI document. A test holds what is
 * really sent against them.
 */

const pinData = (time: string): TSchema =>
  Type.Object({ card_no: Type.String(), cardholder_no: Type.String(), time: Time(time) });

const ACTIONS: Record<CallbackAction, { summary: string; data: TSchema }> = {
  Card_update: {
    summary: "A card's status changed",
    data: Type.Object({
      card_no: Type.String(),
      before_status: CardStatusField,
      after_status: CardStatusField,
      reason: Type.String({ description: 'Empty if none was given' }),
      time: Time('Change'),
    }),
  },
  Pin_set: { summary: "A card's PIN was set", data: pinData('Set') },
  Pin_blocked: { summary: 'Too many wrong PINs blocked the PIN of a card', data: pinData('Block') },
  Pin_unblocked: { summary: 'The issuer unblocked the PIN of a card', data: pinData('Unblock') },
};

const DESCRIPTION =
  'POST to the callback URL of the merchant. `Card_update` always goes there; the operator switches on the others. ' +
  'At least once, with the same `id`, and for each card in the order of its changes. docs/compatibility.md has the rest.';

const HEADERS = {
  Timestamp: 'Unix milliseconds of this request',
  Signature: 'HMAC-SHA-256 in lower-case hex, under the apiSecret',
  'Sign-Version': 'V1',
  Timezone: 'UTC+8',
};

const REPLY = Type.Object({
  code: Type.Number({ description: '0 for success; anything else is a failure, and the callback comes again' }),
  message: Type.Optional(Type.String({ description: 'Why it failed, for the operator' })),
});

/** The `webhooks` of an OpenAPI 3.1 document: action → what is sent. */
export function documentedCallbacks(): Record<string, object> {
  const json = (schema: TSchema): object => ({ 'application/json': { schema } });
  return Object.fromEntries(
    Object.entries(ACTIONS).map(([action, { summary, data }]) => {
      const id = Type.String({ format: 'uuid', description: 'The same when the callback comes again' });
      const body = Type.Object({ id, action: Type.Literal(action), data });
      const parameters = Object.entries(HEADERS).map(([name, description]) => ({
        ...{ in: 'header', name, required: true, description },
        schema: { type: 'string' },
      }));
      const responses = { 200: { description: 'The callback arrived, or a failure', content: json(REPLY) } };
      const requestBody = { required: true, content: json(body) };
      return [action, { post: { summary, description: DESCRIPTION, parameters, requestBody, responses } }];
    }),
  );
}
