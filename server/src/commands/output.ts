import { once } from 'node:events';
import { type Config, readConfig } from '../config.ts';
import { isDuplicate } from '../db/errors.ts';
import { OperatorError } from '../operator-error.ts';
import { openPlatform, type Platform } from '../platform.ts';

/** What a command works with. */
export type OperatorPlatform = Platform & { config: Config; now: () => number };

/** Opens the platform for a command and closes it when the command ends. */
export async function withPlatform(work: (platform: OperatorPlatform) => Promise<void>): Promise<void> {
  const config = readConfig();
  const platform = await openPlatform(config);
  for (const notice of platform.notices) process.stderr.write(`pinward-server: ${notice}\n`);
  try {
    await work({ ...platform, config, now: Date.now });
  } catch (error) {
    if (isDuplicate(error)) throw new OperatorError('that exists already; nothing was changed');
    throw error;
  } finally {
    await platform.close();
  }
}

/** The reader of our output has ended, as `head` does: it has what it wanted. */
export class ReaderGoneError extends Error {}

let readerGone = false;

/** From now on commands end at what they would write next, and close what they opened. */
export function noteReaderGone(): void {
  readerGone = true;
}

export function print(text: string): void {
  if (readerGone) throw new ReaderGoneError();
  process.stdout.write(`${text}\n`);
}

/** Prints lines of a list that may be larger than the memory: waits while the reader is slow. */
export async function printSlowly(lines: string): Promise<void> {
  if (readerGone) throw new ReaderGoneError();
  if (process.stdout.write(lines)) return;
  await once(process.stdout, 'drain').catch(() => {
    throw new ReaderGoneError();
  });
}

/** A list is printed with blanks between its items, an empty list as `-`. */
export type Cell = string | number | readonly string[];

/** Prints rows below a head, in columns that are as wide as their widest cell. */
export function printTable(head: string[], rows: Cell[][]): void {
  const lines = [head, ...rows.map((row) => row.map(cellText))];
  const widths = head.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  for (const line of lines) {
    const cells = line.map((cell, column) => cell.padEnd(widths[column] ?? 0));
    print(cells.join('  ').trimEnd());
  }
}

function cellText(cell: Cell): string {
  if (typeof cell === 'string') return cell;
  return typeof cell === 'number' ? String(cell) : cell.join(' ') || '-';
}

/** A time as operators read it: ISO 8601 in UTC. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString();
}
