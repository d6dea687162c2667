import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { chooseEnvelope } from '../../pins/pin-envelope.ts';
import { setPin } from '../../pins/set-pin.ts';
import type { Services } from '../../services.ts';
import { success } from '../envelope.ts';
import { OrderNumber, Result } from '../fields.ts';
import { actorOf } from './gate.ts';

export function pinRoutes(services: Services): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.post(
      '/card/pin/set',
      {
        config: {
          answerHeaders: {
            'Pin-Warning': {
              description: "The merchant's own policies that warn of this PIN, separated by commas",
              schema: { type: 'string' },
            },
          },
        },
        schema: {
          summary: 'Set the PIN of a physical card',
          description: 'Only physical cards in status `Activated`. The same PIN may be set again.',
          tags: ['Cards'],
          headers: Type.Object({
            'pin-envelope': Type.Optional(
              Type.String({
                description: '`ecb`, `bound` or `jwe`: how `pin` is enciphered. If absent, as the credential is set up',
              }),
            ),
          }),
          body: Type.Object({
            card_no: OrderNumber('The card'),
            cardholder_no: OrderNumber('The cardholder that the card belongs to'),
            pin: Type.String({
              description:
                '`ecb`: six digits, AES/ECB/PKCS5Padding under the bytes of the apiSecret, in standard Base64. `bound`: the same under a key derived for this card and Timestamp. `jwe`: a compact JWE to a key of `/.well-known/jwks.json`',
            }),
          }),
          response: { 200: Result },
        },
      },
      async (request, reply) => {
        const { card_no: cardNo, cardholder_no: cardholderNo, pin } = request.body;
        const envelope = chooseEnvelope(request.headers['pin-envelope'], request.caller);
        const timestamp = request.headers.timestamp as string; // the gate has judged it
        const sealed = { cardNo, cardholderNo, pin, envelope, timestamp };
        const warnings = await setPin(services, request.caller, sealed, actorOf(request));
        if (warnings.length > 0) reply.header('Pin-Warning', warnings.join(', '));
        return success(request, { result: true });
      },
    );
  };
}
