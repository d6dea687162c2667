import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { LOCKS } from './advisory-locks.ts';
import type { Database, Queryable } from './database.ts';

interface Migration {
  version: number;
  name: string;
  sql: string;
  sha256: string;
}

const DIRECTORY = new URL('../../migrations/', import.meta.url);

/** Applies what is missing, each file in a transaction of its own. Returns the names that it applied. */
export async function migrate(db: Database): Promise<string[]> {
  const migrations = readMigrations();
  return db.session(async (session) => {
    await session.query('migrate-lock', 'select pg_advisory_lock($1)', [LOCKS.migrate]);
    await session.script(`create table if not exists schema_migrations (
      version integer primary key, name text not null, sha256 text not null, applied_at timestamptz not null default now())`);
    const faults = compare(migrations, await appliedTo(session)).filter((fault) => fault.kind !== 'missing');
    if (faults.length > 0) throw mismatch(faults.map(({ text }) => text));
    const applied = new Set((await appliedTo(session)).map(([version]) => version));
    const names: string[] = [];
    for (const { version, name, sql, sha256 } of migrations) {
      if (applied.has(version)) continue;
      try {
        await session.script(
          `begin; ${sql}
; insert into schema_migrations (version, name, sha256) values (${version}, '${name}', '${sha256}'); commit;`,
        );
      } catch (error) {
        throw new SchemaError(`the migration ${name} failed and left nothing behind: ${(error as Error).message}`);
      }
      names.push(name);
    }
    return names;
  });
}

/** The schema is not the one that this program was written for, or cannot be brought there. */
export class SchemaError extends Error {
  override readonly name = 'SchemaError';
}

function mismatch(faults: string[]): SchemaError {
  return new SchemaError(`the database's schema does not match this program:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`);
}

/** Throws unless exactly the migrations of this program are applied, unaltered. */
export async function requireSchema(db: Queryable): Promise<void> {
  const [[exists] = []] = await db.query<[boolean]>('schema-exists', `select to_regclass('schema_migrations') is not null`);
  const faults = compare(readMigrations(), exists ? await appliedTo(db) : []);
  if (faults.length > 0) throw mismatch([...faults.map(({ text }) => text), 'run: pinward-server migrate']);
}

function appliedTo(db: Queryable): Promise<[version: number, name: string, sha256: string][]> {
  return db.query('schema-applied', 'select version, name, sha256 from schema_migrations order by version');
}

function compare(known: Migration[], applied: [number, string, string][]): { kind: 'missing' | 'newer' | 'altered'; text: string }[] {
  const faults: { kind: 'missing' | 'newer' | 'altered'; text: string }[] = [];
  const appliedByVersion = new Map(applied.map(([version, name, sha256]) => [version, { name, sha256 }]));
  for (const { version, name, sha256 } of known) {
    const there = appliedByVersion.get(version);
    if (there === undefined) faults.push({ kind: 'missing', text: `${name} is not applied` });
    else if (there.sha256 !== sha256) faults.push({ kind: 'altered', text: `${name} was applied with another content` });
    appliedByVersion.delete(version);
  }
  for (const { name } of appliedByVersion.values())
    faults.push({ kind: 'newer', text: `${name} is applied and unknown here: the database is newer than the program` });
  return faults;
}

/** All that there are, in their order. */
export function readMigrations(): Migration[] {
  return readdirSync(DIRECTORY)
    .filter((file) => /^\d{4}_[a-z0-9_]+\.sql$/.test(file))
    .sort()
    .map((file) => {
      const sql = readFileSync(new URL(file, DIRECTORY), 'utf8');
      return { version: Number(file.slice(0, 4)), name: file.slice(0, -4), sql, sha256: createHash('sha256').update(sql).digest('hex') };
    });
}
