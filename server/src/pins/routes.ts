import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { originOf } from '../auth/authenticate.ts';
import { success } from '../http/envelope.ts';
import { OrderNumber, Result } from '../http/fields.ts';
import type { Services } from '../services.ts';
import { chooseEnvelope } from './pin-envelope.ts';
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
          headers: Type.Object({
            'pin-envelope': Type.Optional(
              Type.String({ description: '`ecb`, `bound` or `jwe`: how `pin` is enciphered; as the credential is set up if absent' }),
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
        const warnings = await setPin(services, request.caller, { cardNo, cardholderNo, pin, envelope, timestamp }, originOf(request));
        if (warnings.length > 0) reply.header('Pin-Warning', warnings.join(', '));
        return success(request, { result: true });
      },
    );
  };
}

/** The keys to which a `jwe` envelope is sealed (RFC 7517). Public, outside the gate: a cardholder's browser fetches them. */
export function jwksRoutes({ keys }: Services): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.get(
      '/.well-known/jwks.json',
      {
        schema: {
          summary: 'Keys for `jwe` envelopes',
          description: 'Seal to the first. After a rotation the key before it stays here, and good, until the next rotation.',
          tags: ['Authentication'],
          response: {
            200: Type.Object({
              keys: Type.Array(
                Type.Object({
                  kty: Type.String(),
                  crv: Type.String(),
                  x: Type.String(),
                  y: Type.String(),
                  kid: Type.String(),
                  use: Type.String(),
                  alg: Type.String(),
                }),
              ),
            }),
          },
        },
      },
      async (_request, reply) => {
        reply.header('Cache-Control', 'public, max-age=300').header('Access-Control-Allow-Origin', '*');
        return {
          keys: keys.jwe.map(({ kid, publicJwk }) => ({
            kty: publicJwk.kty as string,
            crv: publicJwk.crv as string,
            x: publicJwk.x as string,
            y: publicJwk.y as string,
            kid,
            use: 'enc',
            alg: 'ECDH-ES+A256KW',
          })),
        };
      },
    );
  };
}
