import { auditPlatform } from '../audit/append.ts';
import { lockSession } from '../db/advisory-locks.ts';
import type { Database } from '../db/database.ts';
import type { Queryable } from '../db/queryable.ts';
import type { HeldKey } from '../keys/held-key.ts';
import type { KekSource } from '../keys/kek.ts';
import { missingPurposes, type Purpose, readKeyFile, type StoredKeyFile, sealedText } from '../keys/key-file.ts';
import { addMissingKeys } from '../keys/make-key-file.ts';
import { type OpenKeyFile, openKeyFile, openSeal } from '../keys/open-key-file.ts';
import { replacingFile, type WriteFile } from '../keys/write-file.ts';
import { OperatorError } from '../operator-error.ts';
import { hasKeyVersions } from './key-version-store.ts';
import { matchKeyFile, noteKeyFile } from './match-key-file.ts';

/** By then every process has noticed and opened a changed key file: it looks once a second. */
export const NOTICED_WITHIN_MS = 10_000;

/** Where the keys are, and what they can be changed with. */
export interface KeyPlace {
  db: Database;
  keyFile: string;
  source: KekSource;
  now: () => number;
  /** Hears what the database took over from a newer key file. */
  onNotice?: (notice: string) => void;
}

/** What a change of the key file works with. It changes `file.stored`. */
interface KeyChange {
  file: OpenKeyFile;
  /** Holds the lock on the key file. */
  session: Queryable;
  /**
   * Writes the audit record. Call it once: after every check that may refuse the change,
   * and before anything that cannot be undone.
   */
  record(action: 'key_rotated' | 'key_destroyed', details: Record<string, unknown>): Promise<void>;
}

/**
 * Changes the key file while nobody else does. The file is matched with the database first
 * (`matchKeyFile`). What could stop the writing of the file stops the change before it
 * begins. Then the audit record is committed, then keys in the token are destroyed and the
 * file is replaced, and last the database notes the file's versions. So a crash leaves a
 * record without a change, or a file that is newer than the database, which the next start
 * or command completes. The other order could make or destroy a key that the trail does not
 * know, or leave a database that no file fits. The record is written on the connection that
 * holds the lock: a process that lost the lock with its connection changes nothing.
 */
export async function changeKeyFile<T>(place: KeyPlace, change: (change: KeyChange) => Promise<T>): Promise<T> {
  const { db, keyFile, source, now } = place;
  return withKeyFileLock(db, async (session) => {
    const file = await openKeyFile(keyFile, source);
    await match(place, session, file.stored);
    return replacingFile(keyFile, async (write) => {
      const result = await change({
        file,
        session,
        record: async (action, details) => {
          await auditPlatform(session, { atMs: now(), action, by: 'operator', details });
        },
      });
      await writeKeyFile(session, { write, stored: file.stored, kek: kekOf(file) });
      return result;
    });
  });
}

/**
 * Adds keys for purposes that a newer version of the platform brought, and seals a file of
 * the first format. Returns these purposes, and whether it was sealed. They are not audited,
 * because the file may be completed before the schema is migrated.
 */
export function completeKeyFile(place: KeyPlace): Promise<{ added: Purpose[]; sealed: boolean }> {
  const { db, keyFile, source, now } = place;
  return withKeyFileLock(db, async (session) => {
    const stored = await readKeyFile(keyFile);
    const isSealed = stored.seal !== undefined;
    if (isSealed && missingPurposes(stored).length === 0) return { added: [], sealed: false };
    const kek = await openSeal(keyFile, stored, source);
    const isMigrated = await hasKeyVersions(session);
    if (isMigrated) await match(place, session, stored);
    return replacingFile(keyFile, async (write) => {
      const added = await addMissingKeys(stored, kek, source, new Date(now()));
      await writeKeyFile(isMigrated ? session : undefined, { write, stored, kek });
      return { added, sealed: !isSealed };
    });
  });
}

async function match({ keyFile, onNotice }: KeyPlace, session: Queryable, stored: StoredKeyFile): Promise<void> {
  for (const notice of await matchKeyFile(session, keyFile, stored)) onNotice?.(notice);
}

function kekOf({ stored, keks }: OpenKeyFile): HeldKey {
  return keks.get(stored.kek.version) as HeldKey;
}

/** Writes the file, then has the database note its versions. */
async function writeKeyFile(
  session: Queryable | undefined,
  { write, stored, kek }: { write: WriteFile; stored: StoredKeyFile; kek: HeldKey },
): Promise<void> {
  await write(await sealedText(stored, kek));
  if (session !== undefined)
    await noteKeyFile(session, stored).catch((error: Error) => {
      throw new OperatorError(
        `the key file is changed, and the database could not note it (${error.message}); ` +
          'the next start or command does that',
      );
    });
}

/** Processes that change the file take turns. `session` holds the lock. */
async function withKeyFileLock<T>(db: Database, work: (session: Queryable) => Promise<T>): Promise<T> {
  return db.session(async (session) => {
    await lockSession(session, 'keyFile', 'change the key file');
    return work(session);
  });
}
