import { statSync } from 'node:fs';
import type { ReplaceableKeys } from './keys.ts';
import type { OpenKeyFile } from './open-key-file.ts';

/**
 * Rotated keys stay pending for longer than this, so every process knows a key before any
 * process uses it.
 */
const LOOK_EVERY_MS = 1_000;
/** A file that could not be taken over may become good without a change of its own. */
const RETRY_EVERY_MS = 10_000;

/**
 * Takes over each change of the key file that operators make, until the returned function is
 * called. `seen` is the file's fingerprint from before the keys were opened. A file that
 * cannot be taken over leaves the keys as they were. That is reported once for each reason,
 * and kept in `keys.fileFault` until a file is taken over.
 */
export function followKeyFile(
  path: string,
  given: { seen: string; open: () => Promise<OpenKeyFile>; keys: ReplaceableKeys },
  onEvent: (event: string) => void,
): () => void {
  const { keys } = given;
  let { seen } = given;
  let triedAtMs = 0; // performance.now()
  let opening = false;

  async function takeOver(): Promise<void> {
    try {
      keys.replace(await given.open());
      onEvent('the key file changed and was taken over');
    } catch (error) {
      const { message } = error as Error;
      if (keys.fileFault !== message)
        onEvent(`the key file changed and cannot be taken over; the keys stay as they were: ${message}`);
      keys.reportFault(message);
    }
  }

  const timer = setInterval(() => {
    const found = fingerprintOf(path);
    const isDue = keys.fileFault !== undefined && performance.now() - triedAtMs >= RETRY_EVERY_MS;
    if (opening || (found === seen && !isDue)) return;
    seen = found;
    triedAtMs = performance.now();
    opening = true;
    void takeOver().finally(() => {
      opening = false;
    });
  }, LOOK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** Changes with the file, its owner and its mode. A file that cannot be reached counts too. */
export function fingerprintOf(path: string): string {
  try {
    const { mtimeMs, ctimeMs, ino, size } = statSync(path);
    return `${mtimeMs} ${ctimeMs} ${ino} ${size}`;
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}
