import pino, { type Logger, type LoggerOptions } from 'pino';

/**
 * One JSON line a request, on standard output, buffered; a fatal line is written at once.
 * Secrets stay out because nothing that holds one prints (`Secret`, KeyObject) and because errors are logged by type, message
 * and stack alone: a database error's details quote rows.
 */
export function createLog(level: string): Logger {
  return pino(logOptions(level), pino.destination({ sync: false, minLength: 16_000, periodicFlush: 200 }));
}

/** What is logged and how, whatever it is written to. */
export function logOptions(level: string): LoggerOptions {
  return { level, serializers: { err: describe } };
}

function describe(error: unknown): object {
  if (!(error instanceof Error)) return { type: typeof error };
  const { code } = error as NodeJS.ErrnoException;
  return { type: error.name, message: error.message, ...(code !== undefined && { code }), stack: error.stack };
}
