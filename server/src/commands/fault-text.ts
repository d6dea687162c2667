import { connectionFault } from '../db/connection-fault.ts';
import { OperatorError } from '../operator-error.ts';

/** What the system's codes for files and directories mean. */
const FILE_FAULTS: Record<string, string> = {
  EPERM: 'this user may not do that with it; check its owner',
  EROFS: 'the file system is read-only; use another directory (PINWARD_DATA_DIR, PINWARD_KEY_FILE)',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota of the disk is used up',
  ENOENT: 'there is no such file or directory',
  EISDIR: 'it is a directory, not a file',
  ENOTDIR: 'a part of that path is not a directory',
  EEXIST: 'it exists already, and is of another kind than what is needed',
  ELOOP: 'its symbolic links lead in a circle',
  ENAMETOOLONG: 'the path is too long',
  EMFILE: 'this process has too many open files (ulimit -n)',
  ENFILE: 'the system has too many open files',
  EIO: 'the disk does not work',
  EBUSY: 'something else uses it',
  ETXTBSY: 'something else uses it',
  ENXIO: 'it is a device or socket without anything behind it',
  ENODEV: 'it is a device or socket without anything behind it',
};

const LISTEN_FAULTS: Record<string, string> = {
  EADDRINUSE: 'another program listens there',
  EACCES: 'ports below 1024 need a privilege',
  EADDRNOTAVAIL: 'this machine does not have that address',
  ENOTFOUND: 'HOST is not an address or a name of this machine',
  EAI_AGAIN: 'HOST cannot be looked up now',
  EAFNOSUPPORT: 'this machine does not have that kind of address',
};

/** A fault that the operator can mend, in a sentence. Any other fault with its stack. */
export function faultText(error: unknown): string {
  if (error instanceof OperatorError) return error.message;
  const { message, stack } = (error ?? {}) as Error;
  return systemFault(error) ?? connectionFault(error) ?? stack ?? message ?? String(error);
}

/** Faults of files, and of the directory that a command starts in. */
function systemFault(error: unknown): string | undefined {
  const { code = '', message, syscall, path } = (error ?? {}) as NodeJS.ErrnoException;
  if (syscall === 'uv_cwd')
    return 'the directory that this was started in does not exist any more; start it in another one';
  if (code === 'EACCES' && path !== undefined)
    return `${path} cannot be read or written: ${message}; check the owner of PINWARD_DATA_DIR`;
  const words = FILE_FAULTS[code];
  if (words === undefined || syscall === 'connect') return undefined;
  return path === undefined ? `${words} (${message})` : `${path} cannot be used: ${words} (${code})`;
}

/** Why the address of HOST and PORT cannot be listened on. */
export function listenFault(error: unknown): OperatorError {
  const { code = '', message } = error as NodeJS.ErrnoException;
  const words = LISTEN_FAULTS[code];
  return new OperatorError(`cannot listen: ${words === undefined ? '' : `${words}: `}${message}; set HOST and PORT`);
}
