import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openDatabase } from '../src/db/database.ts';
import { type Installation, install } from './support/server-process.ts';
import { startTlsDatabase, type TlsDatabase } from './support/tls-database.ts';

/*
 * A table of operators' mistakes. Each ends with status 1 and one line that says what is wrong,
 * where, and what to do; with no stack trace, and with no piece of a secret.
 */

const KEK = randomBytes(32).toString('hex');
const OTHER_KEK = randomBytes(32).toString('hex');
/** A password with every character that a URL must encode. None of its pieces may be told. */
const PIECES = ['Qzj7a', 'Wkx9b', 'Vbn4c', 'Xjq2d', 'Plm8e'];
const PASSPHRASE = `${PIECES.join('-')}-passphrase`;

const LIST = ['merchant', 'list'];

let production: Installation;
let sandbox: Installation;
let tls: TlsDatabase;
/** Listens, and never answers a word. */
let silent: Server;
const atTheEnd: (() => Promise<void>)[] = [];
const NO_OPENSSL = spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not installed';

before(async () => {
  if (NO_OPENSSL) return;
  const context = { after: (work: () => Promise<void>) => void atTheEnd.push(work) };
  tls = await startTlsDatabase(install(context));
  await onServer(tls.url, 'create database pinward; create database empty; create database newer');
  await onServer(tls.url, `create role poor login password 'poor'; create role only_by_tls login password 'tls'`);
  await onServer(tls.url, 'create role blocked nologin');
  sandbox = install(context, { env: { DATABASE_URL: databaseUrl('empty') } });
  production = install(context, {
    env: { PINWARD_MODE: 'production', DATABASE_URL: databaseUrl('pinward'), PINWARD_KEK: KEK },
  });
  for (const args of [['keys', 'init'], ['migrate'], ['merchant', 'create', '--name', 'Only']]) {
    const { status, stderr } = await production.run(args);
    assert.equal(status, 0, stderr);
  }
  assert.equal((await production.run(['migrate'], { env: { DATABASE_URL: databaseUrl('newer') } })).status, 0);
  await onServer(databaseUrl('newer'), `insert into schema_migrations values (9999, '9999_future', 'x')`);
  silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
});
after(async () => {
  silent?.close();
  for (const work of atTheEnd) await work();
});

async function onServer(url: string, script: string): Promise<void> {
  const db = openDatabase({ url, connections: 1 });
  for (const statement of script.split('; ')) await db.script(statement);
  await db.close();
}

interface Login {
  user?: string;
  password?: string;
  host?: string;
  port?: number | string;
  more?: string;
}

/** A URL of the database server, correct but for what is given. */
function databaseUrl(database: string, { user, password, host, port, more = '' }: Login = {}): string {
  const url = new URL(tls.url);
  const login = `${user ?? url.username}:${password ?? url.password}`;
  return `postgres://${login}@${host ?? url.hostname}:${port ?? url.port}/${database}${more}`;
}

/** A file in the scratch directory, mode 0600. */
function file(name: string, content: string | Buffer, mode = 0o600): string {
  const path = join(production.scratch, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

function folder(name: string): string {
  const path = join(production.scratch, name);
  mkdirSync(path, { recursive: true });
  return path;
}

/** The production key file, changed. */
function keyFile(name: string, change: (file: KeyFileJson) => unknown): string {
  const whole = JSON.parse(readFileSync(join(production.dataDir, 'keys.json'), 'utf8')) as KeyFileJson;
  return file(name, JSON.stringify(change(whole) ?? whole));
}

interface KeyFileJson {
  kek: Record<string, unknown>;
  keys: (Record<string, unknown> | null)[];
  [member: string]: unknown;
}

interface Mistake {
  what: string;
  /** A command that opens the platform, if absent. */
  args?: string[] | (() => string[]);
  env?: () => Record<string, string>;
  input?: string;
  told: RegExp;
  in?: 'sandbox';
}

const PASSWORD_IN_URL = 'DATABASE_URL .*percent-encoded';

const DATABASE: Mistake[] = [
  { what: 'no database is named', env: () => ({ DATABASE_URL: ' ' }), told: /DATABASE_URL is missing/ },
  {
    what: 'the URL is of another kind of database',
    env: () => ({ DATABASE_URL: 'mysql://a:b@c/d' }),
    told: /must begin with postgres:\/\//,
  },
  {
    what: 'the URL lacks its scheme',
    env: () => ({ DATABASE_URL: 'pinward@db:5432' }),
    told: /must begin with postgres:\/\//,
  },
  {
    what: 'the port is no number',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { port: 'abcd' }) }),
    told: /DATABASE_URL has a port that is not a number from 1 to 65535$/,
  },
  {
    what: 'the port is too large',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { port: 99_999 }) }),
    told: /a port that is not a number/,
  },
  {
    what: 'the port is 0',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { port: 0 }) }),
    told: /a port that is not a number/,
  },
  {
    what: 'two hosts are given',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { host: '127.0.0.1:5432,127.0.0.2' }) }),
    told: /names several hosts/,
  },
  {
    what: 'two hosts are given as a parameter',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { more: '?host=a,b' }) }),
    told: /names several hosts/,
  },
  {
    what: 'the user and host are left out',
    env: () => ({ DATABASE_URL: 'postgres://pinward:Qzj7a' }),
    told: /is the user name or the host missing/,
  },
  {
    what: 'the host name has a blank',
    env: () => ({ DATABASE_URL: 'postgres://a:b@my host/db' }),
    told: /must be encoded/,
  },
  {
    what: 'a placeholder was not filled in',
    env: () => ({ DATABASE_URL: 'postgres://a:b@<host>/db' }),
    told: /cannot be read: its form is/,
  },
  ...['/', '#', '?', '/@', '#@', '?@', ' '].map((between) => ({
    what: `the password has an unencoded ${between}`,
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { password: PIECES.join(between) }) }),
    told: new RegExp(PASSWORD_IN_URL),
  })),
  {
    what: 'the password has an unencoded %',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { password: PIECES.join('%') }) }),
    told: /a % that is not followed by two hex digits/,
  },
  {
    what: 'the password has bytes that are not UTF-8',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { password: '%ff%fe' }) }),
    told: /two hex digits of UTF-8/,
  },
  {
    what: 'the password is wrong',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { password: PIECES.join('') }) }),
    told: /refuses access: password authentication failed.*check DATABASE_URL$/,
  },
  {
    what: 'the password is left out',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { password: '' }) }),
    told: /asks for a password and none is set/,
  },
  {
    what: 'the role does not exist',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { user: 'nobody_here' }) }),
    told: /refuses access: password authentication failed/,
  },
  {
    what: 'the role may not log in',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { user: 'blocked', password: 'x' }) }),
    told: /refuses access/,
  },
  {
    what: 'the role has no grants',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { user: 'poor', password: 'poor' }) }),
    told: /refuses access: permission denied/,
  },
  {
    what: 'the role may not create tables',
    args: ['migrate'],
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { user: 'poor', password: 'poor' }) }),
    told: /refuses access: permission denied/,
  },
  {
    what: 'the database does not exist',
    env: () => ({ DATABASE_URL: databaseUrl('nowhere') }),
    told: /refuses access: database "nowhere" does not exist/,
  },
  {
    what: 'the host does not exist',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { host: 'db.invalid' }) }),
    told: /does not answer: its host name .*check DATABASE_URL$/,
  },
  {
    what: 'nothing listens there',
    args: ['serve'],
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { port: 1 }) }),
    told: /does not answer: nothing listens there/,
  },
  {
    what: 'nothing listens there, for migrate',
    args: ['migrate'],
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { port: 1 }) }),
    told: /does not answer: nothing listens there/,
  },
  {
    what: 'something else listens there and is silent',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { port: (silent.address() as { port: number }).port }) }),
    told: /does not answer: .*check DATABASE_URL$/,
  },
  {
    what: 'the socket is not there',
    env: () => ({ DATABASE_URL: 'postgres://a:b@/db?host=/nowhere' }),
    told: /there is no socket there/,
  },
  {
    what: 'a parameter of the URL is misspelt',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { more: '?sslmod=require' }) }),
    told: /a parameter that Pinward does not know: sslmod$/,
  },
  {
    what: 'the database was made by a newer version',
    env: () => ({ DATABASE_URL: databaseUrl('newer') }),
    told: /the database is newer than the program/,
  },
  {
    what: 'the database was made by a newer version, for migrate',
    args: ['migrate'],
    env: () => ({ DATABASE_URL: databaseUrl('newer') }),
    told: /the database is newer than the program/,
  },
  {
    what: 'the database was not migrated',
    args: ['serve'],
    env: () => ({ DATABASE_URL: databaseUrl('postgres') }),
    told: /0001_platform.* run: pinward-server migrate$/,
  },
  {
    what: 'sandbox mode meets the database of production',
    env: () => ({ PINWARD_MODE: 'sandbox' }),
    told: /made in production mode and cannot be used in sandbox mode$/,
  },
];

const TLS: Mistake[] = [
  {
    what: 'the certificate is self-signed',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { more: '?sslmode=verify-full' }) }),
    told: /certificate of the database is self-signed: name it, .* sslrootcert/,
  },
  {
    what: 'the certificate is for another host name',
    env: () => ({
      DATABASE_URL: databaseUrl('pinward', { more: `?sslmode=verify-full&sslrootcert=${tls.certificate}` }),
    }),
    told: /certificate of the database is for another host name/,
  },
  {
    what: 'the CA is another one',
    env: () => ({
      DATABASE_URL: databaseUrl('pinward', { more: `?sslmode=verify-full&sslrootcert=${tls.otherCertificate}` }),
    }),
    told: /certificate of the database is /,
  },
  {
    what: 'the CA file is missing',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { more: '?sslmode=verify-full&sslrootcert=/nowhere/ca.pem' }) }),
    told: /a file for sslrootcert that cannot be read: \/nowhere\/ca.pem \(ENOENT\)$/,
  },
  {
    what: 'the CA file is a directory',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { more: '?sslrootcert=/etc' }) }),
    told: /sslrootcert that cannot be used: \/etc is a directory/,
  },
  {
    what: 'the CA file never ends',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { more: '?sslrootcert=/dev/zero' }) }),
    told: /\/dev\/zero is not a regular file/,
  },
  {
    what: 'the CA file holds something else',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { more: `?sslrootcert=${file('ca.pem', PIECES.join())}` }) }),
    told: /holds no certificate in PEM/,
  },
  {
    what: 'the client key holds something else',
    env: () => ({
      DATABASE_URL: databaseUrl('pinward', {
        more: `?sslcert=${tls.certificate}&sslkey=${file('client.key', PIECES.join())}`,
      }),
    }),
    told: /holds no private key in PEM/,
  },
  {
    what: 'the sslmode is unknown',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { more: '?sslmode=on' }) }),
    told: /an sslmode that is not one of disable, /,
  },
  {
    what: 'the sslmode and the certificates contradict each other',
    env: () => ({ DATABASE_URL: databaseUrl('pinward', { more: `?sslmode=disable&sslrootcert=${tls.certificate}` }) }),
    told: /contradict each other/,
  },
  {
    what: 'the role must use TLS and does not',
    env: () => ({
      DATABASE_URL: databaseUrl('pinward', { user: 'only_by_tls', password: 'tls-no', more: '?sslmode=disable' }),
    }),
    told: /refuses access/,
  },
];

const SETTINGS: Mistake[] = [
  {
    what: 'everything is missing',
    env: () => ({ DATABASE_URL: '', PINWARD_KEK: KEK }),
    told: /DATABASE_URL is missing/,
  },
  {
    what: 'the key-encryption key is missing',
    env: () => ({ PINWARD_KEK: '' }),
    told: /a key-encryption key is missing: set PINWARD_KEK/,
  },
  {
    what: 'the mode is unknown',
    env: () => ({ PINWARD_MODE: 'prod' }),
    told: /PINWARD_MODE must be one of sandbox, production/,
  },
  {
    what: 'the mode is misspelt',
    env: () => ({ PINWARD_MDOE: 'production' }),
    told: /PINWARD_MDOE is not a setting; PINWARD_MODE is/,
  },
  {
    what: 'a setting is in small letters',
    env: () => ({ pinward_key_file: '/x' }),
    told: /pinward_key_file is not a setting; PINWARD_KEY_FILE is/,
  },
  {
    what: 'a limit is misspelt',
    env: () => ({ LIMIT_PIN_SET_PER_CARD_PER_MINUTE: '5' }),
    told: /LIMIT_PIN_SETS_PER_CARD_PER_MINUTE is/,
  },
  ...[
    'PORT',
    'ACCESS_TOKEN_LIFETIME_SECONDS',
    'LIMIT_FAILED_AUTH_PER_MINUTE',
    'LIMIT_CALLS_PER_CREDENTIAL_PER_MINUTE',
    'LIMIT_PIN_SETS_PER_CARD_PER_MINUTE',
    'LIMIT_MALFORMED_BLOCKS_PER_HOUR',
    'SANDBOX_VERIFICATION_DELAY_MS',
    'SANDBOX_ISSUE_DELAY_MS',
    'PIN_TRIES',
  ].map((name) => ({
    what: `${name} is no whole number`,
    env: () => ({ [name]: '3.5' }),
    told: new RegExp(`${name} must be a whole number from \\d+ to \\d+$`),
  })),
  { what: 'LOG_LEVEL is unknown', env: () => ({ LOG_LEVEL: 'verbose' }), told: /LOG_LEVEL must be one of trace/ },
  {
    what: 'a proxy is a host name',
    env: () => ({ TRUST_PROXY: 'proxy.internal' }),
    told: /TRUST_PROXY must be a list of addresses/,
  },
  { what: 'the proxies are everybody', env: () => ({ TRUST_PROXY: '0.0.0.0/0' }), told: /TRUST_PROXY/ },
  {
    what: 'HOST is not of this machine',
    args: ['serve'],
    env: () => ({ HOST: '192.0.2.1' }),
    told: /cannot listen: this machine does not have that address .*set HOST and PORT$/,
  },
  {
    what: 'HOST is a URL',
    args: ['serve'],
    env: () => ({ HOST: 'http://0.0.0.0' }),
    told: /cannot listen: HOST .*set HOST and PORT$/,
  },
  {
    what: 'PORT is in use',
    args: ['serve'],
    env: () => ({ PORT: String((silent.address() as { port: number }).port) }),
    told: /cannot listen: another program listens there .*set HOST and PORT$/,
  },
  {
    what: 'two sources of the key-encryption key are given',
    env: () => ({ PINWARD_KEK_PASSPHRASE: PASSPHRASE }),
    told: /only one of PINWARD_KEK, PINWARD_KEK_PASSPHRASE may be set/,
  },
  {
    what: 'a key-encryption key and an HSM are given',
    env: () => ({ PINWARD_PKCS11_MODULE: '/x.so' }),
    told: /only one of PINWARD_KEK, PINWARD_PKCS11_MODULE may be set/,
  },
  {
    what: 'a token is given without a module',
    env: () => ({ PINWARD_PKCS11_TOKEN: 'x', PINWARD_PKCS11_PIN: 'Qzj7a' }),
    told: /without PINWARD_PKCS11_MODULE has no effect/,
  },
  {
    what: 'the PKCS#11 module is missing',
    env: () => ({
      PINWARD_KEK: '',
      PINWARD_PKCS11_MODULE: '/nowhere.so',
      PINWARD_PKCS11_TOKEN: 'x',
      PINWARD_PKCS11_PIN: 'Qzj7a',
    }),
    told: /nowhere\.so|pkcs11js/,
  },
  {
    what: 'the data directory is a file',
    args: ['serve'],
    env: () => ({ PINWARD_DATA_DIR: file('data-file', '') }),
    in: 'sandbox',
    told: /data.* cannot be used/,
  },
  {
    what: 'the data directory cannot be made',
    env: () => ({ PINWARD_DATA_DIR: '/proc/pinward' }),
    in: 'sandbox',
    told: /^pinward-server: \/proc\/pinward.* cannot be used/,
  },
];

const KEYS: Mistake[] = [
  {
    what: 'the key-encryption key is too short',
    env: () => ({ PINWARD_KEK: KEK.slice(2) }),
    told: /PINWARD_KEK must hold 64 hex digits/,
  },
  {
    what: 'the key-encryption key is another one',
    env: () => ({ PINWARD_KEK: OTHER_KEK }),
    told: /key-encryption key does not fit the key file .* \(check value [0-9A-F]{6}\)$/,
  },
  {
    what: 'a passphrase is given for a key',
    env: () => ({ PINWARD_KEK: '', PINWARD_KEK_PASSPHRASE: PASSPHRASE }),
    told: /was sealed with a key-encryption key, and a passphrase was given/,
  },
  {
    what: 'the passphrase is too short',
    env: () => ({ PINWARD_KEK: '', PINWARD_KEK_PASSPHRASE: 'Qzj7a' }),
    told: /at least 16 characters/,
  },
  {
    what: 'the file of the key is missing',
    env: () => ({ PINWARD_KEK: '', PINWARD_KEK_FILE: '/nowhere/kek' }),
    told: /PINWARD_KEK_FILE cannot be read \(ENOENT\)$/,
  },
  {
    what: 'the file of the key is a directory',
    env: () => ({ PINWARD_KEK: '', PINWARD_KEK_FILE: folder('kek.d') }),
    told: /PINWARD_KEK_FILE cannot be used: .* is a directory/,
  },
  {
    what: 'the file of the key never ends',
    env: () => ({ PINWARD_KEK: '', PINWARD_KEK_FILE: '/dev/zero' }),
    told: /PINWARD_KEK_FILE cannot be used: .* is not a regular file/,
  },
  {
    what: 'the file of the key is everybody’s',
    env: () => ({ PINWARD_KEK: '', PINWARD_KEK_FILE: file('kek-0644', KEK, 0o644) }),
    told: /PINWARD_KEK_FILE must be readable by its owner alone and has mode 0644 \(chmod 600\)/,
  },
  {
    what: 'the file of the key is empty',
    env: () => ({ PINWARD_KEK: '', PINWARD_KEK_FILE: file('kek-empty', '') }),
    told: /PINWARD_KEK_FILE must hold 64 hex digits/,
  },
  {
    what: 'the file of the key is the key file',
    env: () => ({ PINWARD_KEK: '', PINWARD_KEK_FILE: join(production.dataDir, 'keys.json') }),
    told: /PINWARD_KEK_FILE (must hold 64 hex digits|cannot be used)/,
  },
  {
    what: 'the key file is missing',
    env: () => ({ PINWARD_KEY_FILE: '/nowhere/keys.json' }),
    told: /the key file \/nowhere\/keys\.json is gone/,
  },
  {
    what: 'the key file is a directory',
    env: () => ({ PINWARD_KEY_FILE: folder('keys.d') }),
    told: /keys\.d.* is a directory/,
  },
  {
    what: 'the key file never ends',
    env: () => ({ PINWARD_KEY_FILE: '/dev/zero' }),
    told: /\/dev\/zero is not a regular file/,
  },
  {
    what: 'the key file is a circle of links',
    env: () => ({ PINWARD_KEY_FILE: circle() }),
    told: /the key file .*one cannot be read: ELOOP/,
  },
  {
    what: 'the key file is empty',
    env: () => ({ PINWARD_KEY_FILE: file('empty.json', '') }),
    told: /empty\.json cannot be read: it is no JSON/,
  },
  {
    what: 'the key file is cut off',
    env: () => ({
      PINWARD_KEY_FILE: file('cut.json', readFileSync(join(production.dataDir, 'keys.json')).subarray(0, 900)),
    }),
    told: /cut\.json cannot be read: it is no JSON/,
  },
  {
    what: 'the key file is garbage',
    env: () => ({ PINWARD_KEY_FILE: file('garbage.json', randomBytes(2000)) }),
    told: /garbage\.json cannot be read: it is no JSON/,
  },
  {
    what: 'the key file is too large',
    env: () => ({ PINWARD_KEY_FILE: file('large.json', ' '.repeat(5_000_000)) }),
    told: /large\.json is larger than/,
  },
  {
    what: 'the key file is null',
    env: () => ({ PINWARD_KEY_FILE: file('null.json', 'null') }),
    told: /null\.json is not a key file/,
  },
  {
    what: 'the key file has a null among its keys',
    env: () => ({ PINWARD_KEY_FILE: keyFile('nulls.json', (stored) => ({ ...stored, keys: [null] })) }),
    told: /nulls\.json is not a key file/,
  },
  ...(['version', 'kcv', 'purpose', 'algorithm', 'created_at', 'wrapped'] as const).map((member) => ({
    what: `a key of the key file has a wrong ${member}`,
    env: () => ({
      PINWARD_KEY_FILE: keyFile(
        `wrong-${member}.json`,
        ({ keys }) => void Object.assign(keys[0] ?? {}, { [member]: 7.5 }),
      ),
    }),
    told: new RegExp(`wrong-${member}\\.json is not a key file`),
  })),
  {
    what: 'the key file has a wrong KEK record',
    env: () => ({
      PINWARD_KEY_FILE: keyFile('wrong-kek.json', (stored) => void Object.assign(stored, { kek: { kcv: 1 } })),
    }),
    told: /wrong-kek\.json is not a key file/,
  },
  {
    what: 'the key file has wrong retired KEKs',
    env: () => ({
      PINWARD_KEY_FILE: keyFile('wrong-retired.json', (stored) => void Object.assign(stored, { retired_keks: [null] })),
    }),
    told: /wrong-retired\.json is not a key file/,
  },
  {
    what: 'the key file has a key twice',
    env: () => ({ PINWARD_KEY_FILE: keyFile('twice.json', ({ keys }) => void keys.push(keys[0] ?? null)) }),
    told: /twice\.json/,
  },
  {
    what: 'the key file is of another installation',
    env: () => ({ PINWARD_KEY_FILE: keyFile('other.json', (stored) => void Object.assign(stored, { id: 'another' })) }),
    told: /other\.json/,
  },
  {
    what: 'the key file exists already',
    args: ['keys', 'init'],
    told: /there is a key file at .* already; nothing was changed$/,
  },
  { what: 'the old KEK is not given', args: ['keys', 'rotate', 'kek'], told: /PINWARD_OLD_KEK/ },
  {
    what: 'the old KEK is no key',
    args: ['keys', 'rotate', 'kek'],
    env: () => ({ PINWARD_OLD_KEK: 'Qzj7a' }),
    told: /PINWARD_OLD_KEK must hold 64 hex digits/,
  },
  { what: 'the purpose is unknown', args: ['keys', 'rotate', 'pins'], told: /pins is not one of pin-verify/ },
  { what: 'the version is no number', args: ['keys', 'destroy', 'cvv', 'one'], told: /there is no cvv key of version/ },
];

const COMMANDS: Mistake[] = [
  { what: 'the command is unknown', args: ['start'], told: /unknown command 'start'.*--help/ },
  { what: 'the option is unknown', args: ['merchant', 'list', '--all'], told: /unknown option '--all'.*--help/ },
  { what: 'an argument is missing', args: ['merchant', 'disable'], told: /missing required argument.*--help/ },
  { what: 'an option is missing', args: ['merchant', 'create'], told: /required option .*--help/ },
  { what: 'a date is none', args: ['audit', 'prune', '--before', 'yesterday'], told: /not a date.*--help/ },
  { what: 'the merchant does not exist', args: ['merchant', 'disable', 'M1'], told: /M1/ },
  {
    what: 'an allowlist has a host name',
    args: ['credential', 'create', '--merchant', 'M1', '--allow-ip', 'example.com'],
    told: /neither an IP address nor a CIDR block|no merchant/,
  },
  {
    what: 'a secret from standard input is too long',
    args: ['credential', 'create', '--merchant', 'M1', '--import', 'key_of_another'],
    input: 'Qzj7a'.repeat(10_000),
    told: /standard input is longer than/,
  },
  {
    what: 'a share is too long',
    args: ['keys', 'import-components', 'cvv', '--share', '1'],
    input: 'Qzj7a'.repeat(10_000),
    told: /standard input is longer than/,
  },
  {
    what: 'the package sheet is missing',
    args: ['package', 'create', '/nowhere.json'],
    told: /\/nowhere\.json cannot be read: there is no such file$/,
  },
  { what: 'the package sheet is a directory', args: ['package', 'create', '/etc'], told: /\/etc is a directory/ },
  {
    what: 'the package sheet never ends',
    args: ['package', 'create', '/dev/zero'],
    told: /\/dev\/zero is not a regular file/,
  },
  {
    what: 'the package sheet is not JSON',
    args: () => ['package', 'create', file('sheet.json', '{')],
    told: /the file is not JSON/,
  },
  {
    what: 'the package sheet is null',
    args: () => ['package', 'create', file('null-sheet.json', 'null')],
    told: /the package is not valid/,
  },
  {
    what: 'the issuer of an import does not exist',
    args: ['cards', 'import', '/dev/null', '--issuer', 'I1'],
    told: /there is no issuer I1/,
  },
  { what: 'the callback address is no URL', args: ['callbacks', 'configure', 'M1', '--url', 'example'], told: /.+/ },
  {
    what: 'a share cannot be written',
    args: ['keys', 'export-components', 'cvv', '--out', '/dev/null/x'],
    told: /\/dev\/null\/x cannot be used/,
  },
  {
    what: 'the sandbox is reset in production',
    args: ['sandbox', 'reset'],
    told: /there is no sandbox in production mode/,
  },
];

function circle(): string {
  const [one, other] = [join(production.scratch, 'one'), join(production.scratch, 'other')];
  symlinkSync(other, one);
  symlinkSync(one, other);
  return one;
}

for (const [name, mistakes] of Object.entries({ DATABASE, TLS, SETTINGS, KEYS, COMMANDS })) {
  describe(`mistakes of ${name.toLowerCase()}`, { concurrency: 2, skip: NO_OPENSSL }, () => {
    for (const { what, args = LIST, env, input, told, in: where } of mistakes)
      test(`${what}: one line says so`, async () => {
        const installation = where === 'sandbox' ? sandbox : production;
        const more = { env: env?.() ?? {}, ...(input !== undefined && { input }) };
        const given = typeof args === 'function' ? args() : args;
        const { status, stdout, stderr } = await installation.run(given, more);
        assert.equal(status, 1, stdout);
        assert.match(stderr, /^pinward-server: [^\n]+\n$/, 'one line');
        assert.match(stderr.trimEnd(), told);
        for (const secret of [...PIECES, KEK, KEK.slice(2), OTHER_KEK, new URL(tls.url).password])
          assert.ok(!`${stderr}${stdout}`.includes(secret), 'a secret is told');
      });
  });
}
