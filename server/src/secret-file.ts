import type { Stats } from 'node:fs';
import { readBytes, UnfitFileError } from './files.ts';
import { decodeUtf8 } from './text.ts';

/** A PIN, a key in hex or a passphrase has less. */
const LIMIT_BYTES = 4_096;

/**
 * The text of a secret's file, without blanks around it. Nobody but this process may be able to
 * read it. Otherwise pushes what is wrong to `faults`; `name` is the setting that names the file.
 */
export function readSecretFile(name: string, path: string, faults: string[]): string | undefined {
  try {
    const { bytes, stats } = readBytes(path, LIMIT_BYTES);
    const fault = modeFault(stats);
    if (fault !== undefined) faults.push(`${name} ${fault}`);
    const text = decodeUtf8(bytes);
    bytes.fill(0);
    if (text === undefined) faults.push(`${name} must hold text in UTF-8`);
    return text?.trim();
  } catch (error) {
    faults.push(`${name} ${readFault(error)}`);
    return undefined;
  }
}

/**
 * The file is its owner's alone. Or it is root's, and readable by a group of this process: so
 * Kubernetes mounts a secret if the pod has an fsGroup.
 */
function modeFault({ mode, uid, gid }: Stats): string | undefined {
  if ((mode & 0o077) === 0) return undefined;
  const groups = [process.getegid?.(), ...(process.getgroups?.() ?? [])];
  if ((mode & 0o037) === 0 && uid === 0 && groups.includes(gid)) return undefined;
  const now = (mode & 0o777).toString(8).padStart(4, '0');
  return (
    `must be readable by its owner alone and has mode ${now} (chmod 600); ` +
    'in Kubernetes set defaultMode 0400, and fsGroup if the process is not root'
  );
}

function readFault(error: unknown): string {
  if (error instanceof UnfitFileError) return `cannot be used: ${error.message}`;
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'EACCES') return `cannot be read (${code})`;
  const user = process.geteuid?.();
  return `cannot be read by user id ${user} (EACCES): make that user its owner; in Kubernetes set fsGroup`;
}
