import { randomUUID } from 'node:crypto';
import { hsmOf, type KekSource, makeKek, openKek } from './kek.ts';
import {
  missingPurposes,
  PURPOSES,
  type Purpose,
  readKeyFile,
  replaceKeyFile,
  type StoredKeyFile,
  writeNewKeyFile,
} from './key-file.ts';
import { makeKey } from './make-key.ts';

/**
 * Makes a key file with one fresh key for each purpose, mode 0600. Fails with EEXIST if
 * there is one: keys are never overwritten. With an HSM the KEK and the PIN verify key are
 * made in it and cannot leave. `known` gives keys that must not be random: the sandbox's
 * published CVV key.
 */
export async function createKeyFile(
  path: string,
  source: KekSource,
  now: Date,
  known: Partial<Record<Purpose, Buffer>> = {},
): Promise<void> {
  const id = randomUUID();
  const kek = await makeKek(source, 1, id);
  const file: StoredKeyFile = { format: 'pinward-keys-1', id, kek: kek.stored, keys: [] };
  const maker = { file, kek: kek.held, hsm: hsmOf(source) };
  for (const purpose of Object.keys(PURPOSES) as Purpose[])
    file.keys.push(await makeKey(maker, purpose, { now, bytes: known[purpose] }));
  await writeNewKeyFile(path, file);
}

/**
 * Adds a key for each purpose that the file has none for, and returns these purposes. The
 * caller holds the lock on the key file (`completeKeyFile`).
 */
export async function addMissingKeys(path: string, source: KekSource, now: Date): Promise<Purpose[]> {
  const file = await readKeyFile(path);
  const missing = missingPurposes(file);
  if (missing.length === 0) return [];
  const maker = { file, kek: await openKek(path, file, source), hsm: hsmOf(source) };
  for (const purpose of missing) file.keys.push(await makeKey(maker, purpose, { now }));
  await replaceKeyFile(path, file);
  return missing;
}
