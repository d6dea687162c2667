import { createHmac } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ApiError, codeOf } from '../errors.ts';
import type { Services } from '../services.ts';
import { outcomeOf, sendKept } from './envelope.ts';
import { beginRun, dropRun, findKept, keepAnswer, type Run } from './idempotency-store.ts';

const KEY = /^[\x21-\x7e]{1,255}$/;

/** Of these the caller may try again with the same key: the platform was at fault, or it was too early. */
const NOT_KEPT: ReadonlySet<number> = new Set([codeOf('systemError'), codeOf('tooFrequent')]);

/** Characters. Only lists answer with more; they change nothing, and served anew they are as good. */
const MOST_KEPT = 4_096;

/**
 * Hooks on a gated scope, by which a POST with an `Idempotency-Key` is served once in 24 hours and its answer repeated byte for byte
 * (docs/adr/0015). They run after the gate and the schema: what fails there is not remembered. Without the header they cost
 * nothing, neither a promise nor a statement. `track` is told of work that a close has to wait for.
 */
export function repeatAnswers(scope: FastifyInstance, { db, clock }: Services, track: (work: Promise<unknown>) => void): void {
  const runs = new WeakMap<FastifyRequest, Run>();

  /** The answer to repeat. Undefined where the request is to be served. Errors: 1004, 1023, 1024. */
  async function keptAnswer(request: FastifyRequest, key: string): Promise<string | undefined> {
    if (!KEY.test(key)) throw new ApiError('invalidParameter', { field: 'Idempotency-Key' });
    const { credentialId } = request.caller;
    const run = { credentialId, key, requestHash: hashOf(request), beganAtMs: clock() };
    if (await beginRun(db, run)) {
      runs.set(request, run);
      return undefined;
    }
    const kept = await findKept(db, credentialId, key);
    if (kept !== undefined && !kept.requestHash.equals(run.requestHash)) throw new ApiError('idempotencyKeyReused');
    // Also where the row went between the two statements: its request was just answered with a code that is not kept.
    if (kept?.answer === undefined) throw new ApiError('requestRunning', { retryAfterSeconds: 1 });
    return kept.answer;
  }

  scope.addHook('preHandler', (request, reply, done) => {
    const key = request.headers['idempotency-key'];
    if (key === undefined || request.method !== 'POST') return done();
    track(
      keptAnswer(request, String(key)).then((answer) => {
        if (answer === undefined) done();
        else sendKept(request, reply.header('Idempotent-Replayed', 'true'), answer);
      }, done),
    );
  });

  // Kept before it goes out: an answer that a caller has seen is there to be repeated.
  scope.addHook('onSend', (request, _reply, payload, done) => {
    const run = runs.get(request);
    if (run === undefined) return done(null, payload);
    const answer = payload as string;
    const kept = NOT_KEPT.has(outcomeOf(request)) || answer.length > MOST_KEPT ? dropRun(db, run) : keepAnswer(db, run, answer);
    const lost = (err: unknown): void => request.log.error({ err, requestId: request.id }, 'outcome of a request with a key not stored');
    track(kept.catch(lost).then(() => done(null, payload)));
  });
}

/**
 * HMAC-SHA-256 under the apiSecret over what is asked: the call and its body, in whatever order the members came. Keyed, since a body may hold
 * little that could not be guessed, as a CVV. Errors: 1004.
 */
function hashOf({ caller, method, routeOptions, params, body }: FastifyRequest): Buffer {
  try {
    const asked = JSON.stringify([method, routeOptions.url, params, body], (_name, value: unknown) =>
      typeof value === 'object' && value !== null && !Array.isArray(value) ? sorted(value) : value,
    );
    return createHmac('sha256', caller.apiSecret).update(asked, 'utf8').digest();
  } catch {
    // What was parsed fails only if it nests by the thousand, in a member that the schema does not know: writing takes more stack than reading.
    throw new ApiError('invalidParameter');
  }
}

function sorted(object: object): object {
  const members = object as Record<string, unknown>;
  return Object.fromEntries(
    Object.keys(members)
      .sort()
      .map((name) => [name, members[name]]),
  );
}
