import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from './config.ts';
import { type Database, openDatabase, type Queryable } from './db/database.ts';
import { type EmbeddedServer, openEmbedded } from './db/embedded.ts';
import { migrate, requireSchema } from './db/migrate.ts';
import { createKeyFile, type KekSource, KeyFileError, openKeyFile, writeNewFile } from './keys/key-file.ts';
import { type Keys, keysOf } from './keys/keys.ts';
import { seedSandbox } from './sandbox/seed.ts';
import { SANDBOX_CVK } from './sandbox/world.ts';
import { Secret } from './secret.ts';

/** Database and keys, ready for use: what every command stands on. */
export interface Platform {
  db: Database;
  keys: Keys;
  /** Where the data stands, for people. */
  place: string;
  /** For `openDatabase`; carries the password. */
  url: Secret<string>;
  close(): Promise<void>;
}

/** This database and these keys do not belong together, or not to this mode. */
export class InstallationError extends Error {
  override readonly name = 'InstallationError';
}

export interface OpenOptions {
  /** The platform that serves; on an embedded database there may be one. */
  serving?: boolean;
  onEvent?: (event: string) => void;
}

/** Opens the database alone, for `migrate`; the embedded one is started if need be. */
export async function openDatabaseOf(config: Config, options: OpenOptions = {}): Promise<Omit<Platform, 'keys'>> {
  const onEvent = options.onEvent ?? (() => {});
  let embedded: EmbeddedServer | undefined;
  if (config.databaseUrl === undefined) embedded = await openEmbedded(config.dataDir, { serving: options.serving ?? false, onEvent });
  const url = embedded === undefined ? (config.databaseUrl as Secret<string>) : new Secret(embedded.url);
  const db = openDatabase({ url: url.expose(), onIdleError: (error) => onEvent(`a database connection was lost: ${error.message}`) });
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
 * Opens database and keys and makes sure that they belong together. A sandbox makes what is missing: schema,
 * key-encryption key, key file, its world. Production makes nothing: it refuses, and says what to run.
 */
export async function openPlatform(config: Config, options: OpenOptions = {}): Promise<Platform> {
  const opened = await openDatabaseOf(config, options);
  const { db, close } = opened;
  try {
    if (config.mode === 'sandbox') await migrate(db);
    await requireSchema(db);
    const keys = await openKeys(config, db);
    if (config.mode === 'sandbox') await seedSandbox(db, keys);
    return { ...opened, keys };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openKeys(config: Config, db: Database): Promise<Keys> {
  const installed = await readInstallation(db);
  if (installed !== undefined && installed.mode !== config.mode) {
    throw new InstallationError(`this database was made in ${installed.mode} mode and cannot be used in ${config.mode} mode`);
  }
  const kek = config.kek ?? (await sandboxKek(config.dataDir));
  if (!existsSync(config.keyFile)) {
    if (installed !== undefined)
      throw new InstallationError(
        `the key file ${config.keyFile} is gone, and the database was made with it (id ${installed.keyFileId}): bring it back`,
      );
    if (config.mode === 'sandbox')
      await unlessThere(createKeyFile(config.keyFile, kek, new Date(), { cvv: Buffer.from(SANDBOX_CVK, 'hex') }));
  }
  const keys = keysOf(await openKeyFile(config.keyFile, kek), Date.now);
  await db.query('install', 'insert into installation (mode, key_file_id) values ($1, $2) on conflict do nothing', [
    config.mode,
    keys.keyFileId,
  ]);
  const bound = await readInstallation(db);
  if (bound?.keyFileId !== keys.keyFileId)
    throw new InstallationError(
      `the database was made with another key file (id ${bound?.keyFileId}) than ${config.keyFile} (id ${keys.keyFileId})`,
    );
  return keys;
}

async function readInstallation(db: Queryable): Promise<{ mode: string; keyFileId: string } | undefined> {
  const [row] = await db.query<[string, string]>('installation', 'select mode, key_file_id from installation');
  return row && { mode: row[0], keyFileId: row[1] };
}

/** The sandbox's key-encryption key stands beside the data, mode 0600: good enough for a sandbox, and for nothing else. */
async function sandboxKek(dataDir: string): Promise<KekSource> {
  const path = join(dataDir, 'kek');
  if (!existsSync(path)) await unlessThere(writeNewFile(path, `${randomBytes(32).toString('hex')}\n`));
  const hex = (await readFile(path, 'utf8')).trim();
  if (!/^[0-9a-f]{64}$/.test(hex)) throw new KeyFileError(`${path} does not hold 64 hex digits`);
  return { kind: 'key', key: new Secret(Buffer.from(hex, 'hex')) };
}

/** Two processes may start at once; whoever makes the file first is right. */
async function unlessThere(making: Promise<void>): Promise<void> {
  try {
    await making;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
