import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Config } from './config.ts';
import { completeKeyFile, type KeyPlace } from './custody/change-key-file.ts';
import { noteKeyFile, openMatchedKeyFile } from './custody/match-key-file.ts';
import { refusePublishedKek, refusePublishedKeys } from './custody/refuse-published-keys.ts';
import { clockFault } from './db/clock.ts';
import { type Database, openDatabase } from './db/database.ts';
import { openEmbedded } from './db/embedded.ts';
import { migrate, requireSchema } from './db/migrate.ts';
import type { Queryable } from './db/queryable.ts';
import { requireSessions } from './db/require-sessions.ts';
import { isMissing, readText } from './files.ts';
import { fingerprintOf, followKeyFile } from './keys/follow-key-file.ts';
import type { KekSource } from './keys/kek.ts';
import { KeyFileError, missingPurposes, readKeyFile } from './keys/key-file.ts';
import { type Keys, keysOf, type ReplaceableKeys } from './keys/keys.ts';
import { createKeyFile } from './keys/make-key-file.ts';
import type { OpenKeyFile } from './keys/open-key-file.ts';
import { openHsm } from './keys/pkcs11.ts';
import { FileWriteError, writeNewFile } from './keys/write-file.ts';
import { OperatorError } from './operator-error.ts';
import { seedSandbox } from './sandbox/seed.ts';
import { SANDBOX_CVK } from './sandbox/world.ts';
import { Secret } from './secret.ts';

/** Database and keys, ready for use. Every command works on them. */
export interface Platform {
  db: Database;
  keys: Keys;
  /** What the key file is sealed with. */
  source: KekSource;
  /** Where the data is, for people. */
  place: string;
  /** For `openDatabase`. It contains the password. */
  url: Secret<string>;
  /** What the operator should know of the key file. */
  notices: string[];
  close(): Promise<void>;
}

/** The database and the keys do not belong together, or not to this mode. */
class InstallationError extends OperatorError {
  override readonly name = 'InstallationError';
}

export interface OpenOptions {
  /** Whether the platform will serve. An embedded database takes one platform that serves. */
  serving?: boolean;
  onEvent?: (event: string) => void;
}

function ignoreEvent(): void {}

/** Opens the database alone, for `migrate`. Starts the embedded one if it is not running. */
export async function openDatabaseOf(
  config: Config,
  { serving = false, onEvent = ignoreEvent }: OpenOptions = {},
): Promise<Omit<Platform, 'keys' | 'source' | 'notices'>> {
  const { databaseUrl, dataDir } = config;
  const embedded = databaseUrl === undefined ? await openEmbedded(dataDir, { serving, onEvent }) : undefined;
  const url = embedded === undefined ? (databaseUrl as Secret<string>) : new Secret(embedded.url);
  if (embedded === undefined) await requireSessions(url.expose());
  const db = openDatabase({
    url: url.expose(),
    onIdleError: (error) => onEvent(`a database connection was lost: ${error.message}`),
  });
  return {
    db,
    url,
    place: embedded?.place ?? 'the PostgreSQL server of DATABASE_URL',
    async close() {
      await db.close();
      await embedded?.release();
    },
  };
}

/**
 * Opens database and keys, and makes sure that they belong together. A sandbox creates what
 * is missing: schema, key-encryption key, key file, its world. Production creates nothing;
 * it refuses, and says which command to run.
 */
export async function openPlatform(config: Config, options: OpenOptions = {}): Promise<Platform> {
  const { serving = false, onEvent = ignoreEvent } = options;
  const opened = await openDatabaseOf(config, options);
  const { db } = opened;
  const cleanups: (() => Promise<void> | void)[] = [opened.close];
  const close = async (): Promise<void> => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  };
  try {
    if (config.mode === 'sandbox') await migrate(db);
    await requireSchema(db);
    const clock = serving ? await clockFault(db, Date.now) : undefined;
    if (clock !== undefined) onEvent(clock);
    const source = await openKekSource(config, onEvent);
    if (source.kind === 'hsm') cleanups.push(() => source.hsm.close());
    const { keys, notices, seen } = await openKeys(config, source, db);
    if (serving) {
      for (const notice of notices) onEvent(notice);
      const open = async (): Promise<OpenKeyFile> => {
        const { file, notices: more } = await openMatchedKeyFile(db, config.keyFile, source);
        for (const notice of more) onEvent(notice);
        refusePublishedKeys(config, file);
        return file;
      };
      cleanups.push(followKeyFile(config.keyFile, { seen, open, keys }, onEvent));
    }
    if (config.mode === 'sandbox') await seedSandbox(db, keys);
    return { ...opened, keys, source, notices, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The configured key-encryption key. A sandbox without one keeps its own beside the data. */
export async function openKekSource(
  config: Config,
  onEvent: (event: string) => void = ignoreEvent,
): Promise<KekSource> {
  if (config.kek === undefined) return sandboxKek(config.dataDir);
  if (config.kek.kind !== 'hsm') {
    refusePublishedKek(config, config.kek);
    return config.kek;
  }
  const hsm = await openHsm(config.kek.hsm, onEvent);
  onEvent(`the HSM is there: ${hsm.report}`);
  return { kind: 'hsm', hsm };
}

/**
 * Opens the keys and binds the database to their file at the first start. Errors:
 * InstallationError, KeyFileError.
 */
async function openKeys(
  config: Config,
  source: KekSource,
  db: Database,
): Promise<{ keys: ReplaceableKeys; notices: string[]; seen: string }> {
  const { mode, keyFile } = config;
  const installation = await findInstallation(db);
  if (installation !== undefined && installation.mode !== mode)
    throw new InstallationError(
      `this database was made in ${installation.mode} mode and cannot be used in ${mode} mode`,
    );
  if (installation !== undefined && isMissing(keyFile))
    throw new InstallationError(
      `the key file ${keyFile} is gone, and the database was made with it ` +
        `(id ${installation.keyFileId}): bring it back`,
    );
  const notices: string[] = [];
  const onNotice = (notice: string): void => void notices.push(notice);
  const place: KeyPlace = { db, keyFile, source, now: Date.now, onNotice };
  if (mode === 'sandbox') {
    const known = { cvv: Buffer.from(SANDBOX_CVK, 'hex') };
    if (isMissing(keyFile)) await unlessExists(createKeyFile(keyFile, source, new Date(), known));
    await completeKeyFile(place);
  }
  notices.push(...(await sealEarlierFile(place)));
  const seen = fingerprintOf(keyFile); // before it is read: a change meanwhile is taken over later
  const { file, notices: taken } = await openMatchedKeyFile(db, keyFile, source);
  refusePublishedKeys(config, file);
  const keys = keysOf(file, Date.now);
  const { keyFileId } = keys;
  await insertInstallation(db, { mode, keyFileId });
  const bound = await findInstallation(db);
  if (bound?.keyFileId !== keyFileId)
    throw new InstallationError(
      `the database was made with another key file (id ${bound?.keyFileId}) than ${keyFile} (id ${keyFileId})`,
    );
  if (installation === undefined) await noteKeyFile(db, file.stored);
  return { keys, notices: [...notices, ...taken], seen };
}

/**
 * Seals a key file of the first format, which has no seal. Where the file cannot be written,
 * the platform works with it as it is, and says so.
 */
async function sealEarlierFile(place: KeyPlace): Promise<string[]> {
  const { keyFile } = place;
  const stored = await readKeyFile(keyFile);
  // A file that lacks a key is refused next, and keys init both completes and seals it.
  if (stored.seal !== undefined || missingPurposes(stored).length > 0) return [];
  try {
    await completeKeyFile(place);
    return [`the key file ${keyFile} was of an earlier format and is sealed now: keep a copy of it`];
  } catch (error) {
    if (!(error instanceof FileWriteError)) throw error;
    return [
      `the key file ${keyFile} is of an earlier format without a seal: run keys init where it can be written (${error.message})`,
    ];
  }
}

/** The mode in which the database was first used, and the key file that made its rows. */
interface Installation {
  mode: Config['mode'];
  keyFileId: string;
}

async function findInstallation(db: Queryable): Promise<Installation | undefined> {
  const [row] = await db.query<Installation>(
    'installation',
    'select mode, key_file_id as "keyFileId" from installation',
  );
  return row;
}

/** Does nothing if there is an installation already. */
async function insertInstallation(db: Queryable, { mode, keyFileId }: Installation): Promise<void> {
  await db.query('install', 'insert into installation (mode, key_file_id) values ($1, $2) on conflict do nothing', [
    mode,
    keyFileId,
  ]);
}

/**
 * The sandbox's key-encryption key is in a file beside the data, mode 0600. That protects a
 * sandbox and no more.
 */
async function sandboxKek(dataDir: string): Promise<KekSource> {
  const path = join(dataDir, 'kek');
  if (isMissing(path)) await unlessExists(writeNewFile(path, `${randomBytes(32).toString('hex')}\n`));
  const hex = readText(path, 4_096).trim();
  if (!/^[0-9a-f]{64}$/.test(hex)) throw new KeyFileError(`${path} does not hold 64 hex digits`);
  return { kind: 'key', key: new Secret(Buffer.from(hex, 'hex')) };
}

/** Two processes may start at once. The file of the first one counts. */
async function unlessExists(making: Promise<void>): Promise<void> {
  try {
    await making;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
