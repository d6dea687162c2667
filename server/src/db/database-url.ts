import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readText, UnfitFileError } from '../files.ts';

/**
 * Parameters after the question mark that have an effect, or that a provider adds without need for
 * one.
 */
const PARAMETERS = new Set(
  (
    'user password host port sslmode sslrootcert sslcert sslkey sslnegotiation uselibpqcompat application_name options ' +
    'client_encoding channel_binding connect_timeout gssencmode keepalives target_session_attrs'
  ).split(' '),
);
const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify'];
const PEM_LIMIT_BYTES = 1024 * 1024;
const ENCODE = 'write each / ? # % @ and blank of a user name or password percent-encoded (%2F for /)';

/**
 * What is wrong with a database URL, in words. They hold no part of the user name, the password
 * or what may be a piece of it: a password with an unencoded / ends up in the host or the path.
 */
export function databaseUrlFaults(text: string): string[] {
  if (!/^postgres(ql)?:\/\//.test(text)) return ['must begin with postgres:// or postgresql://'];
  const [, login, hosts = '', rest = ''] = /^[a-z]+:\/\/(?:([^/?#]*)@)?([^/?#]*)(.*)$/s.exec(text) ?? [];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (rest.includes('@') || rest.includes('#') || /[\x00-\x20\x7f]/.test(text))
    return [`holds a character that must be encoded: ${ENCODE}`];
  if (!isEncoded(text)) return [`has a % that is not followed by two hex digits of UTF-8: ${ENCODE}`];
  const place = hosts === '' ? undefined : hostFault(hosts);
  if (place !== undefined) return [login === undefined ? `${place}; is the user name or the host missing?` : place];
  const address = hosts === '' || URL.canParse(`postgres://${hosts}`);
  return address ? parameterFaults(rest) : ['cannot be read: its form is postgres://USER:PASSWORD@HOST:PORT/DATABASE'];
}

/**
 * The URL with `verify-full` for the weaker modes. The driver treats them alike, but prints several
 * lines of warning about it. With `uselibpqcompat` the mode means what libpq does.
 */
export function plainDatabaseUrl(text: string): string {
  if (/[?&]uselibpqcompat=/.test(text)) return text;
  return text.replace(/([?&]sslmode=)(?:prefer|require|verify-ca)(?=&|$)/, '$1verify-full');
}

function isEncoded(text: string): boolean {
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) return false;
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false; // not UTF-8
  }
}

function hostFault(hosts: string): string | undefined {
  if (hosts.includes(',')) return 'names several hosts, and Pinward connects to one: name the one that takes writes';
  const [, port] = /^(?:\[[^\]]*\]|[^:]*)(?::(.*))?$/.exec(hosts) ?? [undefined, 'none'];
  return port === undefined || port === '' ? undefined : portFault(port);
}

function portFault(port: string): string | undefined {
  const isPort = /^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65_535;
  return isPort ? undefined : 'has a port that is not a number from 1 to 65535';
}

function parameterFaults(rest: string): string[] {
  const given = new URLSearchParams(rest.split('?').slice(1).join('?'));
  const faults: string[] = [];
  for (const [name, value] of given) {
    // A name that is no word may be a piece of a password, so it is not repeated.
    if (!PARAMETERS.has(name))
      faults.push(`has a parameter that Pinward does not know${/^[a-z_]{2,30}$/.test(name) ? `: ${name}` : ''}`);
    else if (given.getAll(name).length > 1) faults.push(`has more than one ${name}`);
    else if (name === 'sslmode' && !SSL_MODES.includes(value))
      faults.push(`has an sslmode that is not one of ${SSL_MODES.join(', ')}`);
    else if (name === 'uselibpqcompat' && value !== 'true') faults.push('has a uselibpqcompat that is not true');
    else if (name === 'host' && value.includes(',')) faults.push(hostFault(value) ?? '');
    else if (name === 'port') faults.push(portFault(value) ?? '');
    else if (name === 'sslnegotiation' && value !== 'postgres' && value !== 'direct')
      faults.push('has an sslnegotiation that is not postgres or direct');
    else if (name === 'sslrootcert' || name === 'sslcert' || name === 'sslkey')
      faults.push(pemFault(name, value) ?? '');
  }
  if (given.get('sslmode') === 'verify-ca' && given.has('uselibpqcompat') && !given.has('sslrootcert'))
    faults.push('has sslmode verify-ca, which needs sslrootcert');
  if (given.has('sslcert') !== given.has('sslkey')) faults.push('needs both of sslcert and sslkey, or neither');
  if (given.get('sslmode') === 'disable' && (given.has('sslrootcert') || given.has('sslcert')))
    faults.push('has sslmode disable and certificates, which contradict each other');
  return [...new Set(faults)].filter((fault) => fault !== '');
}

/** A certificate or key that is missing or unreadable would show only as a failing connection. */
function pemFault(name: string, path: string): string | undefined {
  const what = name === 'sslkey' ? 'private key' : 'certificate';
  try {
    const text = readText(path, PEM_LIMIT_BYTES);
    if (name === 'sslkey') createPrivateKey(text);
    else new X509Certificate(text);
    return undefined;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof UnfitFileError) return `names a file for ${name} that cannot be used: ${message}`;
    if (name === 'sslrootcert' && path === 'system' && code === 'ENOENT')
      return 'has sslrootcert=system: leave it out, and the certificates of Node.js are used';
    const isRead = /^E[A-Z]+$/.test(code ?? '');
    return isRead
      ? `names a file for ${name} that cannot be read: ${path} (${code})`
      : `names a file for ${name} that holds no ${what} in PEM: ${path}`;
  }
}
