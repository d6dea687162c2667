import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import type { Services } from '../../services.ts';
import { success, successSchema } from '../envelope.ts';

/**
 * Get Token, the only call that needs no Access-Token. Each call gives a new token; earlier ones
 * stay valid.
 */
export function tokenRoutes({ clock, config }: Services): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.get(
      '/merchant/token',
      {
        schema: {
          summary: 'Get an access token',
          tags: ['Authentication'],
          response: {
            200: successSchema(
              Type.Object({
                access_token: Type.String(),
                expired_time: Type.Integer({ description: 'Unix milliseconds' }),
              }),
            ),
          },
        },
      },
      async (request) => {
        const expiresAtMs = clock() + config.accessTokenLifetimeMs;
        const token = request.caller.tokens.issue(expiresAtMs);
        return success(request, { access_token: token, expired_time: expiresAtMs });
      },
    );
  };
}
