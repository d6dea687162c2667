import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { databaseUrlFaults, plainDatabaseUrl } from './db/database-url.ts';
import type { SoftwareKek } from './keys/kek.ts';
import type { HsmConfig } from './keys/pkcs11.ts';
import { OperatorError } from './operator-error.ts';
import { Secret } from './secret.ts';
import { readSecretFile } from './secret-file.ts';
import { misspelt } from './setting-names.ts';

type KekConfig = SoftwareKek | { kind: 'hsm'; hsm: HsmConfig };

/** All settings, read once from the environment and frozen. Only this file reads it. */
export interface Config {
  mode: 'sandbox' | 'production';
  host: string;
  port: number;
  /** For keys and, without `databaseUrl`, the embedded database. Absolute. */
  dataDir: string;
  /** A PostgreSQL 15 or newer. Undefined: the embedded one. */
  databaseUrl: Secret<string> | undefined;
  keyFile: string;
  /** Undefined only in a sandbox: the first start makes a key in the data directory. */
  kek: KekConfig | undefined;
  /** What the key file is sealed with so far. Only `keys rotate kek` uses it. */
  oldKek: SoftwareKek | undefined;
  /** Addresses and CIDR blocks of proxies whose `X-Forwarded-For` counts. */
  trustProxy: string[];
  logLevel: string;
  accessTokenLifetimeMs: number;
  limits: {
    /** Failed authentications of one address. */
    failedAuthPerMinute: number;
    callsPerCredentialPerMinute: number;
    pinSetsPerCardPerMinute: number;
    /** Malformed PIN blocks on one card or under one zone key. Counted in the database. */
    malformedBlocksPerHour: number;
  };
  /** How long the sandbox's simulated verifier and issuer take to decide. */
  sandboxDelays: { verificationMs: number; issueMs: number };
  /** Mismatches that block a PIN. */
  pinTries: number;
}

/** All faults of the environment at once: names of variables, and never their values. */
export class ConfigError extends OperatorError {
  override readonly name = 'ConfigError';
  readonly faults: string[];

  constructor(faults: string[]) {
    const [first] = faults;
    super(
      faults.length === 1
        ? `the configuration has a fault: ${first}`
        : `the configuration has ${faults.length} faults:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`,
    );
    this.faults = faults;
  }
}

type Environment = Record<string, string | undefined>;

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

/** Reads the environment. Throws a ConfigError with every fault. */
export function readConfig(env: Environment = process.env): Readonly<Config> {
  const faults: string[] = [];
  faults.push(...misspelt(env));
  const { text, wholeNumber, oneOf } = createReader(env, faults);
  const mode = oneOf('PINWARD_MODE', ['sandbox', 'production'], 'sandbox') as Config['mode'];
  const dataDir = resolve(text('PINWARD_DATA_DIR', '.pinward'));
  const databaseUrl = text('DATABASE_URL', '');
  if (databaseUrl !== '') faults.push(...databaseUrlFaults(databaseUrl).map((fault) => `DATABASE_URL ${fault}`));
  if (mode === 'production' && databaseUrl === '')
    faults.push('DATABASE_URL is missing: production mode needs a PostgreSQL server');
  const kek = readKek(env, 'PINWARD_KEK', faults) ?? readHsm(env, faults);
  faults.push(...idleHsmSettings(env));
  if (mode === 'production' && kek === undefined)
    faults.push(
      'a key-encryption key is missing: set PINWARD_KEK (64 hex digits), PINWARD_KEK_FILE or ' +
        'PINWARD_KEK_PASSPHRASE, or PINWARD_PKCS11_MODULE for an HSM',
    );

  const config: Config = {
    mode,
    host: text('HOST', '127.0.0.1'),
    port: wholeNumber('PORT', 8787, 0, 65_535),
    dataDir,
    databaseUrl: databaseUrl === '' ? undefined : new Secret(plainDatabaseUrl(databaseUrl)),
    keyFile: resolve(text('PINWARD_KEY_FILE', resolve(dataDir, 'keys.json'))),
    kek,
    oldKek: readKek(env, 'PINWARD_OLD_KEK', faults),
    trustProxy: readProxies(text('TRUST_PROXY', ''), faults),
    logLevel: oneOf('LOG_LEVEL', LOG_LEVELS, 'info'),
    accessTokenLifetimeMs: wholeNumber('ACCESS_TOKEN_LIFETIME_SECONDS', 86_400, 1, 2_592_000) * 1000,
    limits: readLimits(mode, wholeNumber),
    sandboxDelays: {
      verificationMs: wholeNumber('SANDBOX_VERIFICATION_DELAY_MS', 1_000, 0, 86_400_000),
      issueMs: wholeNumber('SANDBOX_ISSUE_DELAY_MS', 1_000, 0, 86_400_000),
    },
    pinTries: wholeNumber('PIN_TRIES', 3, 1, 10),
  };
  // Node puts U+FFFD for bytes that are not UTF-8, so different values would be equal.
  for (const [name, value] of Object.entries(env))
    if (/^(PINWARD_|DATABASE_URL$)/.test(name) && value?.includes('\ufffd'))
      faults.push(`${name} is not text in UTF-8`);
  if (faults.length > 0) throw new ConfigError(faults);
  return Object.freeze(config);
}

/** Empty and blank variables count as absent; blanks around a value do not count. */
interface Reader {
  text(name: string, fallback: string): string;
  wholeNumber(name: string, fallback: number, min: number, max: number): number;
  oneOf(name: string, allowed: readonly string[], fallback: string): string;
}

function createReader(env: Environment, faults: string[]): Reader {
  const text: Reader['text'] = (name, fallback) => env[name]?.trim() || fallback;
  return {
    text,
    wholeNumber(name, fallback, min, max) {
      const given = text(name, String(fallback));
      const value = /^\d{1,10}$/.test(given) ? Number(given) : Number.NaN;
      if (value >= min && value <= max) return value;
      faults.push(`${name} must be a whole number from ${min} to ${max}`);
      return fallback;
    },
    oneOf(name, allowed, fallback) {
      const given = text(name, fallback);
      if (!allowed.includes(given)) faults.push(`${name} must be one of ${allowed.join(', ')}`);
      return given;
    },
  };
}

/** Production has tighter limits than a sandbox. */
function readLimits(mode: Config['mode'], wholeNumber: Reader['wholeNumber']): Config['limits'] {
  const [failedAuth, calls, pinSets] = mode === 'production' ? [60, 60_000, 10] : [6_000, 600_000, 600];
  const max = 1_000_000_000;
  return {
    failedAuthPerMinute: wholeNumber('LIMIT_FAILED_AUTH_PER_MINUTE', failedAuth, 1, max),
    callsPerCredentialPerMinute: wholeNumber('LIMIT_CALLS_PER_CREDENTIAL_PER_MINUTE', calls, 1, max),
    pinSetsPerCardPerMinute: wholeNumber('LIMIT_PIN_SETS_PER_CARD_PER_MINUTE', pinSets, 1, max),
    malformedBlocksPerHour: wholeNumber('LIMIT_MALFORMED_BLOCKS_PER_HOUR', 10, 1, 1_000_000),
  };
}

function readKek(env: Environment, prefix: string, faults: string[]): SoftwareKek | undefined {
  const sources = [prefix, `${prefix}_FILE`, `${prefix}_PASSPHRASE`];
  if (prefix === 'PINWARD_KEK') sources.push('PINWARD_PKCS11_MODULE');
  const names = sources.filter((name) => env[name]?.trim());
  const [name] = names;
  if (name === undefined || name === 'PINWARD_PKCS11_MODULE') return undefined;
  const value = env[name]?.trim() ?? '';
  if (names.length > 1) faults.push(`only one of ${names.join(', ')} may be set`);
  if (name === `${prefix}_PASSPHRASE`) {
    if (value.length < 16) faults.push(`${name} must have at least 16 characters`);
    return { kind: 'passphrase', passphrase: new Secret(value) };
  }
  const hex = name === prefix ? value : readSecretFile(name, value, faults);
  if (hex !== undefined && !/^[0-9A-Fa-f]{64}$/.test(hex)) faults.push(`${name} must hold 64 hex digits (32 bytes)`);
  return { kind: 'key', key: new Secret(Buffer.from(hex ?? '', 'hex')) };
}

function readHsm(env: Environment, faults: string[]): KekConfig | undefined {
  const text = (name: string): string | undefined => env[name]?.trim() || undefined;
  const module = text('PINWARD_PKCS11_MODULE');
  if (module === undefined) return undefined;
  const label = text('PINWARD_PKCS11_TOKEN');
  const slot = text('PINWARD_PKCS11_SLOT');
  if ((label === undefined) === (slot === undefined))
    faults.push('set one of PINWARD_PKCS11_TOKEN (a label) and PINWARD_PKCS11_SLOT (a number)');
  if (slot !== undefined && !/^\d{1,15}$/.test(slot)) faults.push('PINWARD_PKCS11_SLOT must be a number');
  const pin = text('PINWARD_PKCS11_PIN');
  const pinFile = text('PINWARD_PKCS11_PIN_FILE');
  if ((pin === undefined) === (pinFile === undefined))
    faults.push('set one of PINWARD_PKCS11_PIN and PINWARD_PKCS11_PIN_FILE');
  const labelPrefix = text('PINWARD_PKCS11_LABEL') ?? 'pinward';
  if (!/^[A-Za-z0-9_-]{1,32}$/.test(labelPrefix))
    faults.push('PINWARD_PKCS11_LABEL must have 1 to 32 letters, digits, - and _');
  const filed =
    pin === undefined && pinFile !== undefined ? readSecretFile('PINWARD_PKCS11_PIN_FILE', pinFile, faults) : '';
  const token = slot === undefined ? (label ?? '') : Number(slot);
  return { kind: 'hsm', hsm: { module, token, pin: new Secret(pin ?? filed ?? ''), labelPrefix } };
}

/** Settings of an HSM have no effect without its module. */
function idleHsmSettings(env: Environment): string[] {
  if (env.PINWARD_PKCS11_MODULE?.trim()) return [];
  const idle = ['TOKEN', 'SLOT', 'PIN', 'PIN_FILE', 'LABEL'].map((name) => `PINWARD_PKCS11_${name}`);
  const given = idle.filter((name) => env[name]?.trim());
  return given.length === 0
    ? []
    : [`${given.join(', ')} without PINWARD_PKCS11_MODULE has no effect: set both or none`];
}

function readProxies(given: string, faults: string[]): string[] {
  const proxies = given
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
  if (!proxies.every(isProxy))
    faults.push('TRUST_PROXY must be a list of addresses or CIDR blocks, separated by commas');
  return proxies;
}

/**
 * An address or a CIDR block. Refuses a prefix of 0 bits, which would trust everybody, and
 * an address with a zone.
 */
function isProxy(proxy: string): boolean {
  const [address = '', prefix, ...rest] = proxy.split('/');
  const family = isIP(address);
  const widest = family === 4 ? 32 : 128;
  if (family === 0 || address.includes('%') || rest.length > 0) return false;
  return prefix === undefined || (/^[1-9]\d{0,2}$/.test(prefix) && Number(prefix) <= widest);
}
