import { randomUUID } from 'node:crypto';
import { link, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeDirectory } from '../files.ts';

/**
 * Writes a file of mode 0600 that must not exist yet (EEXIST). It appears whole or not at
 * all. Of two writers at once one wins: the content is written and synced under another
 * name, then linked.
 */
export async function writeNewFile(path: string, content: string): Promise<void> {
  await writeDraft(path, content, link);
}

/**
 * Replaces a file, or makes it, with mode 0600. A reader sees the old content or the new,
 * never a part.
 */
export async function replaceFile(path: string, content: string): Promise<void> {
  await writeDraft(path, content, rename);
}

async function writeDraft(
  path: string,
  content: string,
  publish: (draft: string, path: string) => Promise<void>,
): Promise<void> {
  makeDirectory(dirname(path));
  const draft = `${path}.${randomUUID()}`;
  const handle = await open(draft, 'wx', 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
    await handle.close();
    await publish(draft, path);
    const folder = await open(dirname(path)); // synced too, so that the file's name survives a power cut
    await folder.sync().finally(() => folder.close());
  } finally {
    await rm(draft, { force: true });
  }
}
