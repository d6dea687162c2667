import { readConfig } from '../config.ts';
import { isDuplicate } from '../db/database.ts';
import { OperatorError } from '../merchants/administer.ts';
import { openPlatform, type Platform } from '../platform.ts';

/** What a command is given: the platform, opened for it, and closed when it ends. */
export type OperatorPlatform = Platform & { config: ReturnType<typeof readConfig>; now: () => number };

export async function withPlatform(work: (platform: OperatorPlatform) => Promise<void>): Promise<void> {
  const config = readConfig();
  const platform = await openPlatform(config);
  try {
    await work({ ...platform, config, now: Date.now });
  } catch (error) {
    if (isDuplicate(error)) throw new OperatorError('that exists already; nothing was changed');
    throw error;
  } finally {
    await platform.close();
  }
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printTable(head: string[], rows: unknown[][]): void {
  const lines = [head, ...rows.map((row) => row.map((cell) => (Array.isArray(cell) ? cell.join(' ') || '-' : String(cell))))];
  const widths = head.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  for (const line of lines)
    print(
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
}
