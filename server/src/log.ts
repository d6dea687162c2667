import pino, { type DestinationStream, type Logger, type LoggerOptions } from 'pino';

const PAGE_CHARACTERS = 16_000;
/** The longest that a line waits for its page to fill. */
const HOLD_LIMIT_MS = 200;

/**
 * Creates the log: JSON lines on standard output, buffered. A fatal line is written at once.
 * Secrets stay out for two reasons: nothing that holds one can be printed (`Secret`,
 * KeyObject), and of an error only type, code, message and stack are logged. The details of
 * a database error would quote rows.
 */
export function createLog(level: string): Logger {
  return pino(logOptions(level), inPages(pino.destination({ sync: false, minLength: PAGE_CHARACTERS })));
}

/** The options of the log, for any destination. */
export function logOptions(level: string): LoggerOptions {
  return { level, serializers: { err: describe } };
}

/**
 * Collects lines and writes them to the stream a page at a time. The stream has a buffer of
 * its own, but it measures and copies all that it holds for every line. That costs a PIN set
 * as much as making the line.
 */
function inPages(
  out: ReturnType<typeof pino.destination>,
): DestinationStream & { flush(done: () => void): void; flushSync(): void } {
  let lines: string[] = [];
  let characters = 0;
  /** The stream begins to write a full page by itself. It holds anything less until a flush. */
  function writePage(): void {
    out.write(lines.join(''));
    lines = [];
    characters = 0;
  }
  function flushSync(): void {
    writePage();
    out.flushSync();
  }
  setInterval(() => {
    if (lines.length === 0) return;
    writePage();
    out.flush();
  }, HOLD_LIMIT_MS).unref();
  process.on('exit', flushSync);
  return {
    write(line) {
      lines.push(line);
      characters += line.length;
      if (characters >= PAGE_CHARACTERS) writePage();
    },
    flush(done) {
      writePage();
      out.flush(done);
    },
    flushSync,
  };
}

function describe(error: unknown): object {
  if (!(error instanceof Error)) return { type: typeof error };
  const { code } = error as NodeJS.ErrnoException;
  return { type: error.name, message: error.message, ...(code !== undefined && { code }), stack: error.stack };
}
