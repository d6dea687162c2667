import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { success, successSchema } from '../http/envelope.ts';
import type { Services } from '../services.ts';

/** Get Token, the one call that needs no Access-Token. Every call gives a new token, and the earlier ones live on. */
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
              Type.Object({ access_token: Type.String(), expired_time: Type.Integer({ description: 'Unix milliseconds' }) }),
            ),
          },
        },
      },
      async (request) => {
        const expiresAtMs = clock() + config.accessTokenLifetimeMs;
        return success(request, { access_token: request.caller.tokens.issue(expiresAtMs), expired_time: expiresAtMs });
      },
    );
  };
}
