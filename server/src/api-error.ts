import { ERRORS, type ErrorDetail, type ErrorName } from '@pinward/contract/errors';

interface ApiErrorDetail extends ErrorDetail {
  retryAfterSeconds?: number;
}

/**
 * A refusal that the contract knows. Anything else that is thrown while a request is served answers
 * 1001.
 */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly error: ErrorName;
  readonly detail: ApiErrorDetail;

  constructor(error: ErrorName, detail: ApiErrorDetail = {}) {
    super(ERRORS[error].english);
    this.error = error;
    this.detail = detail;
  }
}
