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
  await onServer(tls.url, "create database latin encoding 'LATIN1' locale 'C' template template0");
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

/** The environment with such a URL. */
function at(login: Login, database = 'pinward'): Env {
  return () => ({ DATABASE_URL: databaseUrl(database, login) });
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

type Env = () => Record<string, string>;

interface Mistake {
  what: string;
  /** A command that opens the platform, if absent. */
  args?: string[] | (() => string[]);
  env?: Env;
  input?: string;
  told: RegExp;
  in?: 'sandbox';
}

/** A row of the tables. A function gives the environment, and more comes as an object. */
function mistake(what: string, told: RegExp, more: Env | Partial<Mistake> = {}): Mistake {
  return typeof more === 'function' ? { what, told, env: more } : { what, told, ...more };
}

const PASSWORD_IN_URL = 'DATABASE_URL .*percent-encoded';

const DATABASE: Mistake[] = [
  { what: 'no database is named', env: () => ({ DATABASE_URL: ' ' }), told: /DATABASE_URL is missing/ },
  mistake('the URL is of another kind of database', /must begin with postgres:\/\//, () => ({
    DATABASE_URL: 'mysql://a:b@c/d',
  })),
  mistake('the URL lacks its scheme', /must begin with postgres:\/\//, () => ({ DATABASE_URL: 'pinward@db:5432' })),
  mistake(
    'the port is no number',
    /DATABASE_URL has a port that is not a number from 1 to 65535$/,
    at({ port: 'abcd' }),
  ),
  mistake('the port is too large', /a port that is not a number/, at({ port: 99_999 })),
  mistake('the port is 0', /a port that is not a number/, at({ port: 0 })),
  mistake('two hosts are given', /names several hosts/, at({ host: '127.0.0.1:5432,127.0.0.2' })),
  mistake('two hosts are given as a parameter', /names several hosts/, at({ more: '?host=a,b' })),
  mistake('the user and host are left out', /is the user name or the host missing/, () => ({
    DATABASE_URL: 'postgres://pinward:Qzj7a',
  })),
  mistake('the host name has a blank', /must be encoded/, () => ({ DATABASE_URL: 'postgres://a:b@my host/db' })),
  mistake('a placeholder was not filled in', /cannot be read: its form is/, () => ({
    DATABASE_URL: 'postgres://a:b@<host>/db',
  })),
  ...['/', '#', '?', '/@', '#@', '?@', ' '].map((between) => ({
    what: `the password has an unencoded ${between}`,
    env: at({ password: PIECES.join(between) }),
    told: new RegExp(PASSWORD_IN_URL),
  })),
  mistake(
    'the password has an unencoded %',
    /a % that is not followed by two hex digits/,
    at({ password: PIECES.join('%') }),
  ),
  mistake('the password has bytes that are not UTF-8', /two hex digits of UTF-8/, at({ password: '%ff%fe' })),
  mistake(
    'the password is wrong',
    /refuses access: password authentication failed.*check DATABASE_URL$/,
    at({ password: PIECES.join('') }),
  ),
  mistake('the password is left out', /asks for a password and none is set/, at({ password: '' })),
  mistake('the role does not exist', /refuses access: password authentication failed/, at({ user: 'nobody_here' })),
  mistake('the role may not log in', /refuses access/, at({ user: 'blocked', password: 'x' })),
  mistake('the role has no grants', /refuses access: permission denied/, at({ user: 'poor', password: 'poor' })),
  mistake('the role may not create tables', /refuses access: permission denied/, {
    args: ['migrate'],
    env: at({ user: 'poor', password: 'poor' }),
  }),
  mistake('the database does not exist', /refuses access: database "nowhere" does not exist/, at({}, 'nowhere')),
  mistake(
    'the host does not exist',
    /does not answer: its host name .*check DATABASE_URL$/,
    at({ host: 'db.invalid' }),
  ),
  mistake('nothing listens there', /does not answer: nothing listens there/, { args: ['serve'], env: at({ port: 1 }) }),
  mistake('nothing listens there, for migrate', /does not answer: nothing listens there/, {
    args: ['migrate'],
    env: at({ port: 1 }),
  }),
  mistake('something else listens there and is silent', /does not answer: .*check DATABASE_URL$/, () => ({
    DATABASE_URL: databaseUrl('pinward', { port: (silent.address() as { port: number }).port }),
  })),
  mistake('the socket is not there', /there is no socket there/, () => ({
    DATABASE_URL: 'postgres://a:b@/db?host=/nowhere',
  })),
  mistake(
    'a parameter of the URL is misspelt',
    /a parameter that Pinward does not know: sslmod$/,
    at({ more: '?sslmod=require' }),
  ),
  mistake(
    'the options of the URL are none',
    /refuses the connection: invalid command-line argument .*check DATABASE_URL$/,
    at({ more: '?options=-z' }),
  ),
  mistake(
    'the database is of another encoding',
    /stores text in LATIN1, and Pinward needs UTF8: create it with encoding 'UTF8'$/,
    { args: ['migrate'], env: at({}, 'latin') },
  ),
  mistake('the database was made by a newer version', /the database is newer than the program/, at({}, 'newer')),
  mistake('the database was made by a newer version, for migrate', /the database is newer than the program/, {
    args: ['migrate'],
    env: at({}, 'newer'),
  }),
  mistake('the database was not migrated', /0001_platform.* run: pinward-server migrate$/, {
    args: ['serve'],
    env: at({}, 'postgres'),
  }),
  mistake(
    'sandbox mode meets the database of production',
    /made in production mode and cannot be used in sandbox mode$/,
    () => ({ PINWARD_MODE: 'sandbox' }),
  ),
];

const TLS: Mistake[] = [
  mistake(
    'the certificate is self-signed',
    /certificate of the database is self-signed: name it, .* sslrootcert/,
    at({ more: '?sslmode=require' }),
  ),
  mistake('the certificate is for another host name', /certificate of the database is for another host name/, () => ({
    DATABASE_URL: databaseUrl('pinward', { more: `?sslmode=verify-full&sslrootcert=${tls.certificate}` }),
  })),
  mistake('the CA is another one', /certificate of the database is /, () => ({
    DATABASE_URL: databaseUrl('pinward', { more: `?sslmode=verify-full&sslrootcert=${tls.otherCertificate}` }),
  })),
  mistake(
    'the CA file is missing',
    /a file for sslrootcert that cannot be read: \/nowhere\/ca.pem \(ENOENT\)$/,
    at({ more: '?sslmode=verify-full&sslrootcert=/nowhere/ca.pem' }),
  ),
  mistake(
    'the CA file is a directory',
    /sslrootcert that cannot be used: \/etc is a directory/,
    at({ more: '?sslrootcert=/etc' }),
  ),
  mistake('the CA file never ends', /\/dev\/zero is not a regular file/, at({ more: '?sslrootcert=/dev/zero' })),
  mistake('the CA file holds something else', /holds no certificate in PEM/, () => ({
    DATABASE_URL: databaseUrl('pinward', { more: `?sslrootcert=${file('ca.pem', PIECES.join())}` }),
  })),
  mistake('the client key holds something else', /holds no private key in PEM/, () => ({
    DATABASE_URL: databaseUrl('pinward', {
      more: `?sslcert=${tls.certificate}&sslkey=${file('client.key', PIECES.join())}`,
    }),
  })),
  mistake('the sslmode is unknown', /an sslmode that is not one of disable, /, at({ more: '?sslmode=on' })),
  mistake('uselibpqcompat is not true', /a uselibpqcompat that is not true$/, at({ more: '?uselibpqcompat=1' })),
  mistake('the sslmode and the certificates contradict each other', /contradict each other/, () => ({
    DATABASE_URL: databaseUrl('pinward', { more: `?sslmode=disable&sslrootcert=${tls.certificate}` }),
  })),
  mistake(
    'the role must use TLS and does not',
    /refuses access/,
    at({ user: 'only_by_tls', password: 'tls-no', more: '?sslmode=disable' }),
  ),
];

const SETTINGS: Mistake[] = [
  mistake('everything is missing', /DATABASE_URL is missing/, () => ({ DATABASE_URL: '', PINWARD_KEK: KEK })),
  mistake('the key-encryption key is missing', /a key-encryption key is missing: set PINWARD_KEK/, () => ({
    PINWARD_KEK: '',
  })),
  mistake('the mode is unknown', /PINWARD_MODE must be one of sandbox, production/, () => ({ PINWARD_MODE: 'prod' })),
  mistake('the mode is misspelt', /PINWARD_MDOE is not a setting; PINWARD_MODE is/, () => ({
    PINWARD_MDOE: 'production',
  })),
  mistake('a setting is in small letters', /pinward_key_file is not a setting; PINWARD_KEY_FILE is/, () => ({
    pinward_key_file: '/x',
  })),
  mistake('a limit is misspelt', /LIMIT_PIN_SETS_PER_CARD_PER_MINUTE is/, () => ({
    LIMIT_PIN_SET_PER_CARD_PER_MINUTE: '5',
  })),
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
  mistake('a proxy is a host name', /TRUST_PROXY must be a list of addresses/, () => ({
    TRUST_PROXY: 'proxy.internal',
  })),
  { what: 'the proxies are everybody', env: () => ({ TRUST_PROXY: '0.0.0.0/0' }), told: /TRUST_PROXY/ },
  mistake(
    'HOST is not of this machine',
    /cannot listen: this machine does not have that address: .*set HOST and PORT$/,
    { args: ['serve'], env: () => ({ HOST: '192.0.2.1' }) },
  ),
  mistake('HOST is a URL', /cannot listen: HOST .*set HOST and PORT$/, {
    args: ['serve'],
    env: () => ({ HOST: 'http://0.0.0.0' }),
  }),
  mistake('PORT is in use', /cannot listen: another program listens there: .*set HOST and PORT$/, {
    args: ['serve'],
    env: () => ({ PORT: String((silent.address() as { port: number }).port) }),
  }),
  mistake(
    'two sources of the key-encryption key are given',
    /only one of PINWARD_KEK, PINWARD_KEK_PASSPHRASE may be set/,
    () => ({ PINWARD_KEK_PASSPHRASE: PASSPHRASE }),
  ),
  mistake(
    'a key-encryption key and an HSM are given',
    /only one of PINWARD_KEK, PINWARD_PKCS11_MODULE may be set/,
    () => ({ PINWARD_PKCS11_MODULE: '/x.so' }),
  ),
  mistake('a token is given without a module', /without PINWARD_PKCS11_MODULE has no effect/, () => ({
    PINWARD_PKCS11_TOKEN: 'x',
    PINWARD_PKCS11_PIN: 'Qzj7a',
  })),
  mistake('the PKCS#11 module is missing', /nowhere\.so|pkcs11js/, () => ({
    PINWARD_KEK: '',
    PINWARD_PKCS11_MODULE: '/nowhere.so',
    PINWARD_PKCS11_TOKEN: 'x',
    PINWARD_PKCS11_PIN: 'Qzj7a',
  })),
  mistake('the data directory is a file', /data.* cannot be used/, {
    args: ['serve'],
    env: () => ({ PINWARD_DATA_DIR: file('data-file', '') }),
    in: 'sandbox',
  }),
  mistake('the data directory cannot be made', /^pinward-server: \/proc\/pinward.* cannot be used/, {
    env: () => ({ PINWARD_DATA_DIR: '/proc/pinward' }),
    in: 'sandbox',
  }),
];

const KEYS: Mistake[] = [
  mistake('the key-encryption key is too short', /PINWARD_KEK must hold 64 hex digits/, () => ({
    PINWARD_KEK: KEK.slice(2),
  })),
  mistake(
    'the key-encryption key is another one',
    /key-encryption key does not fit the key file .* \(check value [0-9A-F]{6}\)$/,
    () => ({ PINWARD_KEK: OTHER_KEK }),
  ),
  mistake(
    'a passphrase is given for a key',
    /was sealed with a key-encryption key, and a passphrase was given/,
    () => ({ PINWARD_KEK: '', PINWARD_KEK_PASSPHRASE: PASSPHRASE }),
  ),
  mistake('the passphrase is too short', /at least 16 characters/, () => ({
    PINWARD_KEK: '',
    PINWARD_KEK_PASSPHRASE: 'Qzj7a',
  })),
  mistake('the file of the key is missing', /PINWARD_KEK_FILE cannot be read \(ENOENT\)$/, () => ({
    PINWARD_KEK: '',
    PINWARD_KEK_FILE: '/nowhere/kek',
  })),
  mistake('the file of the key is a directory', /PINWARD_KEK_FILE cannot be used: .* is a directory/, () => ({
    PINWARD_KEK: '',
    PINWARD_KEK_FILE: folder('kek.d'),
  })),
  mistake('the file of the key never ends', /PINWARD_KEK_FILE cannot be used: .* is not a regular file/, () => ({
    PINWARD_KEK: '',
    PINWARD_KEK_FILE: '/dev/zero',
  })),
  mistake(
    'the file of the key is everybody’s',
    /PINWARD_KEK_FILE must be readable by its owner alone and has mode 0644 \(chmod 600\)/,
    () => ({ PINWARD_KEK: '', PINWARD_KEK_FILE: file('kek-0644', KEK, 0o644) }),
  ),
  mistake('the file of the key is empty', /PINWARD_KEK_FILE must hold 64 hex digits/, () => ({
    PINWARD_KEK: '',
    PINWARD_KEK_FILE: file('kek-empty', ''),
  })),
  mistake('the file of the key is the key file', /PINWARD_KEK_FILE (must hold 64 hex digits|cannot be used)/, () => ({
    PINWARD_KEK: '',
    PINWARD_KEK_FILE: join(production.dataDir, 'keys.json'),
  })),
  mistake('the key file is missing', /the key file \/nowhere\/keys\.json is gone/, () => ({
    PINWARD_KEY_FILE: '/nowhere/keys.json',
  })),
  mistake('the key file is a directory', /keys\.d.* is a directory/, () => ({ PINWARD_KEY_FILE: folder('keys.d') })),
  mistake('the key file never ends', /\/dev\/zero is not a regular file/, () => ({ PINWARD_KEY_FILE: '/dev/zero' })),
  mistake('the key file is a circle of links', /the key file .*one cannot be read: ELOOP/, () => ({
    PINWARD_KEY_FILE: circle(),
  })),
  mistake('the key file is empty', /empty\.json cannot be read: it is no JSON/, () => ({
    PINWARD_KEY_FILE: file('empty.json', ''),
  })),
  mistake('the key file is cut off', /cut\.json cannot be read: it is no JSON/, () => ({
    PINWARD_KEY_FILE: file('cut.json', readFileSync(join(production.dataDir, 'keys.json')).subarray(0, 900)),
  })),
  mistake('the key file is garbage', /garbage\.json is not text in UTF-8/, () => ({
    PINWARD_KEY_FILE: file('garbage.json', randomBytes(2000)),
  })),
  mistake('the key file is too large', /large\.json is larger than/, () => ({
    PINWARD_KEY_FILE: file('large.json', ' '.repeat(5_000_000)),
  })),
  mistake('the key file is null', /null\.json is not a key file/, () => ({
    PINWARD_KEY_FILE: file('null.json', 'null'),
  })),
  mistake('the key file has a null among its keys', /nulls\.json is not a key file/, () => ({
    PINWARD_KEY_FILE: keyFile('nulls.json', (stored) => ({ ...stored, keys: [null] })),
  })),
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
  mistake('the key file has a wrong KEK record', /wrong-kek\.json is not a key file/, () => ({
    PINWARD_KEY_FILE: keyFile('wrong-kek.json', (stored) => void Object.assign(stored, { kek: { kcv: 1 } })),
  })),
  mistake('the key file has wrong retired KEKs', /wrong-retired\.json is not a key file/, () => ({
    PINWARD_KEY_FILE: keyFile('wrong-retired.json', (stored) => void Object.assign(stored, { retired_keks: [null] })),
  })),
  mistake('the key file has a key twice', /twice\.json/, () => ({
    PINWARD_KEY_FILE: keyFile('twice.json', ({ keys }) => void keys.push(keys[0] ?? null)),
  })),
  mistake('the key file is of another installation', /other\.json/, () => ({
    PINWARD_KEY_FILE: keyFile('other.json', (stored) => void Object.assign(stored, { id: 'another' })),
  })),
  mistake('the key file exists already', /there is a key file at .* already; nothing was changed$/, {
    args: ['keys', 'init'],
  }),
  { what: 'the old KEK is not given', args: ['keys', 'rotate', 'kek'], told: /PINWARD_OLD_KEK/ },
  mistake('the old KEK is no key', /PINWARD_OLD_KEK must hold 64 hex digits/, {
    args: ['keys', 'rotate', 'kek'],
    env: () => ({ PINWARD_OLD_KEK: 'Qzj7a' }),
  }),
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
  mistake('an allowlist has a host name', /neither an IP address nor a CIDR block|no merchant/, {
    args: ['credential', 'create', '--merchant', 'M1', '--allow-ip', 'example.com'],
  }),
  mistake('a secret from standard input is too long', /standard input is longer than/, {
    args: ['credential', 'create', '--merchant', 'M1', '--import', 'key_of_another'],
    input: 'Qzj7a'.repeat(10_000),
  }),
  mistake('a share is too long', /standard input is longer than/, {
    args: ['keys', 'import-components', 'cvv', '--share', '1'],
    input: 'Qzj7a'.repeat(10_000),
  }),
  mistake('the package sheet is missing', /\/nowhere\.json cannot be read: there is no such file$/, {
    args: ['package', 'create', '/nowhere.json'],
  }),
  { what: 'the package sheet is a directory', args: ['package', 'create', '/etc'], told: /\/etc is a directory/ },
  mistake('the package sheet never ends', /\/dev\/zero is not a regular file/, {
    args: ['package', 'create', '/dev/zero'],
  }),
  mistake('the package sheet is not JSON', /the file is not JSON/, {
    args: () => ['package', 'create', file('sheet.json', '{')],
  }),
  mistake('the package sheet is null', /the package is not valid/, {
    args: () => ['package', 'create', file('null-sheet.json', 'null')],
  }),
  mistake('the issuer of an import does not exist', /there is no issuer I1/, {
    args: ['cards', 'import', '/dev/null', '--issuer', 'I1'],
  }),
  { what: 'the callback address is no URL', args: ['callbacks', 'configure', 'M1', '--url', 'example'], told: /.+/ },
  mistake('a share cannot be written', /\/dev\/null\/x cannot be used/, {
    args: ['keys', 'export-components', 'cvv', '--out', '/dev/null/x'],
  }),
  mistake('the sandbox is reset in production', /there is no sandbox in production mode/, {
    args: ['sandbox', 'reset'],
  }),
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
