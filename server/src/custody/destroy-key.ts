import type { Queryable } from '../db/queryable.ts';
import { hsmOf } from '../keys/kek.ts';
import { type KeyRecord, type Purpose, type StoredKey, type StoredKeyFile, stateOf } from '../keys/key-file.ts';
import { OperatorError } from '../operator-error.ts';
import { changeKeyFile, type KeyPlace, NOTICED_WITHIN_MS } from './change-key-file.ts';
import { usesOf } from './store.ts';

/**
 * By then every process uses the successor, and no statement that began with the old key is
 * still running: the database ends each statement after 10 s.
 */
const SUPERSEDED_FOR_MS = NOTICED_WITHIN_MS + 10_000;

/**
 * Destroys a version for good. Throws an OperatorError while the version is active or
 * pending, for some seconds after it was superseded, and while the database holds anything
 * under it. Uses are counted under the lock on the key file, and the change goes on only if
 * those seconds are over. So nothing is stored under the version after the count.
 */
export async function destroyKey(place: KeyPlace, purpose: Purpose | 'kek', version: number): Promise<void> {
  await changeKeyFile(place, async ({ file, session, record }) => {
    const nowMs = place.now();
    const { stored } = file;
    const found = purpose === 'kek' ? findKek(stored, version) : findKey(stored, purpose, version, nowMs);
    await requireUnused(session, purpose, version);
    requireNoticed(`${purpose} version ${version}`, found.supersededAtMs + SUPERSEDED_FOR_MS - nowMs);
    await record('key_destroyed', { purpose, version });
    const label = found.key.hsm_label;
    if (label !== undefined) await hsmOf(place.source)?.destroy(label);
    found.remove();
  });
}

/** A version that may be destroyed, unless it is still used. */
interface Found {
  key: KeyRecord;
  supersededAtMs: number;
  /** Removes the key from the file, which is written afterwards. */
  remove(): void;
}

function findKek(stored: StoredKeyFile, version: number): Found {
  const { retired_keks = [] } = stored;
  const key = retired_keks.find((kek) => kek.version === version);
  if (key === undefined) throw new OperatorError(`there is no retired KEK of version ${version}`);
  return {
    key,
    supersededAtMs: Date.parse(key.created_at),
    remove() {
      stored.retired_keks = retired_keks.filter((kek) => kek !== key);
    },
  };
}

/** A destroyed key keeps its record, without the key. */
function findKey({ keys }: StoredKeyFile, purpose: Purpose, version: number, nowMs: number): Found {
  const key = keys.find((one) => one.purpose === purpose && one.version === version);
  if (key === undefined) throw new OperatorError(`there is no ${purpose} key of version ${version}`);
  const state = stateOf(key, keys, nowMs);
  if (state !== 'verify-only')
    throw new OperatorError(
      `${purpose} version ${version} is ${state}; only a key that is verify-only can be destroyed`,
    );
  return {
    key,
    supersededAtMs: supersededAtMs(key, keys),
    remove() {
      delete key.wrapped;
      delete key.hsm_label;
      key.destroyed_at = new Date(nowMs).toISOString();
    },
  };
}

/** When the first of the later versions became active. */
function supersededAtMs({ purpose, version }: StoredKey, keys: StoredKey[]): number {
  const later = keys.filter((key) => key.purpose === purpose && key.version > version);
  return Math.min(...later.map((key) => Date.parse(key.active_from)));
}

function requireNoticed(name: string, waitMs: number): void {
  if (waitMs <= 0) return;
  const seconds = Math.ceil(waitMs / 1000);
  throw new OperatorError(
    `${name} may still be in use where its successor was noticed late; try again in ${seconds} s`,
  );
}

async function requireUnused(db: Queryable, purpose: Purpose | 'kek', version: number): Promise<void> {
  const uses = await usesOf(db, purpose, version);
  if (uses.length === 0) return;
  const counts = uses.map(({ what, count }) => `${count} ${what}`).join(', ');
  throw new OperatorError(`${counts} still need ${purpose} version ${version}; ${howToMove(purpose)}`);
}

function howToMove(purpose: Purpose | 'kek'): string {
  if (purpose === 'pin-verify') return 'they move when PINs are set or verified';
  if (purpose === 'cvv' || purpose === 'audit-head') return 'they cannot move';
  return 'move them by: keys rewrap';
}
