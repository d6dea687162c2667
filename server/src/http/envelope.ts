import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import Type, { type TSchema } from 'typebox';
import { ApiError, codeOf, type ErrorName, type Language, textOf } from '../errors.ts';

export interface Success<T> {
  code: 0;
  msg: string;
  data: T;
}

const SUCCESS_TEXT: Record<Language, string> = { en_US: 'Success', zh_CN: '成功' };

/** The answer of a call that worked. */
export function success<T>(request: FastifyRequest, data: T): Success<T> {
  return { code: 0, msg: SUCCESS_TEXT[languageOf(request)], data };
}

/** The schema of `success`, which serialises the answer and documents it. */
export function successSchema<T extends TSchema>(data: T) {
  return Type.Object({ code: Type.Literal(0), msg: Type.String(), data });
}

/** Anything but `zh_CN` is English. */
function languageOf(request: FastifyRequest): Language {
  return request.headers.language === 'zh_CN' ? 'zh_CN' : 'en_US';
}

/** What the log line of a request says of its outcome; kept beside the request and gone with it. */
const outcomes = new WeakMap<FastifyRequest, number>();

export function outcomeOf(request: FastifyRequest): number {
  return outcomes.get(request) ?? 0;
}

/**
 * Answers any fault. What the contract knows keeps its code, with HTTP 200 (docs/adr/0003); everything else is 1001,
 * says nothing of its inside, and is logged under the request's id.
 */
export function answerFault(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const refusal = error instanceof ApiError ? error : refusalOf(error as FastifyError);
  if (refusal === undefined) {
    request.log.error({ err: error, requestId: request.id }, 'unexpected fault');
    return sendFailure(request, reply, 'systemError');
  }
  if (refusal.retryAfterSeconds !== undefined) reply.header('Retry-After', String(refusal.retryAfterSeconds));
  return sendFailure(request, reply, refusal.error, refusal);
}

export function sendFailure(
  request: FastifyRequest,
  reply: FastifyReply,
  error: ErrorName,
  about: Partial<Pick<ApiError, 'field' | 'policy'>> = {},
  status = 200,
): FastifyReply {
  const code = codeOf(error);
  outcomes.set(request, code);
  return reply
    .code(status)
    .type('application/json; charset=utf-8')
    .serializer(JSON.stringify) // the route's own serializer knows successes alone
    .send({ code, msg: textOf(error, languageOf(request), about) });
}

/** Sends the text of an earlier answer as it was, also to the log. */
export function sendKept(request: FastifyRequest, reply: FastifyReply, text: string): FastifyReply {
  outcomes.set(request, (JSON.parse(text) as { code: number }).code);
  return reply.type('application/json; charset=utf-8').send(text);
}

/** Faults that the framework finds in the request: its form, its size, its type. All are 1004. */
function refusalOf(error: FastifyError): ApiError | undefined {
  const [first] = error.validation ?? [];
  if (first !== undefined) {
    const missing = first.keyword === 'required' ? String(first.params.missingProperty) : undefined;
    const path = [...first.instancePath.split('/').slice(1), ...(missing === undefined ? [] : [missing])].join('.');
    return new ApiError('invalidParameter', path === '' ? {} : { field: path });
  }
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return new ApiError('invalidParameter', { field: 'Content-Type' });
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) return new ApiError('invalidParameter');
  return undefined;
}
