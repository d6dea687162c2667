import pg from 'pg';

const UNKNOWN_CA = 'is from a CA that is not known here: name the CA by sslrootcert in DATABASE_URL';

/** What Node and OpenSSL call a certificate that is not trusted, and what to do. */
const CERTIFICATE_FAULTS: Record<string, string> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: 'is self-signed: name it, or its CA, by sslrootcert in DATABASE_URL',
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_CA,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_CA,
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_CA,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_CA,
  CERT_SIGNATURE_FAILURE: 'is not signed by the CA of sslrootcert in DATABASE_URL',
  CERT_HAS_EXPIRED: 'has expired: renew it, or correct the clock of this machine',
  CERT_NOT_YET_VALID: 'is not valid yet: correct the clock of this machine',
  ERR_TLS_CERT_ALTNAME_INVALID: 'is for another host name than DATABASE_URL has: use a name that is in it',
};

/** The system's words for a server that cannot be reached. */
const UNREACHABLE: Record<string, string> = {
  ECONNREFUSED: 'nothing listens there',
  ENOENT: 'there is no socket there',
  ENOTFOUND: 'its host name is not known',
  EAI_AGAIN: 'its host name cannot be looked up now',
  ETIMEDOUT: 'it does not answer in time',
  EHOSTUNREACH: 'there is no route to it',
  ENETUNREACH: 'there is no route to it',
  EADDRNOTAVAIL: 'its address cannot be reached from here',
  ECONNRESET: 'it closed the connection',
  EPIPE: 'it closed the connection',
  EACCES: 'its socket may not be used by this user',
};

/** The first part of a SQLSTATE, or all of it, and what an operator can do. */
const REFUSALS: [state: RegExp, words: string][] = [
  [/^28/, 'the database refuses access'],
  [/^3D000/, 'the database refuses access'],
  [/^42501/, 'the database refuses access'],
  [/^3F000/, 'the role has no schema to create tables in'],
  [/^25006/, 'the database takes no writes: it is a standby, or set to read only'],
  [/^53100/, 'the disk of the database is full'],
  [/^53300/, 'the database has no free connection'],
  [/^(53|58|XX001|XX002)/, 'the database server has a fault of its own'],
  [/^(57P|08)/, 'the database does not answer'],
  [/^(55P03|57014)/, 'the database took too long, probably because something else holds a lock'],
  [/^(42704|22023|0A000)/, 'the database refuses a setting'],
];

/**
 * A fault of the database or of the way to it, that an operator can mend, in a sentence; else
 * undefined.
 */
export function connectionFault(error: unknown): string | undefined {
  const { code = '', message = '', syscall } = error as NodeJS.ErrnoException;
  if (error instanceof pg.DatabaseError) {
    const [, words] = REFUSALS.find(([state]) => state.test(code)) ?? [];
    const told = words ?? (error.severity === 'FATAL' ? 'the database refuses the connection' : undefined);
    return told && `${told}: ${message} (SQLSTATE ${code}); check DATABASE_URL`;
  }
  const certificate = CERTIFICATE_FAULTS[code];
  if (certificate !== undefined) return `the certificate of the database ${certificate}`;
  if (isTlsFault(code, message)) return `TLS with the database fails: ${message}; check sslmode in DATABASE_URL`;
  if (message.startsWith('The server does not support SSL'))
    return 'the database does not offer TLS: switch it on there, or set sslmode=disable in DATABASE_URL';
  if (message.includes('client password must be'))
    return 'the database asks for a password and none is set: add it to DATABASE_URL';
  if (message.startsWith('SASL') || /authentication|auth type/i.test(message))
    return `the database refuses access: ${message}; check DATABASE_URL`;
  const isConnection = ['connect', 'getaddrinfo', 'read', 'write'].includes(syscall ?? '') || isAggregate(error);
  if (isConnection && code in UNREACHABLE)
    return `the database does not answer: ${UNREACHABLE[code]} (${message || code}); check DATABASE_URL`;
  if (/^(timeout e|Query read timeout|Connection terminated|Client has encountered a connection error)/.test(message))
    return `the database does not answer: ${message}; check DATABASE_URL`;
  return undefined;
}

/** Several addresses of a host were tried, and none answered. */
function isAggregate(error: unknown): boolean {
  return error instanceof AggregateError;
}

function isTlsFault(code: string, message: string): boolean {
  return /^(ERR_SSL_|ERR_TLS_|ERR_OSSL_|EPROTO|HOSTNAME_|CERT_|CRL_|UNABLE_TO_)/.test(code) || /\bSSL\b/.test(message);
}
