import pino, { type DestinationStream, type Logger, type LoggerOptions } from 'pino';

const PAGE_CHARACTERS = 16_000;
const HELD_AT_MOST_MS = 200;

/**
 * One JSON line a request, on standard output, buffered; a fatal line is written at once.
 * Secrets stay out because nothing that holds one prints (`Secret`, KeyObject) and because errors are logged by type, message
 * and stack alone: a database error's details quote rows.
 */
export function createLog(level: string): Logger {
  return pino(logOptions(level), inPages(pino.destination({ sync: false, minLength: PAGE_CHARACTERS })));
}

/** Hands lines on by the page. The stream's own buffer measures and copies all that it holds for every line, which cost a set as much as the making of its line. */
function inPages(out: ReturnType<typeof pino.destination>): DestinationStream & { flush(done: () => void): void; flushSync(): void } {
  let lines: string[] = [];
  let characters = 0;
  /** Gives the stream what there is. A whole page it begins to write, anything less it holds until it is told to flush, at once or not. */
  function handOn(): void {
    out.write(lines.join(''));
    lines = [];
    characters = 0;
  }
  function flushSync(): void {
    handOn();
    out.flushSync();
  }
  setInterval(() => {
    if (lines.length === 0) return;
    handOn();
    out.flush();
  }, HELD_AT_MOST_MS).unref();
  process.on('exit', flushSync);
  return {
    write(line) {
      lines.push(line);
      characters += line.length;
      if (characters >= PAGE_CHARACTERS) handOn();
    },
    flush(done) {
      handOn();
      out.flush(done);
    },
    flushSync,
  };
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
