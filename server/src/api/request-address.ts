import type { FastifyRequest } from 'fastify';

/**
 * The address that a request came from. Empty if the caller has gone away already (then `request.ip` is undefined,
 * whatever its type says); no allowlist holds the empty address.
 */
export function addressOf(request: FastifyRequest): string {
  return request.ip ?? '';
}
