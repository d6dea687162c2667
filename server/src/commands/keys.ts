import type { Command } from 'commander';
import { type Config, readConfig } from '../config.ts';
import { completeKeyFile } from '../custody/change-key-file.ts';
import { listUnfinishedKeys } from '../custody/component-store.ts';
import { destroyKey } from '../custody/destroy-key.ts';
import { type RewrapProgress, rewrap } from '../custody/rewrap.ts';
import { rotateKek } from '../custody/rotate-kek.ts';
import { rotateKey } from '../custody/rotate-key.ts';
import type { Database } from '../db/database.ts';
import type { KekSource } from '../keys/kek.ts';
import {
  type ExpiryOrder,
  missingPurposes,
  type Purpose,
  readKeyFile,
  type StoredKeyFile,
  stateOf,
} from '../keys/key-file.ts';
import { createKeyFile } from '../keys/make-key-file.ts';
import { OperatorError } from '../operator-error.ts';
import { openDatabaseOf, openKekSource } from '../platform.ts';
import { listAllIssuerKeys } from '../zone-keys/store.ts';
import { addComponentCommands } from './key-components.ts';
import {
  activeInOption,
  expiryOrderOption,
  PURPOSE_NAMES,
  placeOf,
  requirePurpose,
  requireRightClock,
} from './key-options.ts';
import { type Cell, type OperatorPlatform, print, printTable, withPlatform } from './output.ts';

const DAY_MS = 86_400_000;
const REPORT_EVERY_MS = 1_000;

export function addKeyCommands(program: Command): void {
  const keys = program.command('keys').description('keys: the key file, the HSM, and keys of issuers');
  keys
    .command('init')
    .description('make the key file, with a new key for each purpose; to an existing file add the keys that it lacks')
    .action(init);
  keys
    .command('list')
    .description('list all keys: purpose, version, check value, state, age')
    .action(() => withPlatform(list));
  keys
    .command('rotate <purpose>')
    .description(`make the next key of ${PURPOSE_NAMES.join(', ')}, or kek`)
    .addOption(activeInOption())
    .addOption(expiryOrderOption())
    .action((purpose: string, options: RotateOptions) =>
      purpose === 'kek' ? rotateTheKek() : rotate(requirePurpose(purpose), options),
    );
  keys
    .command('destroy <purpose> <version>')
    .description('destroy a version that nothing needs any more, for good')
    .action((purpose: string, version: string) =>
      withPlatform(async (platform) => {
        const known = purpose === 'kek' ? 'kek' : requirePurpose(purpose);
        await destroyKey(placeOf(platform), known, Number(version));
        print(`${purpose} version ${version} is destroyed`);
      }),
    );
  addComponentCommands(keys);
  keys
    .command('rewrap')
    .description(
      'move everything under older keys to the active keys; may be killed and run again, and while the platform serves',
    )
    .action(() => withPlatform(moveToActiveKeys));
}

async function init(): Promise<void> {
  const config = readConfig();
  const { keyFile, mode } = config;
  if (config.kek === undefined)
    throw new OperatorError(
      mode === 'sandbox' ? 'the sandbox makes its keys at its first start' : 'a key-encryption key is missing',
    );
  await withKekSource(config, async (source) => {
    try {
      await createKeyFile(keyFile, source, new Date());
      print(`made ${keyFile}\nKeep a copy: without it, and the key-encryption key, the database cannot be used.`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      await addMissing(config, source);
    }
  });
}

async function addMissing(config: Config, source: KekSource): Promise<void> {
  const { keyFile } = config;
  const stored = await readKeyFile(keyFile);
  if (missingPurposes(stored).length === 0 && stored.seal !== undefined)
    throw new OperatorError(`there is a key file at ${keyFile} already; nothing was changed`);
  await withDatabase(config, async (db) => {
    const { added, sealed } = await completeKeyFile({ db, keyFile, source, now: Date.now });
    if (sealed) print(`${keyFile} is sealed: keep a copy of it`);
    if (added.length > 0 || !sealed)
      print(`added to ${keyFile}: ${added.join(', ') || 'nothing, another process added the keys'}`);
  });
}

async function list({ db, config, now }: OperatorPlatform): Promise<void> {
  const nowMs = now();
  const age = (sinceMs: number): string => `${Math.floor((nowMs - sinceMs) / DAY_MS)} d`;
  const file = await readKeyFile(config.keyFile);
  printTable(['purpose', 'version', 'algorithm', 'KCV', 'state', 'age', 'where'], keyRows(file, nowMs, age));
  const issuerKeys = await listAllIssuerKeys(db);
  if (issuerKeys.length > 0) {
    print('');
    printTable(
      ['issuer', 'kind', 'label', 'algorithm', 'KCV', 'state', 'age'],
      issuerKeys.map(({ issuerNo, kind, label, algorithm, kcv, createdAtMs, destroyedAtMs }) => [
        issuerNo,
        kind,
        label,
        algorithm,
        kcv,
        destroyedAtMs === null ? 'active' : 'destroyed',
        age(createdAtMs),
      ]),
    );
  }
  for (const { target, stored, count, algorithm, sinceMs } of await listUnfinishedKeys(db))
    print(`\n${target}: ${stored} of ${count} shares of ${algorithm} are there, the oldest is ${age(sinceMs)} old`);
}

/** The KEK, its earlier versions, and every key of the file. */
function keyRows(
  { kek, retired_keks = [], keys }: StoredKeyFile,
  nowMs: number,
  age: (sinceMs: number) => string,
): Cell[][] {
  const where = (key: { hsm_label?: string; destroyed_at?: string }): string =>
    key.hsm_label ?? (key.destroyed_at === undefined ? 'file' : '-');
  const kekPlace = kek.hsm_label ?? (kek.scrypt === undefined ? 'configured' : 'passphrase');
  return [
    ['kek', kek.version, 'AES-256', kek.kcv, 'active', '-', kekPlace],
    ...retired_keks.map((key) => [
      'kek',
      key.version,
      'AES-256',
      key.kcv,
      'verify-only',
      age(Date.parse(key.created_at)),
      where(key),
    ]),
    ...keys.map((key) => [
      key.purpose,
      key.version,
      key.expiry_order === undefined ? key.algorithm : `${key.algorithm} ${key.expiry_order}`,
      key.kcv,
      stateOf(key, keys, nowMs),
      age(Date.parse(key.created_at)),
      where(key),
    ]),
  ];
}

interface RotateOptions {
  activeIn: number;
  expiryOrder?: ExpiryOrder;
}

async function rotate(purpose: Purpose, { activeIn, expiryOrder }: RotateOptions): Promise<void> {
  if (expiryOrder !== undefined && purpose !== 'cvv') throw new OperatorError('only a CVV key has an expiry order');
  await withPlatform(async (platform) => {
    await requireRightClock(platform);
    const key = await rotateKey(placeOf(platform), purpose, { activeInMs: activeIn * 1000, expiryOrder });
    print(`${purpose} version ${key.version}, KCV ${key.kcv}, active from ${key.active_from}`);
    if (purpose === 'pan-wrap' || purpose === 'pan-fingerprint')
      print('Once it is active, move the cards to it: pinward-server keys rewrap');
  });
}

/**
 * Opens only the database and the key file. The platform cannot be opened: the configured KEK
 * is the next one, and the key file is still sealed with the KEK before it.
 */
async function rotateTheKek(): Promise<void> {
  const config = readConfig();
  await withDatabase(config, (db) =>
    withKekSource(config, async (source) => {
      const place = { db, keyFile: config.keyFile, source, now: Date.now, onNotice: print };
      const { version, kcv } = await rotateKek(place, config.oldKek);
      print(`kek version ${version}, KCV ${kcv}: the key file is sealed with it`);
      print('Start every process with it, then: pinward-server keys rewrap');
    }),
  );
}

async function moveToActiveKeys({ db, keys, now }: OperatorPlatform): Promise<void> {
  let reportedAtMs = 0;
  const report = ({ done, total, perSecond, secondsLeft }: RewrapProgress): void => {
    const nowMs = performance.now();
    if (nowMs - reportedAtMs < REPORT_EVERY_MS && done < total) return;
    reportedAtMs = nowMs;
    const percent = Math.floor((done / total) * 100);
    const speed = `${Math.round(perSecond)} a second, about ${Math.ceil(secondsLeft)} s left`;
    print(`${done} of ${total} rows, ${percent} %, ${speed}`);
  };
  const moved = await rewrap(db, keys, now, report);
  print(
    moved === 0 ? 'nothing to do: everything is under the active keys' : `${moved} rows are under the active keys now`,
  );
}

async function withDatabase(config: Config, work: (db: Database) => Promise<void>): Promise<void> {
  const { db, close } = await openDatabaseOf(config);
  try {
    await work(db);
  } finally {
    await close();
  }
}

async function withKekSource(config: Config, work: (source: KekSource) => Promise<void>): Promise<void> {
  const source = await openKekSource(config, print);
  try {
    await work(source);
  } finally {
    if (source.kind === 'hsm') await source.hsm.close();
  }
}
