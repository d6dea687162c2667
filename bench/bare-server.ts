/** The baseline: a Fastify handler with the schemas of `pin/set`, and no work. Prints its URL. */
import Fastify from 'fastify';
import Type from 'typebox';
import { successSchema } from '../server/src/api/envelope.ts';
import { OrderNumber } from '../server/src/api/fields.ts';

const app = Fastify();
app.post(
  '/open-api/v1/card/pin/set',
  {
    schema: {
      body: Type.Object({ card_no: OrderNumber('card'), cardholder_no: OrderNumber('cardholder'), pin: Type.String() }),
      response: { 200: successSchema(Type.Object({ result: Type.Boolean() })) },
    },
  },
  async () => ({ code: 0, msg: 'Success', data: { result: true } }),
);
console.log(await app.listen({ host: '127.0.0.1', port: 0 }));
