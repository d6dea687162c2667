import { randomUUID } from 'node:crypto';
import { type FileHandle, link, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeDirectory } from '../files.ts';
import { OperatorError } from '../operator-error.ts';

/**
 * Writes a file of mode 0600 that must not exist yet (EEXIST). It appears whole or not at
 * all. Of two writers at once one wins: the content is written and synced under another
 * name, then linked.
 */
export async function writeNewFile(path: string, content: string): Promise<void> {
  makeDirectory(dirname(path));
  await withDraft(path, async (draft) => {
    await draft.finish(content);
    await link(draft.name, path);
  });
}

/** A file cannot be replaced, for a reason that the operator can mend. */
export class FileWriteError extends OperatorError {
  override readonly name = 'FileWriteError';
}

/** Writes the content of a file that is there. The file keeps owner, group and mode. */
export type WriteFile = (content: string) => Promise<void>;

/**
 * Runs work that replaces the file through `write`. A reader sees the old content or the
 * new, never a part. A symbolic link stays, and its target is replaced. The draft beside the
 * file is made before the work begins, so what could stop the writing stops it before
 * anything was done. Throws a FileWriteError if owner, group and mode cannot be kept, or if
 * the file's directory is not writable.
 */
export async function replacingFile<T>(path: string, work: (write: WriteFile) => Promise<T>): Promise<T> {
  const target = await realpath(path);
  let isReady = false;
  try {
    return await withDraft(target, async (draft) => {
      await keepOwner(path, target, draft.handle);
      isReady = true;
      return work(async (content) => {
        await draft.finish(content);
        await rename(draft.name, target).catch((error: unknown) => {
          throw unwritable(path, target, error);
        });
      });
    });
  } catch (error) {
    throw isReady || error instanceof FileWriteError ? error : unwritable(path, target, error);
  }
}

interface Draft {
  name: string;
  handle: FileHandle;
  /** Writes the content and syncs it. */
  finish(content: string): Promise<void>;
}

/** A file of mode 0600 under another name in the same directory, until the work ends. */
async function withDraft<T>(path: string, work: (draft: Draft) => Promise<T>): Promise<T> {
  const name = `${path}.${randomUUID()}`;
  const handle = await open(name, 'wx', 0o600);
  try {
    const result = await work({
      name,
      handle,
      async finish(content) {
        await handle.writeFile(content);
        await handle.sync();
      },
    });
    const folder = await open(dirname(path)); // synced too, so that the file's name survives a power cut
    await folder.sync().finally(() => folder.close());
    return result;
  } finally {
    await handle.close();
    await rm(name, { force: true });
  }
}

/** Gives the draft the owner, the group and the mode of the file that it will replace. */
async function keepOwner(path: string, target: string, draft: FileHandle): Promise<void> {
  const [old, made] = await Promise.all([stat(target), draft.stat()]);
  if (old.uid !== made.uid || old.gid !== made.gid)
    await draft.chown(old.uid, old.gid).catch(() => {
      throw new FileWriteError(
        `${path} belongs to user ${old.uid} and group ${old.gid}, which user ${made.uid} cannot keep when it ` +
          'replaces the file; run the command as its owner or as root; nothing was changed',
      );
    });
  await draft.chmod(old.mode & 0o777); // after chown
}

function unwritable(path: string, target: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  const where = target === path ? path : `${path} (a link to ${target})`;
  const start = `${where} cannot be replaced`;
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return new FileWriteError(
      `${start}: user ${process.geteuid?.()} may not make files in ${dirname(target)} (${code}); nothing was changed`,
    );
  if (code === 'EBUSY')
    return new FileWriteError(`${start}: it is a mount of its own (EBUSY); mount its directory instead of the file`);
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new FileWriteError(`${start}: there is no space left for it (${code}); the file is as it was`);
  return error;
}
