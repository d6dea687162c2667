import { statSync } from 'node:fs';
import type { KekSource } from './kek.ts';
import type { ReplaceableKeys } from './keys.ts';
import { openKeyFile } from './open-key-file.ts';

/**
 * Rotated keys stay pending for longer than this, so every process knows a key before any
 * process uses it.
 */
const LOOK_EVERY_MS = 1_000;

/**
 * Takes over each change of the key file that operators make, until the returned function
 * is called. A file that cannot be read leaves the keys as they were, and is reported once.
 */
export function followKeyFile(
  path: string,
  source: KekSource,
  keys: ReplaceableKeys,
  onEvent: (event: string) => void,
): () => void {
  let seen = fingerprintOf(path);
  const timer = setInterval(() => {
    const found = fingerprintOf(path);
    if (found === seen) return;
    seen = found;
    openKeyFile(path, source).then(
      (file) => {
        keys.replace(file);
        onEvent('the key file was read anew');
      },
      (error: Error) =>
        onEvent(`the key file changed and could not be read; the keys stay as they were: ${error.message}`),
    );
  }, LOOK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** Changes with the file. A file that is not there counts too. */
function fingerprintOf(path: string): string {
  const { mtimeMs, ino, size } = statSync(path, { throwIfNoEntry: false }) ?? { mtimeMs: 0, ino: 0, size: 0 };
  return `${mtimeMs} ${ino} ${size}`;
}
