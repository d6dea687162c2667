import type { FastifyPluginAsync } from 'fastify';
import type { Services } from '../../services.ts';
import { documentIssuerApi } from '../openapi.ts';
import { issuerCardholderRoutes } from './cardholders.ts';
import { issuerCardRoutes } from './cards.ts';
import { issuerGate } from './gate.ts';
import { issuerPinRoutes } from './pins.ts';
import { issuerZoneKeyRoutes } from './zone-keys.ts';

/** The issuers' API, behind a gate of its own and with an OpenAPI document of its own. */
export function issuerApi(services: Services): FastifyPluginAsync {
  return async (api) => {
    await documentIssuerApi(api);
    await api.register(
      async (scope) => {
        issuerGate(scope, services);
        await scope.register(issuerPinRoutes(services));
        await scope.register(issuerZoneKeyRoutes(services));
        await scope.register(issuerCardholderRoutes(services));
        await scope.register(issuerCardRoutes(services));
      },
      { prefix: '/v1' },
    );
  };
}
