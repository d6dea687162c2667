import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyRequest, onRequestAsyncHookHandler } from 'fastify';
import { addressGroup, createAllowlist, plainAddress } from '../auth/ip-allowlist.ts';
import { ApiError, type ErrorName } from '../errors.ts';
import type { Services } from '../services.ts';
import type { Issuer } from './store.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The issuer that calls. Set by the issuer's gate; a route inside its scope never runs without. */
    issuer: Issuer;
  }
}

/** Who did it, from where, in which request: for audit records. */
export interface IssuerOrigin {
  issuerNo: string;
  ip: string;
  requestId: string;
}

export function issuerOriginOf(request: FastifyRequest): IssuerOrigin {
  return { issuerNo: request.issuer.issuerNo, ip: plainAddress(request.ip ?? ''), requestId: request.id };
}

/** The only form of an issuer's secret that is stored or kept. */
export function secretHashOf(secret: string): Buffer {
  return createHash('sha256').update(secret, 'utf8').digest();
}

/**
 * The issuer's gate, a hook on a scope like the merchants': limits by address, the bearer secret, its allowlist, and the client
 * certificate where the credential wants one. Missing, unknown, disabled and uncertified give one answer, 5001.
 */
export function authenticateIssuer(services: Services): onRequestAsyncHookHandler {
  const { issuers, clock, limits, config } = services;
  const isProxy = createAllowlist(config.trustProxy);

  async function judge(request: FastifyRequest): Promise<Issuer | ErrorName> {
    const secret = /^Bearer ([\x21-\x7e]{1,256})$/i.exec(request.headers.authorization ?? '')?.[1];
    if (secret === undefined) return 'issuerUnknown';
    const hash = secretHashOf(secret).toString('hex');
    const issuer = issuers.known(hash) ?? (await issuers.load(hash));
    if (!issuer?.enabled) return 'issuerUnknown';
    if (!issuer.allows(request.ip ?? '')) return 'ipNotAllowed';
    if (issuer.clientCert !== undefined && !hasCertificate(request, issuer.clientCert, isProxy)) return 'issuerUnknown';
    return issuer;
  }

  return async (request) => {
    const address = addressGroup(request.ip ?? '');
    const wait = limits.failedAuth.waitSeconds(address, clock());
    if (wait > 0) throw new ApiError('tooFrequent', { retryAfterSeconds: wait });
    const verdict = await judge(request);
    if (typeof verdict === 'string') {
      const late = limits.failedAuth.take(address, clock());
      throw late > 0 ? new ApiError('tooFrequent', { retryAfterSeconds: late }) : new ApiError(verdict);
    }
    request.issuer = verdict;
    const pause = limits.callsPerCredential.take(`issuer ${verdict.issuerId}`, clock());
    if (pause > 0) throw new ApiError('tooFrequent', { retryAfterSeconds: pause });
  };
}

/**
 * The client certificate as the proxy in front, which ended TLS, hands it on: `Client-Cert: :Base64 of its DER:` (RFC 9440). It counts
 * only from a proxy that TRUST_PROXY names, and that must take the header away from whoever sends it from outside.
 */
function hasCertificate(request: FastifyRequest, wanted: Buffer, isProxy: (address: string) => boolean): boolean {
  if (!isProxy(request.socket.remoteAddress ?? '')) return false;
  const header = request.headers['client-cert'];
  const base64 = typeof header === 'string' ? /^:([A-Za-z0-9+/]+={0,2}):$/.exec(header)?.[1] : undefined;
  if (base64 === undefined) return false;
  return timingSafeEqual(createHash('sha256').update(Buffer.from(base64, 'base64')).digest(), wanted);
}
