import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import type { KekSource } from './keys/key-file.ts';
import type { HsmConfig } from './keys/pkcs11.ts';
import { Secret } from './secret.ts';

type SoftwareKek = Exclude<KekSource, { kind: 'hsm' }>;
type KekConfig = SoftwareKek | { kind: 'hsm'; hsm: HsmConfig };

/** Everything that the environment decides, read once and frozen. Only this file reads the environment. */
export interface Config {
  mode: 'sandbox' | 'production';
  host: string;
  port: number;
  /** Keys and, without `databaseUrl`, the embedded database. Absolute. */
  dataDir: string;
  /** A PostgreSQL 15 or newer. Undefined: the embedded one. */
  databaseUrl: Secret<string> | undefined;
  keyFile: string;
  /** Undefined in sandbox mode: then a key is made at the first start and kept in the data directory. */
  kek: KekConfig | undefined;
  /** What the key file is sealed with so far, for `keys rotate kek` alone. */
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
    /** PIN blocks that do not parse, on one card or under one zone key; counted in the database. */
    malformedBlocksPerHour: number;
  };
  /** How long the sandbox, which plays verifier and issuer, takes to decide. */
  sandboxDelays: { verificationMs: number; issueMs: number };
  /** Mismatches that block a PIN. */
  pinTries: number;
  /** Whether concurrent sets share statements; off only to measure what that gives. */
  sharedWrites: boolean;
}

/** All faults of the environment at once, by the names of the variables and never their values. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly faults: string[];

  constructor(faults: string[]) {
    super(
      `the configuration has ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`,
    );
    this.faults = faults;
  }
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

export function readConfig(env: Record<string, string | undefined> = process.env): Readonly<Config> {
  const faults: string[] = [];
  const text = (name: string, fallback: string): string => env[name]?.trim() || fallback;
  const wholeNumber = (name: string, fallback: number, least: number, most: number): number => {
    const given = text(name, String(fallback));
    const value = /^\d{1,10}$/.test(given) ? Number(given) : Number.NaN;
    if (value >= least && value <= most) return value;
    faults.push(`${name} is to be a whole number from ${least} to ${most}`);
    return fallback;
  };
  const oneOf = (name: string, allowed: readonly string[], fallback: string): string => {
    const given = text(name, fallback);
    if (!allowed.includes(given)) faults.push(`${name} is to be one of ${allowed.join(', ')}`);
    return given;
  };

  const mode = oneOf('PINWARD_MODE', ['sandbox', 'production'], 'sandbox') as Config['mode'];
  const production = mode === 'production';
  const dataDir = resolve(text('PINWARD_DATA_DIR', '.pinward'));
  const databaseUrl = text('DATABASE_URL', '');
  if (databaseUrl !== '' && !/^postgres(ql)?:\/\//.test(databaseUrl))
    faults.push('DATABASE_URL is to begin with postgres:// or postgresql://');
  if (production && databaseUrl === '') faults.push('DATABASE_URL is missing: production mode needs a PostgreSQL server');
  const kek = readKek(env, 'PINWARD_KEK', faults) ?? readHsm(env, faults);
  if (production && kek === undefined)
    faults.push(
      'a key-encryption key is missing: set PINWARD_KEK (64 hex digits), PINWARD_KEK_FILE or PINWARD_KEK_PASSPHRASE, or PINWARD_PKCS11_MODULE for an HSM',
    );
  const sandboxOr = (sandbox: number, live: number): number => (production ? live : sandbox);

  const config: Config = {
    mode,
    host: text('HOST', '127.0.0.1'),
    port: wholeNumber('PORT', 8787, 0, 65_535),
    dataDir,
    databaseUrl: databaseUrl === '' ? undefined : new Secret(databaseUrl),
    keyFile: resolve(text('PINWARD_KEY_FILE', resolve(dataDir, 'keys.json'))),
    kek,
    oldKek: readKek(env, 'PINWARD_OLD_KEK', faults),
    trustProxy: readProxies(text('TRUST_PROXY', ''), faults),
    logLevel: oneOf('LOG_LEVEL', LOG_LEVELS, 'info'),
    accessTokenLifetimeMs: wholeNumber('ACCESS_TOKEN_LIFETIME_SECONDS', 86_400, 1, 2_592_000) * 1000,
    limits: {
      failedAuthPerMinute: wholeNumber('LIMIT_FAILED_AUTH_PER_MINUTE', sandboxOr(6000, 60), 1, 1_000_000_000),
      callsPerCredentialPerMinute: wholeNumber('LIMIT_CALLS_PER_CREDENTIAL_PER_MINUTE', sandboxOr(600_000, 60_000), 1, 1_000_000_000),
      pinSetsPerCardPerMinute: wholeNumber('LIMIT_PIN_SETS_PER_CARD_PER_MINUTE', sandboxOr(600, 10), 1, 1_000_000_000),
      malformedBlocksPerHour: wholeNumber('LIMIT_MALFORMED_BLOCKS_PER_HOUR', 10, 1, 1_000_000),
    },
    sandboxDelays: {
      verificationMs: wholeNumber('SANDBOX_VERIFICATION_DELAY_MS', 1_000, 0, 86_400_000),
      issueMs: wholeNumber('SANDBOX_ISSUE_DELAY_MS', 1_000, 0, 86_400_000),
    },
    pinTries: wholeNumber('PIN_TRIES', 3, 1, 10),
    sharedWrites: oneOf('PINWARD_SHARED_WRITES', ['on', 'off'], 'on') === 'on',
  };
  if (faults.length > 0) throw new ConfigError(faults);
  return Object.freeze(config);
}

function readKek(env: Record<string, string | undefined>, prefix: string, faults: string[]): SoftwareKek | undefined {
  const all = [prefix, `${prefix}_FILE`, `${prefix}_PASSPHRASE`, ...(prefix === 'PINWARD_KEK' ? ['PINWARD_PKCS11_MODULE'] : [])];
  const names = all.filter((name) => env[name]?.trim());
  const [name] = names;
  if (name === undefined || name === 'PINWARD_PKCS11_MODULE') return undefined;
  const value = env[name]?.trim() ?? '';
  if (names.length > 1) faults.push(`only one of ${names.join(', ')} may be set`);
  if (name === `${prefix}_PASSPHRASE`) {
    if (value.length < 16) faults.push(`${name} is to have at least 16 characters`);
    return { kind: 'passphrase', passphrase: new Secret(value) };
  }
  const hex = name === prefix ? value : readSecretFile(name, value, faults);
  if (hex !== undefined && !/^[0-9A-Fa-f]{64}$/.test(hex)) faults.push(`${name} is to hold 64 hex digits (32 bytes)`);
  return { kind: 'key', key: new Secret(Buffer.from(hex ?? '', 'hex')) };
}

function readHsm(env: Record<string, string | undefined>, faults: string[]): KekConfig | undefined {
  const text = (name: string): string | undefined => env[name]?.trim() || undefined;
  const module = text('PINWARD_PKCS11_MODULE');
  if (module === undefined) return undefined;
  const [label, slot] = [text('PINWARD_PKCS11_TOKEN'), text('PINWARD_PKCS11_SLOT')];
  if ((label === undefined) === (slot === undefined))
    faults.push('PINWARD_PKCS11_TOKEN (a label) or PINWARD_PKCS11_SLOT (a number) is to be set, one of them');
  if (slot !== undefined && !/^\d{1,15}$/.test(slot)) faults.push('PINWARD_PKCS11_SLOT is to be a number');
  const [pin, pinFile] = [text('PINWARD_PKCS11_PIN'), text('PINWARD_PKCS11_PIN_FILE')];
  if ((pin === undefined) === (pinFile === undefined))
    faults.push('PINWARD_PKCS11_PIN or PINWARD_PKCS11_PIN_FILE is to be set, one of them');
  const labelPrefix = text('PINWARD_PKCS11_LABEL') ?? 'pinward';
  if (!/^[A-Za-z0-9_-]{1,32}$/.test(labelPrefix)) faults.push('PINWARD_PKCS11_LABEL is to have 1 to 32 letters, digits, - and _');
  const secret = pin ?? (pinFile === undefined ? '' : (readSecretFile('PINWARD_PKCS11_PIN_FILE', pinFile, faults) ?? ''));
  return { kind: 'hsm', hsm: { module, token: slot === undefined ? (label ?? '') : Number(slot), pin: new Secret(secret), labelPrefix } };
}

function readSecretFile(name: string, path: string, faults: string[]): string | undefined {
  try {
    if ((statSync(path).mode & 0o077) !== 0) faults.push(`${name} is to be readable by its owner alone (chmod 600)`);
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    faults.push(`${name} cannot be read (${(error as NodeJS.ErrnoException).code})`);
    return undefined;
  }
}

function readProxies(given: string, faults: string[]): string[] {
  const proxies = given
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
  for (const proxy of proxies) {
    const [address = '', prefix, ...rest] = proxy.split('/');
    const family = isIP(address);
    const widest = family === 4 ? 32 : 128;
    if (
      family === 0 ||
      address.includes('%') ||
      rest.length > 0 ||
      (prefix !== undefined && !(/^[1-9]\d{0,2}$/.test(prefix) && Number(prefix) <= widest))
    ) {
      faults.push('TRUST_PROXY is to be a list of addresses or CIDR blocks, separated by commas');
      break;
    }
  }
  return proxies;
}
