import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  type Stats,
  statSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { OperatorError } from './operator-error.ts';
import { decodeUtf8 } from './text.ts';

/**
 * The file is not one that can be read whole: not a regular file, or too large. The message names
 * it.
 */
export class UnfitFileError extends OperatorError {
  override readonly name = 'UnfitFileError';
}

/**
 * Reads a regular file of at most `limitBytes`. A FIFO would make the caller wait, and a device
 * may never end: both are refused, as is a directory. Errors: UnfitFileError, or the system's.
 */
export function readBytes(path: string, limitBytes: number): { bytes: Buffer; stats: Stats } {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(file);
    if (stats.isDirectory()) throw new UnfitFileError(`${path} is a directory`);
    if (!stats.isFile()) throw new UnfitFileError(`${path} is not a regular file`);
    // One byte more than the limit: the size that the system tells may be out of date, or 0 in
    // /proc.
    const bytes = Buffer.alloc(Math.min(stats.size || limitBytes, limitBytes) + 1);
    let length = 0;
    while (length < bytes.length) {
      const read = readSync(file, bytes, length, bytes.length - length, null);
      if (read === 0) break;
      length += read;
    }
    if (length > limitBytes) throw new UnfitFileError(`${path} is larger than ${limitBytes / 1024} kB`);
    return { bytes: bytes.subarray(0, length), stats };
  } finally {
    closeSync(file);
  }
}

/**
 * The same as text. A byte order mark at the beginning is skipped. Errors: as `readBytes`, also if
 * it is not UTF-8.
 */
export function readText(path: string, limitBytes: number): string {
  const text = decodeUtf8(readBytes(path, limitBytes).bytes);
  if (text === undefined) throw new UnfitFileError(`${path} is not text in UTF-8: save it in that encoding`);
  return text;
}

/**
 * Makes a directory and those above it that are missing. Returns whether it made one. Node's own
 * `recursive` never ends where the system answers ENOENT below a directory that is there (/proc).
 */
export function makeDirectory(path: string, mode = 0o777): boolean {
  try {
    mkdirSync(path, { mode });
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && statSync(path).isDirectory()) return false;
    const above = dirname(path);
    if (code !== 'ENOENT' || above === path || existsSync(above)) throw error;
    makeDirectory(above, mode);
    return makeDirectory(path, mode);
  }
}

/** Whether nothing has that path. A file that cannot be looked at is there. */
export function isMissing(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) === undefined;
  } catch {
    return false;
  }
}
