import { createHmac } from 'node:crypto';
import { ERRORS } from '@pinward/contract/errors';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ApiError } from '../../api-error.ts';
import type { Services } from '../../services.ts';
import { answeredCode, languageOf, sendAgain } from '../envelope.ts';
import { DEFAULT_TIMEZONE } from '../list-query.ts';
import type { Track } from '../track-handlers.ts';
import { beginRun, deleteRun, findRun, keepAnswer, type Run } from './idempotency-store.ts';

const KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * After these the caller may try again with the same key: the platform was at fault, or it was too
 * early.
 */
const NOT_KEPT: ReadonlySet<number> = new Set([ERRORS.systemError.code, ERRORS.tooFrequent.code]);

/**
 * Longer answers are not kept. Only lists have them; they change nothing and can be served again.
 */
const ANSWER_LIMIT_CHARACTERS = 4_096;

/**
 * Serves a POST with an `Idempotency-Key` once in 24 hours and repeats its answer byte for byte
 * (docs/adr/0015). The hooks run after the gate and the schema: a request that fails there is not
 * remembered. A request without the header costs neither a promise nor a statement.
 */
export function repeatAnswers(scope: FastifyInstance, { db, clock }: Services, track: Track): void {
  const runs = new WeakMap<FastifyRequest, Run>();

  scope.addHook('onRoute', (route) => {
    if (route.method === 'POST') route.config = { ...route.config, repeatable: true };
  });

  scope.addHook('preHandler', (request, reply, done) => {
    const key = request.headers['idempotency-key'];
    if (key === undefined || request.method !== 'POST') return done();
    track(
      earlierAnswer(request, String(key)).then((answer) => {
        if (answer === undefined) done();
        else sendAgain(request, reply.header('Idempotent-Replayed', 'true'), answer);
      }, done),
    );
  });

  // Stored before it is sent: an answer that a caller has seen can be repeated.
  scope.addHook('onSend', (request, _reply, payload, done) => {
    const run = runs.get(request);
    if (run === undefined) return done(null, payload);
    const answer = payload as string;
    const keep = !NOT_KEPT.has(answeredCode(request)) && answer.length <= ANSWER_LIMIT_CHARACTERS;
    const stored = keep ? keepAnswer(db, run, answer) : deleteRun(db, run);
    const onFault = (err: unknown): void =>
      request.log.error({ err, requestId: request.id }, 'outcome of a request with a key not stored');
    track(stored.catch(onFault).then(() => done(null, payload)));
  });

  /** The answer to repeat; undefined if the request is to be served. Errors: 1004, 1023, 1024. */
  async function earlierAnswer(request: FastifyRequest, key: string): Promise<string | undefined> {
    if (!KEY.test(key)) throw new ApiError('invalidParameter', { field: 'Idempotency-Key' });
    const { credentialId } = request.caller;
    const run = { credentialId, key, requestHash: hashOf(request), beganAtMs: clock() };
    if (await beginRun(db, run)) {
      runs.set(request, run);
      return undefined;
    }
    const earlier = await findRun(db, credentialId, key);
    if (earlier !== undefined && !earlier.requestHash.equals(run.requestHash))
      throw new ApiError('idempotencyKeyReused');
    // Also if the row was deleted between the two statements: its request has just got a code that
    // is not kept.
    if (typeof earlier?.answer !== 'string') throw new ApiError('requestRunning', { retryAfterSeconds: 1 });
    return earlier.answer;
  }
}

/**
 * What identifies a request: HMAC-SHA-256 under the apiSecret over the call, the headers that
 * change its answer, and its body, in whatever order the members came. Keyed, since a body may hold
 * little that could not be guessed, such as a CVV. Errors: 1004.
 */
function hashOf(request: FastifyRequest): Buffer {
  const { caller, method, routeOptions, params, body, headers } = request;
  const answeredBy = [languageOf(request), headers.timezone || DEFAULT_TIMEZONE];
  try {
    const text = JSON.stringify([method, routeOptions.url, params, answeredBy, body], (_name, value: unknown) =>
      typeof value === 'object' && value !== null && !Array.isArray(value) ? sortMembers(value) : value,
    );
    return createHmac('sha256', caller.apiSecret).update(text, 'utf8').digest();
  } catch {
    // A parsed body fails only if it nests by the thousand, in a member that the schema does not
    // know: writing JSON takes more stack than reading it.
    throw new ApiError('invalidParameter');
  }
}

function sortMembers(object: object): object {
  const members = object as Record<string, unknown>;
  const names = Object.keys(members).sort();
  return Object.fromEntries(names.map((name) => [name, members[name]]));
}
