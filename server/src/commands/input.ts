import { constants, fstatSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { readText } from '../files.ts';
import { OperatorError } from '../operator-error.ts';
import { decodeUtf8 } from '../text.ts';

export interface Line {
  /** From 1. */
  number: number;
  /** Without its end. Undefined if it is longer than the limit. */
  bytes: Buffer | undefined;
}

const NEWLINE = 0x0a;
const STANDARD_INPUT = 'standard input';

/**
 * Splits a stream into lines, and keeps at most one line of at most `limitBytes` in memory. A
 * longer line is passed over; its number still counts.
 */
export async function* readLines(input: Readable, limitBytes: number): AsyncGenerator<Line> {
  let number = 1;
  let length = 0;
  let pieces: Buffer[] = [];
  const line = (): Line => ({ number, bytes: length > limitBytes ? undefined : Buffer.concat(pieces) });
  for await (const chunk of input as AsyncIterable<Buffer>) {
    for (let start = 0; ; ) {
      const end = chunk.indexOf(NEWLINE, start);
      const piece = chunk.subarray(start, end === -1 ? chunk.length : end);
      length += piece.length;
      if (length > limitBytes) pieces = [];
      else if (piece.length > 0) pieces.push(piece);
      if (end === -1) break;
      yield line();
      number++;
      length = 0;
      pieces = [];
      start = end + 1;
    }
  }
  if (length > 0) yield line(); // the last line has no newline
}

/**
 * Opens a file to stream it; `-` is standard input. A pipe will do. Throws an OperatorError for a
 * directory, and for a device, which may never end.
 */
export async function openInput(path: string): Promise<Readable> {
  if (path === '-') {
    requireStream(STANDARD_INPUT, fstatSync(process.stdin.fd));
    return process.stdin;
  }
  const file = await open(path, constants.O_RDONLY).catch(fail(path));
  try {
    requireStream(path, await file.stat());
  } catch (error) {
    await file.close();
    throw error;
  }
  return file.createReadStream();
}

/**
 * Reads a file that an argument names. Throws an OperatorError if it cannot be read, or is larger.
 */
export function readArgumentFile(path: string, limitBytes: number): string {
  try {
    return readText(path, limitBytes);
  } catch (error) {
    return fail(path)(error);
  }
}

function fail(path: string): (error: unknown) => never {
  return (error) => {
    if (error instanceof OperatorError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new OperatorError(`${path} cannot be read: ${code === 'ENOENT' ? 'there is no such file' : message}`);
  };
}

function requireStream(name: string, stats: ReturnType<typeof fstatSync>): void {
  if (stats.isDirectory()) throw new OperatorError(`${name} is a directory, not a file`);
  const isTerminal = name === STANDARD_INPUT && process.stdin.isTTY;
  if (stats.isBlockDevice() || (stats.isCharacterDevice() && !isTerminal))
    throw new OperatorError(`${name} is a device, not a file`);
}

/**
 * Reads standard input whole, as text of at most `limitBytes`. Throws an OperatorError if it is
 * longer, or not UTF-8.
 */
export async function readInput(limitBytes: number): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > limitBytes) throw new OperatorError(`${STANDARD_INPUT} is longer than ${limitBytes} bytes`);
    pieces.push(chunk);
  }
  const text = decodeUtf8(Buffer.concat(pieces));
  if (text === undefined) throw new OperatorError('standard input is not text in UTF-8');
  return text;
}
