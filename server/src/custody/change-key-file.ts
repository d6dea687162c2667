import { auditPlatform } from '../audit/append.ts';
import { lockSession } from '../db/advisory-locks.ts';
import type { Database } from '../db/database.ts';
import type { Queryable } from '../db/queryable.ts';
import type { KekSource } from '../keys/kek.ts';
import { type Purpose, replaceKeyFile } from '../keys/key-file.ts';
import { addMissingKeys } from '../keys/make-key-file.ts';
import { type OpenKeyFile, openKeyFile } from '../keys/open-key-file.ts';

/** By then every process has noticed and opened a changed key file: it looks once a second. */
export const NOTICED_WITHIN_MS = 10_000;

/** Where the keys are, and what they can be changed with. */
export interface KeyPlace {
  db: Database;
  keyFile: string;
  source: KekSource;
  now: () => number;
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
 * Changes the key file while nobody else does. The audit record is committed first, then
 * keys in the token are destroyed and the file is replaced. So a crash leaves a record
 * without a change. The other order could make or destroy a key that the trail does not
 * know. The record is written on the connection that holds the lock: a process that lost
 * the lock with its connection changes nothing.
 */
export async function changeKeyFile<T>(
  { db, keyFile, source, now }: KeyPlace,
  change: (change: KeyChange) => Promise<T>,
): Promise<T> {
  return withKeyFileLock(db, async (session) => {
    const file = await openKeyFile(keyFile, source);
    const result = await change({
      file,
      session,
      record: async (action, details) => {
        await auditPlatform(session, { atMs: now(), action, by: 'operator', details });
      },
    });
    await replaceKeyFile(keyFile, file.stored);
    return result;
  });
}

/**
 * Adds keys for purposes that a newer version of the platform brought, and returns these
 * purposes. They are not audited, because the file may be completed before the schema is
 * migrated.
 */
export function completeKeyFile({ db, keyFile, source, now }: KeyPlace): Promise<Purpose[]> {
  return withKeyFileLock(db, () => addMissingKeys(keyFile, source, new Date(now())));
}

/** Processes that change the file take turns. `session` holds the lock. */
async function withKeyFileLock<T>(db: Database, work: (session: Queryable) => Promise<T>): Promise<T> {
  return db.session(async (session) => {
    await lockSession(session, 'keyFile', 'change the key file');
    return work(session);
  });
}
