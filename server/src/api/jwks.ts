import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { JWE_ALGORITHM } from '@pinward/contract/pin-envelope';
import Type from 'typebox';
import type { Services } from '../services.ts';

const Jwk = Type.Object({
  kty: Type.String(),
  crv: Type.String(),
  x: Type.String(),
  y: Type.String(),
  kid: Type.String(),
  use: Type.String(),
  alg: Type.String(),
});

/**
 * The keys to which `jwe` envelopes are sealed (RFC 7517). Public: a cardholder's browser fetches
 * them too.
 */
export function jwksRoutes({ keys }: Services): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.get(
      '/.well-known/jwks.json',
      {
        schema: {
          summary: 'Keys for `jwe` envelopes',
          description:
            'Seal to the first. After a rotation the key before it stays here, and good, until the next rotation.',
          tags: ['Authentication'],
          response: { 200: Type.Object({ keys: Type.Array(Jwk) }) },
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
            alg: JWE_ALGORITHM,
          })),
        };
      },
    );
  };
}
