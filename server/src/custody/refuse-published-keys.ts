import type { Config } from '../config.ts';
import { isPublishedKey } from '../crypto/published-keys.ts';
import type { KekSource } from '../keys/kek.ts';
import { KeyFileError } from '../keys/key-file.ts';
import { clearBytes, type OpenKeyFile } from '../keys/open-key-file.ts';

/** Throws a KeyFileError if a production platform has a key that this repository publishes. */
export function refusePublishedKeys({ mode, keyFile }: Config, { keys }: OpenKeyFile): void {
  if (mode !== 'production') return;
  const published = keys.filter((key) => {
    const bytes = clearBytes(key);
    try {
      return bytes !== undefined && isPublishedKey(bytes);
    } finally {
      bytes?.fill(0);
    }
  });
  if (published.length === 0) return;
  const names = published.map(({ purpose, version, kcv }) => `${purpose} version ${version} (KCV ${kcv})`).join(', ');
  throw new KeyFileError(
    `the key file ${keyFile} is not for production: it holds published keys: ${names}. ` +
      'It may be that of a sandbox. Make another one: set PINWARD_KEY_FILE and run keys init',
  );
}

/** Throws a KeyFileError if the key-encryption key of a production platform is a published key. */
export function refusePublishedKek({ mode }: Config, source: KekSource): void {
  if (mode === 'production' && source.kind === 'key' && isPublishedKey(source.key.expose()))
    throw new KeyFileError('the key-encryption key is published, and so not for production: make another one');
}
