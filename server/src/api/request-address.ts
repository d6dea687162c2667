import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { createAllowlist, plainAddress } from '../net/ip-allowlist.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /**
     * The address that it came from. Empty if the caller has gone already; no allowlist holds the
     * empty address.
     */
    address: string;
  }
}

export type ReadAddress = (request: IncomingMessage) => string;

/**
 * Returns a function that reads the address that a request came from: the other end of the
 * connection or, if that is a trusted proxy, the last address of `X-Forwarded-For` that is not one.
 * What is not an address there counts as the address of the proxy that wrote it.
 */
export function createAddressReader(trustProxy: readonly string[]): ReadAddress {
  const isProxy = createAllowlist(trustProxy);
  return ({ socket, headers }) => {
    let address = plainAddress(socket.remoteAddress ?? '');
    const forwarded = headers['x-forwarded-for'];
    if (forwarded === undefined || !isProxy(address)) return address;
    for (const hop of String(forwarded).split(',').reverse()) {
      if (hop.trim() === '') continue;
      const before = addressIn(hop.trim());
      if (before === undefined) return address;
      address = before;
      if (!isProxy(address)) return address;
    }
    return address;
  };
}

/**
 * Proxies write `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` and
 * `[2001:db8::1]:4711`.
 */
function addressIn(hop: string): string | undefined {
  const [, bracketed, v4] = /^(?:\[([^\]]+)\]|([\d.]+))(?::\d{1,5})?$/.exec(hop) ?? [];
  const address = bracketed ?? v4 ?? hop;
  return isIP(address) === 0 ? undefined : plainAddress(address);
}

/** Gives every request its `address`. */
export function nameAddresses(app: FastifyInstance, read: ReadAddress): void {
  app.decorateRequest('address', '');
  app.addHook('onRequest', (request, _reply, done) => {
    request.address = read(request.raw);
    done();
  });
}
