import { randomBytes } from 'node:crypto';
import { auditIssuer, auditPlatform, detailsOf } from '../audit/append.ts';
import { xorInto } from '../crypto/cmac.ts';
import { isPair, KEY_BYTES, type KeyAlgorithm, keyCheckValue } from '../crypto/key-check-value.ts';
import { LOCKS } from '../db/advisory-locks.ts';
import { type Database, isDuplicate, type Queryable } from '../db/database.ts';
import { findIssuerId, type IssuerKey, insertIssuerKey, issuerKeyIdentity } from '../issuer/store.ts';
import { OperatorError } from '../merchants/administer.ts';
import { Secret } from '../secret.ts';
import {
  addMissingKeys,
  clearBytes,
  type ExpiryOrder,
  type KekSource,
  kekBytes,
  kekIdentity,
  keyIdentity,
  makerOf,
  newKek,
  newKey,
  type OpenKey,
  type OpenKeyFile,
  openKeyFile,
  PURPOSES,
  type Purpose,
  replaceKeyFile,
  type StoredKey,
  stateOf,
} from './key-file.ts';
import type { Keys } from './keys.ts';
import { deleteComponents, insertComponent, lockComponents, usesOf } from './store.ts';

/** What operators do to keys. Each change is recorded in the platform's or the issuer's chain. */

/** Every process has noticed a changed key file by then: it looks once a second, and opens what it finds. */
export const NOTICED_WITHIN_MS = 10_000;
/** And no statement that was begun with the old key is still under way: the database ends each after 10 s. */
const SUPERSEDED_FOR_MS = NOTICED_WITHIN_MS + 10_000;

/** Where the keys are, and what they can be changed with. */
export interface KeyPlace {
  db: Database;
  keyFile: string;
  source: KekSource;
  now: () => number;
}

/** Of several who change the file at once, one does and the others wait. `session` holds the lock. */
async function holdingKeyFile<T>(db: Database, work: (session: Queryable) => Promise<T>): Promise<T> {
  return db.session(async (session) => {
    await session.query('key-file-lock', 'select pg_advisory_lock($1)', [LOCKS.keyFile]);
    return work(session);
  });
}

interface KeyChange {
  file: OpenKeyFile;
  /** Holds the lock on the key file. */
  session: Queryable;
  /** To be called once, when nothing can be refused any more and nothing has been done that cannot be undone. */
  record(action: 'key_rotated' | 'key_destroyed', more: Record<string, unknown>): Promise<void>;
}

/**
 * The record is committed before the file is replaced, and before a key in the token ends: of a crash in between stays a record of what was
 * meant to be. The other way round a key would be made or ended that the trail does not know. It is written by the connection that
 * holds the lock, so that whoever has lost the lock with it changes nothing.
 */
async function changeKeyFile<T>({ db, keyFile, source, now }: KeyPlace, change: (change: KeyChange) => Promise<T>): Promise<T> {
  return holdingKeyFile(db, async (session) => {
    const file = await openKeyFile(keyFile, source);
    const result = await change({
      file,
      session,
      record: (action, more) => auditPlatform(session, now(), action, detailsOf('operator', more)),
    });
    await replaceKeyFile(keyFile, file.stored);
    return result;
  });
}

/**
 * Adds keys for purposes that came with a newer version of the platform, and gives their names. They are not recorded: the file is
 * completed before the schema may be.
 */
export function completeKeyFile({ db, keyFile, source, now }: KeyPlace): Promise<Purpose[]> {
  return holdingKeyFile(db, () => addMissingKeys(keyFile, source, new Date(now())));
}

/**
 * Makes the purpose's next key. It is pending for a while, so that every process has read it before any uses it; the key before
 * it keeps its values until `rewrap`, or until PINs are set or verified.
 */
export async function rotateKey(
  place: KeyPlace,
  purpose: Purpose,
  activeInMs: number,
  bytes?: Buffer,
  expiryOrder?: ExpiryOrder,
): Promise<StoredKey> {
  const nowMs = place.now();
  return changeKeyFile(place, async ({ file, record }) => {
    if (file.stored.keys.some((one) => one.purpose === purpose && stateOf(one, file.stored.keys, nowMs) === 'pending'))
      throw new OperatorError(`${purpose} has a pending key already: wait until it is active`);
    const made = await newKey(makerOf(file, place.source), purpose, new Date(nowMs), new Date(nowMs + activeInMs), bytes);
    if (expiryOrder !== undefined) made.expiry_order = expiryOrder;
    file.stored.keys.push(made);
    const { version, kcv, active_from } = made;
    await record('key_rotated', { purpose, version, kcv, active_from, ...(bytes && { from: 'components' }) });
    return made;
  });
}

/**
 * Puts a new KEK in the place of the old one: a fresh one in the HSM, or the one that `place.source` names where the file is still
 * sealed with `old`. Everything in the file is wrapped anew; the old KEK stays in it, for what the database holds under it.
 */
export async function rotateKek(place: KeyPlace, old: KekSource | undefined): Promise<{ version: number; kcv: string }> {
  const { source, now } = place;
  if (old === undefined && source.kind !== 'hsm')
    throw new OperatorError('set the new key-encryption key as usual, and the one in use as PINWARD_OLD_KEK, _FILE or _PASSPHRASE');
  return changeKeyFile({ ...place, source: old ?? source }, async ({ file, record: recorded }) => {
    const { stored } = file;
    const next = await newKek(source, stored.kek.version + 1, stored.id);
    if (next.kek.kcv === stored.kek.kcv) throw new OperatorError('that is the key-encryption key in use');
    const retired = [];
    for (const record of stored.retired_keks ?? []) {
      if (record.wrapped === undefined) retired.push(record);
      else {
        const kekOfThen = file.keks.get(stored.kek.version);
        const bytes = await kekOfThen?.open(Buffer.from(record.wrapped, 'base64'), kekIdentity(stored.id, record.version));
        retired.push({ ...record, wrapped: await sealed(next.held, bytes as Buffer, kekIdentity(stored.id, record.version)) });
      }
    }
    const { version, kcv, scrypt, hsm_label } = stored.kek;
    const record = { version, kcv, created_at: new Date(now()).toISOString() };
    if (hsm_label !== undefined) retired.push({ ...record, hsm_label });
    else {
      const bytes = Buffer.from(kekBytes(old as Exclude<KekSource, { kind: 'hsm' }>, scrypt));
      retired.push({ ...record, wrapped: await sealed(next.held, bytes, kekIdentity(stored.id, version)) });
    }
    for (const key of file.keys) {
      const bytes = clearBytes(key);
      const entry = stored.keys.find((one) => one.purpose === key.purpose && one.version === key.version);
      if (bytes !== undefined && entry !== undefined)
        entry.wrapped = await sealed(next.held, bytes, keyIdentity(stored.id, key.purpose, key.version));
    }
    stored.kek = next.kek;
    stored.retired_keks = retired;
    await recorded('key_rotated', { purpose: 'kek', version: next.kek.version, kcv: next.kek.kcv });
    return next.kek;
  });
}

async function sealed(
  kek: { seal(plain: Uint8Array, identity: string): Promise<Buffer> },
  bytes: Buffer,
  identity: string,
): Promise<string> {
  const wrapped = await kek.seal(bytes, identity);
  bytes.fill(0);
  return wrapped.toString('base64');
}

/**
 * Ends a version for good. Refused while it is active or pending, for some seconds after, and while the database holds anything under
 * it. The seconds must be over before it is counted, and nobody else changes the file meanwhile: so nothing comes after the count.
 */
export async function destroyKey(place: KeyPlace, purpose: Purpose | 'kek', version: number): Promise<void> {
  await changeKeyFile(place, async ({ file, session, record }) => {
    const nowMs = place.now();
    const { keys, retired_keks = [] } = file.stored;
    const retired = retired_keks.find((one) => purpose === 'kek' && one.version === version);
    const key = keys.find((one) => one.purpose === purpose && one.version === version);
    if (purpose === 'kek' && retired === undefined) throw new OperatorError(`there is no retired KEK of version ${version}`);
    if (purpose !== 'kek' && key === undefined) throw new OperatorError(`there is no ${purpose} key of version ${version}`);
    const state = key && stateOf(key, keys, nowMs);
    if (state !== undefined && state !== 'verify-only')
      throw new OperatorError(`${purpose} version ${version} is ${state}; only a key that is verify-only can be destroyed`);
    await requireUnused(session, purpose, version);
    const supersededAtMs = retired === undefined ? supersededAt(key as StoredKey, keys) : Date.parse(retired.created_at);
    const waitMs = supersededAtMs + SUPERSEDED_FOR_MS - nowMs;
    if (waitMs > 0)
      throw new OperatorError(
        `${purpose} version ${version} may still be in use where its successor was noticed late; try again in ${Math.ceil(waitMs / 1000)} s`,
      );
    await record('key_destroyed', { purpose, version });
    await inHsm(place.source, (retired ?? key)?.hsm_label);
    if (retired !== undefined) file.stored.retired_keks = retired_keks.filter((one) => one !== retired);
    if (key === undefined) return;
    delete key.wrapped;
    delete key.hsm_label;
    key.destroyed_at = new Date(nowMs).toISOString();
  });
}

/** When the first of those after it became active. */
function supersededAt({ purpose, version }: StoredKey, keys: StoredKey[]): number {
  const later = keys.filter((one) => one.purpose === purpose && one.version > version);
  return Math.min(...later.map((one) => Date.parse(one.active_from)));
}

async function requireUnused(db: Queryable, purpose: Purpose | 'kek', version: number): Promise<void> {
  const uses = await usesOf(db, purpose, version);
  if (uses.length === 0) return;
  const how =
    purpose === 'pin-verify'
      ? 'they move when PINs are set or verified'
      : purpose === 'cvv' || purpose === 'audit-head'
        ? 'they cannot move'
        : 'move them by: keys rewrap';
  throw new OperatorError(`${uses.map(([what, count]) => `${count} ${what}`).join(', ')} still need ${purpose} version ${version}; ${how}`);
}

async function inHsm(source: KekSource, label: string | undefined): Promise<void> {
  if (label !== undefined && source.kind === 'hsm') await source.hsm.destroy(label);
}

export interface Share {
  number: number;
  /** Upper-case hex. */
  hex: Secret<string>;
  kcv: string;
}

/** Splits a key into shares that XOR to it: all together are the key, all but one are noise. */
export async function exportComponents(
  place: KeyPlace,
  purpose: Purpose,
  version: number | undefined,
  count: number,
): Promise<{ key: OpenKey; shares: Share[] }> {
  const file = await openKeyFile(place.keyFile, place.source);
  const nowMs = place.now();
  const key = file.keys.find((one) =>
    version === undefined
      ? one.purpose === purpose && stateOf(one, file.keys, nowMs) === 'active'
      : one.purpose === purpose && one.version === version,
  );
  if (key === undefined || key.destroyed_at !== undefined)
    throw new OperatorError(`there is no ${purpose} key${version === undefined ? '' : ` of version ${version}`} to export`);
  const bytes = clearBytes(key);
  if (bytes === undefined) throw new OperatorError(`${purpose} version ${key.version} was made in the HSM and cannot leave it`);
  if (isPair(key.algorithm)) throw new OperatorError(`${purpose} is a key pair; only secret keys are split into components`);
  const algorithm = key.algorithm;
  const parts: Buffer[] = Array.from({ length: count - 1 }, () => randomBytes(bytes.length));
  for (const part of parts) xorInto(bytes, part);
  parts.push(bytes);
  const shares = parts.map((part, i) => {
    const share = { number: i + 1, hex: new Secret(part.toString('hex').toUpperCase()), kcv: keyCheckValue(algorithm, part) };
    part.fill(0);
    return share;
  });
  const details = detailsOf('operator', { purpose, version: key.version, kcv: key.kcv, shares: count });
  await place.db.transaction((tx) => auditPlatform(tx, nowMs, 'key_exported', details));
  return { key, shares };
}

/** A key that comes by components: one of the platform's purposes, or a key of an issuer. */
export type ComponentTarget =
  | { purpose: Purpose; activeInMs: number; expiryOrder?: ExpiryOrder | undefined }
  | { issuerNo: string; kind: IssuerKey['kind']; label: string; algorithm: KeyAlgorithm };

export interface ComponentImport {
  target: ComponentTarget;
  share: number;
  shares: number;
  hex: Secret<string>;
  /** The share's check value as the custodian has it. */
  kcv: string | undefined;
}

/**
 * Takes one custodian's share. It waits in the database, wrapped, until the last one is there; then the key is put together and
 * the shares are gone. Gives the share's check value, and the key's once it is whole.
 */
export async function importComponent(
  place: KeyPlace & { keys: Keys },
  { target, share, shares, hex, kcv: expected }: ComponentImport,
): Promise<{ kcv: string; missing: number[]; key: { kcv: string; version?: number } | undefined }> {
  const algorithm = 'purpose' in target ? secretAlgorithm(target.purpose, place.source) : target.algorithm;
  const name = 'purpose' in target ? target.purpose : `${target.kind} ${target.label} of ${target.issuerNo}`;
  if (share < 1 || share > shares || shares < 2 || shares > 9)
    throw new OperatorError('a key has 2 to 9 shares, and a share one of their numbers');
  const text = hex.expose();
  if (!/^[0-9A-Fa-f]+$/.test(text) || text.length !== 2 * KEY_BYTES[algorithm])
    throw new OperatorError(`a share of ${algorithm} has ${2 * KEY_BYTES[algorithm]} hex digits`);
  const bytes = Buffer.from(text, 'hex');
  const kcv = keyCheckValue(algorithm, bytes);
  if (expected !== undefined && expected.toUpperCase() !== kcv)
    throw new OperatorError(`the share's check value is ${kcv}, not ${expected.toUpperCase()}; nothing was kept`);
  const identity = (number: number): string => `component:${name}:${number}`;
  const wrapped = await place.keys.kek.wrap(bytes, identity(share));
  const nowMs = place.now();
  try {
    const taken = await place.db.transaction(async (tx) => {
      const issuerId = 'purpose' in target ? undefined : await findIssuerId(tx, target.issuerNo);
      if (!('purpose' in target) && issuerId === undefined) throw new OperatorError(`there is no issuer ${target.issuerNo}`);
      const there = await lockComponents(tx, name);
      const [first] = there;
      if (first !== undefined && (first.shares !== shares || first.algorithm !== algorithm))
        throw new OperatorError(`${name} is being put together from ${first.shares} shares of ${first.algorithm}`);
      if (there.some((one) => one.share === share)) throw new OperatorError(`share ${share} of ${name} is there already`);
      await record(tx, issuerId, nowMs, 'key_component_imported', { target: name, share, shares, kcv });
      const missing = Array.from({ length: shares }, (_, i) => i + 1).filter(
        (number) => number !== share && !there.some((one) => one.share === number),
      );
      if (missing.length > 0) {
        await insertComponent(tx, name, { share, shares, algorithm, kcv, wrapped }, nowMs);
        return { missing, whole: undefined };
      }
      for (const one of there) {
        const other = await place.keys.kek.unwrap(one.wrapped, identity(one.share));
        xorInto(bytes, other);
        other.fill(0);
      }
      const whole = keyCheckValue(algorithm, bytes);
      if ('purpose' in target) return { missing, whole };
      await deleteComponents(tx, name);
      const { kind, label } = target;
      const keyWrapped = await place.keys.kek.wrap(bytes, issuerKeyIdentity(issuerId as number, kind, label));
      await insertIssuerKey(tx, issuerId as number, { kind, label, algorithm, kcv: whole, keyWrapped, createdAtMs: nowMs });
      await record(tx, issuerId, nowMs, 'zone_key_imported', { kind, label, algorithm, kcv: whole, from: 'components' });
      return { missing, whole };
    });
    const { missing, whole } = taken;
    if (whole === undefined) return { kcv, missing, key: undefined };
    if (!('purpose' in target)) return { kcv, missing, key: { kcv: whole } };
    // The shares go last: whoever is interrupted here brings the last one again.
    const { version } = await rotateKey(place, target.purpose, target.activeInMs, bytes, target.expiryOrder);
    await discardComponents(place, name);
    return { kcv, missing, key: { kcv: whole, version } };
  } catch (error) {
    throw isDuplicate(error, 'issuer_keys_pkey') ? new OperatorError('a key of this label is or was there; nothing was kept') : error;
  } finally {
    bytes.fill(0);
  }
}

async function record(
  tx: Queryable,
  issuerId: number | undefined,
  nowMs: number,
  action: 'key_component_imported' | 'zone_key_imported',
  more: Record<string, unknown>,
): Promise<void> {
  const details = detailsOf('operator', more);
  await (issuerId === undefined ? auditPlatform(tx, nowMs, action, details) : auditIssuer(tx, issuerId, nowMs, action, details));
}

/** Forgets the shares of a key that was not finished. */
export async function discardComponents(place: Pick<KeyPlace, 'db'>, name: string): Promise<number> {
  return place.db.transaction((tx) => deleteComponents(tx, name));
}

function secretAlgorithm(purpose: Purpose, source: KekSource): KeyAlgorithm {
  const algorithm = PURPOSES[purpose];
  if (isPair(algorithm)) throw new OperatorError(`${purpose} is a key pair; only secret keys come by components`);
  if (purpose === 'pin-verify' && source.kind === 'hsm') throw new OperatorError('with an HSM the PIN verify key is made in it');
  return algorithm;
}
