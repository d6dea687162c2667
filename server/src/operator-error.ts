/**
 * Something that the operator can mend: a wrong argument, a setting, a file, a database that does
 * not answer. The message is one or two sentences for the operator. The command line prints it
 * without a stack trace. Never put a secret, or a part of one, into it.
 */
export class OperatorError extends Error {
  override readonly name: string = 'OperatorError';
}
