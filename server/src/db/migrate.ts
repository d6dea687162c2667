import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { OperatorError } from '../operator-error.ts';
import { lockSession } from './advisory-locks.ts';
import type { Database } from './database.ts';
import type { Queryable } from './queryable.ts';

/** A migration, as `schema_migrations` knows it once it is applied. */
interface AppliedMigration {
  version: number;
  name: string;
  sha256: string;
}

interface Migration extends AppliedMigration {
  sql: string;
}

interface Fault {
  kind: 'missing' | 'altered' | 'newer';
  text: string;
}

/** The schema is not the one of this program, or cannot be migrated to it. */
export class SchemaError extends OperatorError {
  override readonly name = 'SchemaError';
}

const DIRECTORY = new URL('../../migrations/', import.meta.url);

/**
 * Applies the missing migrations, each file in its own transaction. Returns their names.
 * Throws SchemaError if a migration was altered or fails, or if the database is newer.
 */
export async function migrate(db: Database): Promise<string[]> {
  const migrations = readMigrations();
  return db.session(async (session) => {
    await lockSession(session, 'migrate', 'migrate the database');
    await session.script(
      `create table if not exists schema_migrations (
         version integer primary key, name text not null, sha256 text not null,
         applied_at timestamptz not null default now())`,
    );
    const applied = await listApplied(session);
    const faults = findFaults(migrations, applied).filter(({ kind }) => kind !== 'missing');
    if (faults.length > 0) throw mismatch(faults);
    const appliedVersions = new Set(applied.map(({ version }) => version));
    const missing = migrations.filter(({ version }) => !appliedVersions.has(version));
    for (const { version, name, sql, sha256 } of missing) {
      try {
        await session.script(
          `begin; ${sql}
; insert into schema_migrations (version, name, sha256) values (${version}, '${name}', '${sha256}'); commit;`,
        );
      } catch (error) {
        throw new SchemaError(`the migration ${name} failed and was rolled back: ${(error as Error).message}`);
      }
    }
    return missing.map(({ name }) => name);
  });
}

/**
 * Throws SchemaError unless the applied migrations are exactly the ones of this program, with the
 * same content.
 */
export async function requireSchema(db: Queryable): Promise<void> {
  const [row] = await db.query<{ exists: boolean }>(
    'schema-exists',
    `select to_regclass('schema_migrations') is not null as "exists"`,
  );
  const faults = findFaults(readMigrations(), row?.exists ? await listApplied(db) : []);
  if (faults.length > 0) throw mismatch(faults);
}

function mismatch(faults: Fault[]): SchemaError {
  const missing = faults.every(({ kind }) => kind === 'missing');
  const toDo = missing ? 'run: pinward-server migrate' : 'use the version of the program that made it';
  const texts = faults.map(({ text }) => text).join(', ');
  return new SchemaError(`the database's schema does not match this program: ${texts}; ${toDo}`);
}

function listApplied(db: Queryable): Promise<AppliedMigration[]> {
  return db.query('schema-applied', 'select version, name, sha256 from schema_migrations order by version');
}

function findFaults(known: Migration[], applied: AppliedMigration[]): Fault[] {
  const faults: Fault[] = [];
  const unknown = new Map(applied.map((migration) => [migration.version, migration]));
  for (const { version, name, sha256 } of known) {
    const found = unknown.get(version);
    if (found === undefined) faults.push({ kind: 'missing', text: `${name} is not applied` });
    else if (found.sha256 !== sha256)
      faults.push({ kind: 'altered', text: `${name} was applied with another content` });
    unknown.delete(version);
  }
  for (const { name } of unknown.values())
    faults.push({
      kind: 'newer',
      text: `${name} is applied and unknown here: the database is newer than the program`,
    });
  return faults;
}

/** Reads all migrations of this program, in their order. */
export function readMigrations(): Migration[] {
  return readdirSync(DIRECTORY)
    .filter((file) => /^\d{4}_[a-z0-9_]+\.sql$/.test(file))
    .sort()
    .map((file) => {
      const sql = readFileSync(new URL(file, DIRECTORY), 'utf8');
      const sha256 = createHash('sha256').update(sql).digest('hex');
      return { version: Number(file.slice(0, 4)), name: file.slice(0, -4), sql, sha256 };
    });
}
