import type { ErrorName } from '@pinward/contract/errors';
import type { FastifyInstance, FastifyRequest, onRequestHookHandler } from 'fastify';
import { ApiError } from '../../api-error.ts';
import type { MerchantActor } from '../../audit/actor.ts';
import { type Caller, CREDENTIALS, type KnownCredential } from '../../merchants/caller.ts';
import { addressGroup } from '../../net/ip-allowlist.ts';
import { throwIfLimited } from '../../rate-limit.ts';
import type { Services } from '../../services.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who calls. Set by the merchants' gate; a route inside its scope never runs without. */
    caller: Caller;
  }
}

/** How far a Timestamp may lie behind the server's clock. It may not lie ahead of it at all. */
const TIMESTAMP_WINDOW_MS = 60_000;

interface GateOptions {
  /** Whether calls must carry an Access-Token. Get Token's need none. */
  accessToken: boolean;
}

/**
 * Puts the merchants' gate before every route of a scope. No route inside can be reached without
 * it.
 */
export function merchantGate(scope: FastifyInstance, services: Services, options: GateOptions): void {
  scope.addHook('onRequest', admitMerchant(services, options));
  scope.addHook('onRoute', (route) => {
    route.config = { ...route.config, gate: options.accessToken ? 'merchant' : 'merchant without token' };
  });
}

/**
 * Checks in the contract's order, before the body is read, and stops at the first failure: 1002,
 * 1008, 1010, 1011, 1022, 1003, 1005, 1006, 1007, 1009 by credential. Each of them but the last is
 * a failed authentication: an address with too many of them gets 1009 in its place. A correct call
 * gets in, whatever else comes from its address.
 */
function admitMerchant(services: Services, options: GateOptions): onRequestHookHandler {
  const { cache, clock, limits } = services;

  function judge(
    request: FastifyRequest,
    credential: KnownCredential | undefined,
    now: number,
  ): KnownCredential | ErrorName {
    if (credential === undefined) return 'apiKeyUnknown';
    if (!credential.enabled) return 'apiKeyDisabled';
    if (credential.expiresAtMs !== undefined && credential.expiresAtMs <= now) return 'apiKeyExpired';
    if (!credential.merchantActive) return 'merchantAbnormal';
    if (!credential.allows(request.address)) return 'ipNotAllowed';
    const timestamp = headerOf(request, 'timestamp');
    if (!/^\d{13}$/.test(timestamp)) return 'timestampInvalid';
    const ageMs = now - Number(timestamp);
    if (ageMs < 0 || ageMs > TIMESTAMP_WINDOW_MS) return 'timestampInvalid';
    if (!options.accessToken) return credential;
    const token = headerOf(request, 'access-token');
    if (token === '') return 'accessTokenRequired';
    return credential.caller.tokens.verify(token, now) ? credential : 'accessTokenInvalid';
  }

  /** Lets the request in or throws; counts the call or the failure. */
  function admit(request: FastifyRequest, verdict: KnownCredential | ErrorName): void {
    const now = clock();
    if (typeof verdict === 'string') {
      throwIfLimited(limits.failedAuth.take(addressGroup(request.address), now));
      throw new ApiError(verdict);
    }
    request.caller = verdict.caller;
    throwIfLimited(limits.callsPerCredential.take(verdict.limitKey, now));
  }

  // Without a promise where none is needed: nearly every call's credential is cached.
  return (request, reply, done) => {
    reply.header('Cache-Control', 'no-store');
    const apiKey = headerOf(request, 'api-key');
    if (apiKey === '') admit(request, 'apiKeyRequired');
    const credential = cache.get(CREDENTIALS, apiKey);
    if (credential !== undefined) {
      admit(request, judge(request, credential, clock()));
      return done();
    }
    // So a flood of keys that do not exist waits for nothing.
    if (!cache.knows(CREDENTIALS, apiKey))
      throwIfLimited(limits.failedAuth.waitSeconds(addressGroup(request.address), clock()));
    cache
      .load(CREDENTIALS, apiKey)
      .then((loaded) => admit(request, judge(request, loaded, clock())))
      .then(() => done(), done);
  };
}

function headerOf(request: FastifyRequest, name: string): string {
  const value = request.headers[name];
  return typeof value === 'string' ? value : '';
}

/** Who does what the request asks for, in audit records. */
export function actorOf(request: FastifyRequest): MerchantActor {
  return { credentialId: request.caller.credentialId, ip: request.address, requestId: request.id };
}
