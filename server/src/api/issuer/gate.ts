import { createHash, timingSafeEqual } from 'node:crypto';
import type { ErrorName } from '@pinward/contract/errors';
import type { FastifyInstance, FastifyRequest, onRequestAsyncHookHandler } from 'fastify';
import { ApiError } from '../../api-error.ts';
import type { IssuerActor } from '../../audit/actor.ts';
import { secretHashOf } from '../../crypto/secret-hash.ts';
import { ISSUERS, type Issuer } from '../../issuers/store.ts';
import { addressGroup, createAllowlist } from '../../net/ip-allowlist.ts';
import { throwIfLimited } from '../../rate-limit.ts';
import type { Services } from '../../services.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /**
     * The issuer that calls. Set by the issuers' gate; a route inside its scope never runs without.
     */
    issuer: Issuer;
  }
}

/**
 * Puts the issuers' gate before every route of a scope. No route inside can be reached without it.
 */
export function issuerGate(scope: FastifyInstance, services: Services): void {
  scope.addHook('onRequest', admitIssuer(services));
  scope.addHook('onRoute', (route) => {
    route.config = { ...route.config, gate: 'issuer' };
  });
}

/**
 * Checks the bearer secret, its allowlist, and the client certificate if the credential requires
 * one. A missing, unknown, disabled or uncertified credential gets one answer, 5001. An address
 * with too many failures gets 1009 in place of another one. A correct call gets in, whatever else
 * comes from its address.
 */
function admitIssuer(services: Services): onRequestAsyncHookHandler {
  const { cache, clock, limits, config } = services;
  const isProxy = createAllowlist(config.trustProxy);

  async function judge(request: FastifyRequest): Promise<Issuer | ErrorName> {
    const secret = /^Bearer ([\x21-\x7e]{1,256})$/i.exec(request.headers.authorization ?? '')?.[1];
    if (secret === undefined) return 'issuerUnknown';
    const hash = secretHashOf(secret).toString('hex');
    if (!cache.knows(ISSUERS, hash))
      throwIfLimited(limits.failedAuth.waitSeconds(addressGroup(request.address), clock()));
    const issuer = await cache.load(ISSUERS, hash);
    if (!issuer?.enabled) return 'issuerUnknown';
    if (!issuer.allows(request.address)) return 'ipNotAllowed';
    if (issuer.clientCert !== undefined && !hasCertificate(request, issuer.clientCert, isProxy)) return 'issuerUnknown';
    return issuer;
  }

  return async (request, reply) => {
    reply.header('Cache-Control', 'no-store');
    const verdict = await judge(request);
    if (typeof verdict === 'string') {
      throwIfLimited(limits.failedAuth.take(addressGroup(request.address), clock()));
      throw new ApiError(verdict);
    }
    request.issuer = verdict;
    throwIfLimited(limits.callsPerCredential.take(`issuer ${verdict.issuerId}`, clock()));
  };
}

/**
 * Whether the request carries the client certificate, as the proxy that ended TLS passes it on:
 * `Client-Cert: :Base64 of its DER:` (RFC 9440). It counts only from a proxy that TRUST_PROXY
 * names. That proxy must remove the header from requests that come from outside.
 */
function hasCertificate(request: FastifyRequest, expected: Buffer, isProxy: (address: string) => boolean): boolean {
  if (!isProxy(request.socket.remoteAddress ?? '')) return false;
  const header = request.headers['client-cert'];
  const base64 = typeof header === 'string' ? /^:([A-Za-z0-9+/]+={0,2}):$/.exec(header)?.[1] : undefined;
  if (base64 === undefined) return false;
  return timingSafeEqual(createHash('sha256').update(Buffer.from(base64, 'base64')).digest(), expected);
}

/** Who does what the request asks for, in audit records. */
export function issuerActorOf(request: FastifyRequest): IssuerActor {
  return { issuerNo: request.issuer.issuerNo, ip: request.address, requestId: request.id };
}
