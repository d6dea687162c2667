import type { FastifyPluginAsync } from 'fastify';
import type { Services } from '../../services.ts';
import type { Track } from '../track-handlers.ts';
import { cardholderRoutes } from './cardholders.ts';
import { cardRoutes } from './cards.ts';
import { merchantGate } from './gate.ts';
import { repeatAnswers } from './idempotency.ts';
import { pinRoutes } from './pins.ts';
import { productRoutes } from './products.ts';
import { tokenRoutes } from './token.ts';

/**
 * The merchants' API: Get Token behind the gate without an Access-Token, everything else behind the
 * whole gate.
 */
export function merchantApi(services: Services, track: Track): FastifyPluginAsync {
  return async (api) => {
    await api.register(async (scope) => {
      merchantGate(scope, services, { accessToken: false });
      await scope.register(tokenRoutes(services));
    });
    await api.register(async (scope) => {
      merchantGate(scope, services, { accessToken: true });
      // A PIN set can be repeated as it is, so it need not pay for anybody's Idempotency-Key.
      await scope.register(pinRoutes(services));
      await scope.register(async (repeatable) => {
        repeatAnswers(repeatable, services, track);
        await repeatable.register(cardholderRoutes(services));
        await repeatable.register(productRoutes(services));
        await repeatable.register(cardRoutes(services));
      });
    });
  };
}
