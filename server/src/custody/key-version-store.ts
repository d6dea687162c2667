import type { Queryable } from '../db/queryable.ts';
import type { Purpose } from '../keys/key-file.ts';

/** A version of a key that the database has met. */
export interface KeyVersion {
  purpose: Purpose | 'kek';
  version: number;
  kcv: string;
  destroyed: boolean;
}

/** What the database knows of its key file. */
export interface KnownKeyFile {
  /** The id of the file. */
  id: string;
  /** Whether it was seen with its seal. */
  sealed: boolean;
}

/** Undefined before the first start on the database. */
export async function findKnownKeyFile(db: Queryable): Promise<KnownKeyFile | undefined> {
  const [row] = await db.query<KnownKeyFile>(
    'known-key-file',
    'select key_file_id as id, key_file_sealed as sealed from installation',
  );
  return row;
}

export async function noteSealed(db: Queryable): Promise<void> {
  await db.query('note-sealed', 'update installation set key_file_sealed = true where not key_file_sealed');
}

/** False in a database that is not migrated yet. */
export async function hasKeyVersions(db: Queryable): Promise<boolean> {
  const [row] = await db.query<{ there: boolean }>(
    'has-key-versions',
    `select to_regclass('key_versions') is not null as there`,
  );
  return row?.there ?? false;
}

export async function listKeyVersions(db: Queryable): Promise<KeyVersion[]> {
  return db.query(
    'key-versions',
    'select purpose, version, kcv, destroyed from key_versions order by purpose, version',
  );
}

/**
 * Notes versions, and which are destroyed. Returns how many are noted with their check value:
 * fewer, if another process noted another key under a version just now.
 */
export async function noteKeyVersions(db: Queryable, versions: KeyVersion[]): Promise<number> {
  const noted = await db.query(
    'note-key-versions',
    `insert into key_versions as known (purpose, version, kcv, destroyed)
     select * from unnest($1::text[], $2::int[], $3::text[], $4::bool[])
         on conflict (purpose, version) do update set destroyed = known.destroyed or excluded.destroyed
      where known.kcv = excluded.kcv
     returning 1`,
    [
      versions.map(({ purpose }) => purpose),
      versions.map(({ version }) => version),
      versions.map(({ kcv }) => kcv),
      versions.map(({ destroyed }) => destroyed),
    ],
  );
  return noted.length;
}
