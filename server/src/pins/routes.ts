import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { originOf } from '../auth/authenticate.ts';
import { success } from '../http/envelope.ts';
import { OrderNumber, Result } from '../http/fields.ts';
import type { Services } from '../services.ts';
import { setPin } from './set-pin.ts';

export function pinRoutes(services: Services): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.post(
      '/card/pin/set',
      {
        schema: {
          summary: 'Set the PIN of a physical card',
          description: 'Physical cards in status `Activated` alone. The same PIN may be set again.',
          tags: ['Cards'],
          body: Type.Object({
            card_no: OrderNumber('The card'),
            cardholder_no: OrderNumber('The cardholder that the card belongs to'),
            pin: Type.String({ description: 'Six digits, AES/ECB/PKCS5Padding under the bytes of the apiSecret, in standard Base64' }),
          }),
          response: { 200: Result },
        },
      },
      async (request) => {
        const { card_no: cardNo, cardholder_no: cardholderNo, pin } = request.body;
        await setPin(services, request.caller, { cardNo, cardholderNo, pin }, originOf(request));
        return success(request, { result: true });
      },
    );
  };
}
