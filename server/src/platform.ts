import { randomBytes } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from './config.ts';
import { type Database, openDatabase, type Queryable } from './db/database.ts';
import { type EmbeddedServer, openEmbedded } from './db/embedded.ts';
import { migrate, requireSchema } from './db/migrate.ts';
import { completeKeyFile } from './keys/administer.ts';
import { createKeyFile, type KekSource, KeyFileError, openKeyFile, writeNewFile } from './keys/key-file.ts';
import { type Keys, keysOf } from './keys/keys.ts';
import { openHsm } from './keys/pkcs11.ts';
import { seedSandbox } from './sandbox/seed.ts';
import { SANDBOX_CVK } from './sandbox/world.ts';
import { Secret } from './secret.ts';

/** Database and keys, ready for use: what every command stands on. */
export interface Platform {
  db: Database;
  keys: Keys;
  /** What the key file is sealed with. */
  source: KekSource;
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
export async function openDatabaseOf(config: Config, options: OpenOptions = {}): Promise<Omit<Platform, 'keys' | 'source'>> {
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
  const { db } = opened;
  const ends: (() => Promise<void> | void)[] = [opened.close];
  const close = async (): Promise<void> => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  try {
    if (config.mode === 'sandbox') await migrate(db);
    await requireSchema(db);
    const source = await openKekSource(config, options.onEvent);
    if (source.kind === 'hsm') ends.push(() => source.hsm.close());
    const keys = await openKeys(config, source, db);
    if (options.serving) ends.push(followKeyFile(config.keyFile, source, keys, options.onEvent ?? (() => {})));
    if (config.mode === 'sandbox') await seedSandbox(db, keys);
    return { ...opened, keys, source, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Where the key-encryption key is: as configured, and in a sandbox that says nothing, beside the data. */
export async function openKekSource(config: Config, onEvent?: (event: string) => void): Promise<KekSource> {
  if (config.kek === undefined) return sandboxKek(config.dataDir);
  if (config.kek.kind !== 'hsm') return config.kek;
  const hsm = await openHsm(config.kek.hsm);
  onEvent?.(`the HSM is there: ${hsm.report}`);
  return { kind: 'hsm', hsm };
}

async function openKeys(config: Config, source: KekSource, db: Database): Promise<ReturnType<typeof keysOf>> {
  const installed = await readInstallation(db);
  if (installed !== undefined && installed.mode !== config.mode) {
    throw new InstallationError(`this database was made in ${installed.mode} mode and cannot be used in ${config.mode} mode`);
  }
  if (!existsSync(config.keyFile)) {
    if (installed !== undefined)
      throw new InstallationError(
        `the key file ${config.keyFile} is gone, and the database was made with it (id ${installed.keyFileId}): bring it back`,
      );
    if (config.mode === 'sandbox')
      await unlessThere(createKeyFile(config.keyFile, source, new Date(), { cvv: Buffer.from(SANDBOX_CVK, 'hex') }));
  }
  if (config.mode === 'sandbox') await completeKeyFile({ db, keyFile: config.keyFile, source, now: Date.now });
  const keys = keysOf(await openKeyFile(config.keyFile, source), Date.now);
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

const LOOK_EVERY_MS = 1_000;

/**
 * Goes on with the key file as operators change it: rotated keys are pending for longer than this takes to notice. A file that
 * cannot be read leaves the keys as they were, and is told of once.
 */
function followKeyFile(path: string, source: KekSource, keys: ReturnType<typeof keysOf>, onEvent: (event: string) => void): () => void {
  const look = (): string => {
    const { mtimeMs, ino, size } = statSync(path, { throwIfNoEntry: false }) ?? { mtimeMs: 0, ino: 0, size: 0 };
    return `${mtimeMs} ${ino} ${size}`;
  };
  let seen = look();
  const timer = setInterval(() => {
    const now = look();
    if (now === seen) return;
    seen = now;
    openKeyFile(path, source).then(
      (file) => {
        keys.replace(file);
        onEvent('the key file was read anew');
      },
      (error: Error) => onEvent(`the key file changed and could not be read; the keys stay as they were: ${error.message}`),
    );
  }, LOOK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
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
