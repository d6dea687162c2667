import type { Database } from '../db/database.ts';
import type { Queryable } from '../db/queryable.ts';
import { fingerprintOf } from '../keys/follow-key-file.ts';
import type { KekSource } from '../keys/kek.ts';
import { KeyFileError, type StoredKeyFile } from '../keys/key-file.ts';
import { type OpenKeyFile, openKeyFile } from '../keys/open-key-file.ts';
import {
  findKnownKeyFile,
  type KeyVersion,
  listKeyVersions,
  noteKeyVersions,
  noteSealed,
} from './key-version-store.ts';
import { usesOf } from './store.ts';

/** Each further attempt means that the file changed while it was matched. */
const ATTEMPTS_LIMIT = 5;

/**
 * Opens the key file and matches it with the database (`matchKeyFile`). Needs no lock: a
 * file that is replaced meanwhile is opened again.
 */
export async function openMatchedKeyFile(
  db: Database,
  path: string,
  source: KekSource,
): Promise<{ file: OpenKeyFile; notices: string[] }> {
  for (let attempt = 1; ; attempt++) {
    const seen = fingerprintOf(path);
    const file = await openKeyFile(path, source);
    try {
      return { file, notices: await matchKeyFile(db, path, file.stored) };
    } catch (error) {
      if (fingerprintOf(path) === seen || attempt === ATTEMPTS_LIMIT) throw error;
    }
  }
}

/**
 * Makes sure that the key file, which is known to be whole, and the database are of one
 * history. Throws a KeyFileError, and changes nothing, if the file is older than the
 * database or of another branch: a version that the database knows is not in it, has another
 * key, or is not destroyed. A file that is newer is right: a crash came between file and
 * database, or the database was restored from a backup. The database then takes the newer
 * versions over, if it needs nothing that the file has destroyed. Returns what it took over,
 * in words.
 */
export async function matchKeyFile(db: Queryable, path: string, stored: StoredKeyFile): Promise<string[]> {
  const known = await findKnownKeyFile(db);
  if (known !== undefined && known.id !== stored.id)
    throw new KeyFileError(
      `the database was made with another key file (id ${known.id}) than ${path} (id ${stored.id})`,
    );
  if (known === undefined) return []; // a database that no key file is bound to yet
  const isSealed = stored.seal !== undefined;
  if (known.sealed && !isSealed)
    throw new KeyFileError(
      `the key file ${path} has no seal, and the database knows it with one: it is an old copy, or was altered; ` +
        'bring back the newest copy of the key file',
    );
  const [versions, held] = [await listKeyVersions(db), versionsOf(stored)];
  const newer = newerVersions(versions, held);
  const faults = { ofFile: findFaults(versions, held), ofDatabase: await findNeeded(db, newer) };
  if (faults.ofFile.length + faults.ofDatabase.length > 0) throw mismatch(path, faults);
  if (newer.length > 0 && (await noteKeyVersions(db, newer)) < newer.length) return matchKeyFile(db, path, stored);
  if (isSealed && !known.sealed) await noteSealed(db);
  if (versions.length === 0) return []; // the first start that knows versions
  return newer.map((key) => `the database took over ${nameOf(key)} from the key file, which is newer`);
}

/** Notes what is in the file, after it was written or a new database was bound to it. */
export async function noteKeyFile(db: Queryable, stored: StoredKeyFile): Promise<void> {
  await noteKeyVersions(db, newerVersions(await listKeyVersions(db), versionsOf(stored)));
  if (stored.seal !== undefined) await noteSealed(db);
}

/** Every version in the file. A KEK that was destroyed has left it. */
function versionsOf({ kek, retired_keks = [], keys }: StoredKeyFile): KeyVersion[] {
  return [
    ...[kek, ...retired_keks].map(({ version, kcv }) => ({ purpose: 'kek' as const, version, kcv, destroyed: false })),
    ...keys.map(({ purpose, version, kcv, destroyed_at }) => ({
      purpose,
      version,
      kcv,
      destroyed: destroyed_at !== undefined,
    })),
  ];
}

/**
 * Versions that the database has to note: those that it does not know, and those destroyed since.
 */
function newerVersions(known: KeyVersion[], held: KeyVersion[]): KeyVersion[] {
  const unknown = held.filter((key) => {
    const same = known.find((one) => isSameVersion(one, key));
    return same === undefined || (key.destroyed && !same.destroyed && same.kcv === key.kcv);
  });
  const destroyedKeks = known.filter((key) => !key.destroyed && isDestroyedKek(key, held));
  return [...unknown, ...destroyedKeks.map((key) => ({ ...key, destroyed: true }))];
}

/** A KEK that is not in the file, though the file is sealed with a later one. */
function isDestroyedKek(key: KeyVersion, held: KeyVersion[]): boolean {
  const keks = held.filter(({ purpose }) => purpose === 'kek');
  return (
    key.purpose === 'kek' &&
    !keks.some(({ version }) => version === key.version) &&
    keks.some(({ version }) => version > key.version)
  );
}

function isSameVersion(a: KeyVersion, b: KeyVersion): boolean {
  return a.purpose === b.purpose && a.version === b.version;
}

/** What shows that the file is older than the database, or of another branch. */
function findFaults(known: KeyVersion[], held: KeyVersion[]): string[] {
  return known.flatMap((key) => {
    const same = held.find((one) => isSameVersion(one, key));
    if (same === undefined)
      return key.destroyed || isDestroyedKek(key, held) ? [] : [`${nameOf(key)} is not in the file`];
    if (same.kcv !== key.kcv)
      return [
        `${key.purpose} version ${key.version} is KCV ${same.kcv} in the file and KCV ${key.kcv} in the database`,
      ];
    return key.destroyed && !same.destroyed ? [`${nameOf(key)} was destroyed, and is still in the file`] : [];
  });
}

/** Versions that the file has destroyed and an older database needs. */
async function findNeeded(db: Queryable, newer: KeyVersion[]): Promise<string[]> {
  const faults: string[] = [];
  for (const key of newer.filter(({ destroyed }) => destroyed)) {
    const uses = await usesOf(db, key.purpose, key.version);
    const counts = uses.map(({ what, count }) => `${count} ${what}`).join(', ');
    if (uses.length > 0)
      faults.push(`${nameOf(key)} is destroyed in the file, and the database needs it for ${counts}`);
  }
  return faults;
}

/** `ofFile` shows that the file is older than the database, `ofDatabase` that it is newer. */
function mismatch(path: string, { ofFile, ofDatabase }: { ofFile: string[]; ofDatabase: string[] }): KeyFileError {
  const faults = [...ofFile, ...ofDatabase];
  const advice =
    ofFile.length === 0
      ? 'The database is older than the file. Bring back the key file from the time of the database.'
      : 'The file is older than the database, or was changed apart from it. Bring back the newest copy of the key file: ' +
        'the one that holds what the database knows.';
  return new KeyFileError(
    `the key file ${path} and the database disagree:\n${faults.map((fault) => `  - ${fault}`).join('\n')}\n` +
      `${advice} Nothing was changed.`,
  );
}

function nameOf({ purpose, version, kcv }: KeyVersion): string {
  return `${purpose} version ${version} (KCV ${kcv})`;
}
