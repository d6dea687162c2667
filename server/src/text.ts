import { isUtf8 } from 'node:buffer';
import { OperatorError } from './operator-error.ts';

/*
 * What a text must be before it is stored, signed or sent, whichever way it came in
 * (docs/adr/0021): UTF-8 in bytes, well-formed Unicode in memory. Everything else would become
 * U+FFFD on its way, and two different texts would become equal.
 */

const BYTE_ORDER_MARK = '\ufeff';

/** A text without the byte order mark that some programs write before it. */
export function withoutMark(text: string): string {
  return text.startsWith(BYTE_ORDER_MARK) ? text.slice(BYTE_ORDER_MARK.length) : text;
}

/** Decodes UTF-8 and skips a byte order mark. Undefined if the bytes are not UTF-8. */
export function decodeUtf8(bytes: Buffer): string | undefined {
  return isUtf8(bytes) ? withoutMark(bytes.toString('utf8')) : undefined;
}

/**
 * JSON text is valid UTF-8 by now, so an unpaired surrogate can come only from an escape: `\ud800`
 * to `\udfff`.
 */
const SURROGATE_ESCAPE = /\\u[dD][89a-fA-F]/;

/**
 * Looks through parsed JSON for a text with an unpaired surrogate, in a value or in a member's
 * name. Returns the dotted path of the value (of the object, for a name), empty for the whole;
 * undefined if all texts are well-formed.
 */
export function findIllFormed(json: string, parsed: unknown): string | undefined {
  if (!SURROGATE_ESCAPE.test(json)) return undefined;
  // A list instead of recursion: a body may nest deeper than the stack.
  const waiting: { path: string; value: unknown }[] = [{ path: '', value: parsed }];
  for (let one = waiting.pop(); one !== undefined; one = waiting.pop()) {
    const { path, value } = one;
    if (typeof value === 'string' && !value.isWellFormed()) return path;
    if (typeof value !== 'object' || value === null) continue;
    for (const [name, member] of Object.entries(value)) {
      if (!name.isWellFormed()) return path;
      waiting.push({ path: path === '' ? name : `${path}.${name}`, value: member });
    }
  }
  return undefined;
}

/*
 * Patterns for JSON Schema. They use only what regular expressions of other languages have too,
 * since merchants generate clients from the OpenAPI documents.
 */

const NO_CONTROLS = '[^\\u0000-\\u001f\\u007f]*';
/**
 * A letter, a digit, or a symbol such as an emoji. Not a filler: Hangul and Braille have letters
 * and symbols that show nothing, and U+FFFC and U+FFFD stand for something that is lost.
 */
const VISIBLE = '(?![\\u115f\\u1160\\u2800\\u3164\\ufffc\\ufffd\\uffa0])[\\p{L}\\p{N}\\p{So}]';

/** One line: no control characters. */
export const LINE = `^${NO_CONTROLS}$`;
/** One line that is not blank. */
export const FILLED_LINE = `^${NO_CONTROLS}${VISIBLE}${NO_CONTROLS}$`;

const visible = new RegExp(VISIBLE, 'u');
const filledLine = new RegExp(FILLED_LINE, 'u');

/**
 * Whether a text says nothing: it has only blanks, punctuation, marks and characters that show
 * nothing.
 */
export function isBlank(text: string): boolean {
  return !visible.test(text);
}

/**
 * A name for people, as an operator gives it: a line that is not blank, of at most 128 characters.
 */
export function requireName(what: string, name: string): void {
  if (isBlank(name)) throw new OperatorError(`${what} needs a name`);
  if (!filledLine.test(name) || name.length > 128)
    throw new OperatorError(`${what}'s name is one line of at most 128 characters`);
}

/**
 * Node replaces bytes of the command line that are not UTF-8 by U+FFFD. Throws an OperatorError for
 * such arguments: nobody means that character.
 */
export function requireUtf8Arguments(given: readonly string[]): void {
  const fault = given.find((argument) => argument.includes('\ufffd') || !argument.isWellFormed());
  if (fault !== undefined)
    throw new OperatorError('an argument is not text in UTF-8: check the locale of the terminal');
}
