import { ERRORS, type ErrorDetail, type ErrorName, errorText } from '@pinward/contract/errors';
import type { Language } from '@pinward/contract/vocabulary';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import Type, { type TSchema } from 'typebox';
import { ApiError } from '../api-error.ts';
import { OverloadError } from '../db/errors.ts';

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

/** The schema of `success`: it serialises the answer and documents it. */
export function successSchema<T extends TSchema>(data: T) {
  return Type.Object({ code: Type.Literal(0), msg: Type.String(), data });
}

/** Anything but `zh_CN` is English. */
export function languageOf(request: FastifyRequest): Language {
  return request.headers.language === 'zh_CN' ? 'zh_CN' : 'en_US';
}

/** The codes of answers, for the log. Kept beside the request and gone with it. */
const codes = new WeakMap<FastifyRequest, number>();

/** The code that a request was answered with; 0 for a success. */
export function answeredCode(request: FastifyRequest): number {
  return codes.get(request) ?? 0;
}

/**
 * Answers any fault. A refusal that the contract knows keeps its code, with HTTP 200
 * (docs/adr/0003). Anything else answers 1001, which says nothing about it, and is logged under the
 * request's id. A call that found the process too busy was not begun: it answers 1009 with HTTP
 * 503.
 */
export function answerFault(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  // Fastify would close the connection, while the client still sends: it would see a reset in place
  // of the answer.
  reply.removeHeader('connection');
  if (error instanceof OverloadError) {
    reply.header('Retry-After', '1');
    return sendFailure(request, reply, 'tooFrequent', { httpStatus: 503 });
  }
  const refusal = error instanceof ApiError ? error : refusalOf(error as FastifyError);
  if (refusal === undefined) {
    request.log.error({ err: error, requestId: request.id }, 'unexpected fault');
    return sendFailure(request, reply, 'systemError');
  }
  const { retryAfterSeconds, ...detail } = refusal.detail;
  if (retryAfterSeconds !== undefined) reply.header('Retry-After', String(retryAfterSeconds));
  return sendFailure(request, reply, refusal.error, { detail });
}

export function sendFailure(
  request: FastifyRequest,
  reply: FastifyReply,
  error: ErrorName,
  { detail = {}, httpStatus = 200 }: { detail?: ErrorDetail; httpStatus?: number } = {},
): FastifyReply {
  const { code } = ERRORS[error];
  codes.set(request, code);
  return reply
    .code(httpStatus)
    .type('application/json; charset=utf-8')
    .serializer(JSON.stringify) // the route's own serialiser knows only its success
    .send({ code, msg: errorText(error, languageOf(request), detail) });
}

/** Sends the text of an earlier answer as it was. */
export function sendAgain(request: FastifyRequest, reply: FastifyReply, text: string): FastifyReply {
  codes.set(request, (JSON.parse(text) as { code: number }).code);
  return reply.type('application/json; charset=utf-8').send(text);
}

/** Faults that Fastify finds in a request: its form, its size, its type. All are 1004. */
function refusalOf(error: FastifyError): ApiError | undefined {
  const [first] = error.validation ?? [];
  if (first !== undefined) {
    const missing = first.keyword === 'required' ? [String(first.params.missingProperty)] : [];
    const path = [...first.instancePath.split('/').slice(1), ...missing].join('.');
    return new ApiError('invalidParameter', path === '' ? {} : { field: path });
  }
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
    return new ApiError('invalidParameter', { field: 'Content-Type' });
  const { statusCode = 500 } = error;
  return statusCode >= 400 && statusCode < 500 ? new ApiError('invalidParameter') : undefined;
}
