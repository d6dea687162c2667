import type { FastifyRequest, onRequestHookHandler } from 'fastify';
import { ApiError, type ErrorName } from '../errors.ts';
import type { Services } from '../services.ts';
import type { Caller, KnownCredential } from './callers.ts';
import { addressGroup, plainAddress } from './ip-allowlist.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who calls. Set by the gate; a route inside a gated scope never runs without. */
    caller: Caller;
  }
}

/** A timestamp may lie this far behind the server's clock, and not at all ahead of it. */
const TIMESTAMP_WINDOW_MS = 60_000;

/**
 * The gate: a hook on a scope, so that no route inside can be reached around it. Judges in the contract's order and
 * stops at the first failure: 1009 by address, 1002, 1008, 1010, 1011, 1022, 1003, 1005, 1006, 1007, 1009 by credential.
 * It runs before the body is read. Get Token's scope has it without the Access-Token.
 */
export function authenticate(services: Services, scope: { accessToken: boolean }): onRequestHookHandler {
  const { callers, clock, limits } = services;

  function judge(request: FastifyRequest, credential: KnownCredential | undefined, now: number): KnownCredential | ErrorName {
    if (credential === undefined) return 'apiKeyUnknown';
    if (!credential.enabled) return 'apiKeyDisabled';
    if (credential.expiresAtMs !== undefined && credential.expiresAtMs <= now) return 'apiKeyExpired';
    if (!credential.merchantActive) return 'merchantAbnormal';
    if (!credential.allows(addressOf(request))) return 'ipNotAllowed';
    const timestamp = headerOf(request, 'timestamp');
    if (!/^\d{13}$/.test(timestamp)) return 'timestampInvalid';
    const age = now - Number(timestamp);
    if (age < 0 || age > TIMESTAMP_WINDOW_MS) return 'timestampInvalid';
    if (!scope.accessToken) return credential;
    const token = headerOf(request, 'access-token');
    if (token === '') return 'accessTokenRequired';
    return credential.caller.tokens.verify(token, now) ? credential : 'accessTokenInvalid';
  }

  /** Lets the request in or throws; counts the call or the failure. */
  function admit(request: FastifyRequest, address: string, verdict: KnownCredential | ErrorName): void {
    const now = clock();
    if (typeof verdict === 'string') {
      const late = limits.failedAuth.take(address, now);
      throw late > 0 ? new ApiError('tooFrequent', { retryAfterSeconds: late }) : new ApiError(verdict);
    }
    request.caller = verdict.caller;
    const pause = limits.callsPerCredential.take(verdict.key, now);
    if (pause > 0) throw new ApiError('tooFrequent', { retryAfterSeconds: pause });
  }

  // No promise where none is needed: nearly every call's credential is in memory.
  return (request, _reply, done) => {
    const address = addressGroup(addressOf(request));
    const wait = limits.failedAuth.waitSeconds(address, clock());
    if (wait > 0) throw new ApiError('tooFrequent', { retryAfterSeconds: wait });
    const apiKey = headerOf(request, 'api-key');
    if (apiKey === '') admit(request, address, 'apiKeyRequired');
    const known = callers.known(apiKey);
    if (known !== undefined) {
      admit(request, address, judge(request, known, clock()));
      return done();
    }
    callers
      .load(apiKey)
      .then((credential) => admit(request, address, judge(request, credential, clock())))
      .then(() => done(), done);
  };
}

/** Of a caller that has gone away already there is none, whatever the type says; no allowlist holds the empty one. */
function addressOf(request: FastifyRequest): string {
  return request.ip ?? '';
}

function headerOf(request: FastifyRequest, name: string): string {
  const value = request.headers[name];
  return typeof value === 'string' ? value : '';
}

/** Who did it, from where, in which request: for audit records. */
export interface Origin {
  credentialId: number;
  ip: string;
  requestId: string;
}

export function originOf(request: FastifyRequest): Origin {
  return { credentialId: request.caller.credentialId, ip: plainAddress(addressOf(request)), requestId: request.id };
}
