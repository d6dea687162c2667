import { randomUUID } from 'node:crypto';
import type { HeldKey } from './held-key.ts';
import { hsmOf, type KekSource, makeKek } from './kek.ts';
import { missingPurposes, PURPOSES, type Purpose, type StoredKeyFile, sealedText } from './key-file.ts';
import { makeKey } from './make-key.ts';
import { writeNewFile } from './write-file.ts';

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
  const file: StoredKeyFile = { format: 'pinward-keys-2', id, kek: kek.stored, keys: [] };
  const maker = { file, kek: kek.held, hsm: hsmOf(source) };
  for (const purpose of Object.keys(PURPOSES) as Purpose[])
    file.keys.push(await makeKey(maker, purpose, { now, bytes: known[purpose] }));
  await writeNewFile(path, await sealedText(file, kek.held));
}

/**
 * Adds a key for each purpose that the file has none for, and returns these purposes. The
 * caller writes the file.
 */
export async function addMissingKeys(
  file: StoredKeyFile,
  kek: HeldKey,
  source: KekSource,
  now: Date,
): Promise<Purpose[]> {
  const missing = missingPurposes(file);
  const maker = { file, kek, hsm: hsmOf(source) };
  for (const purpose of missing) file.keys.push(await makeKey(maker, purpose, { now }));
  return missing;
}
