import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { readConfig } from '../config.ts';
import { KEY_BYTES, type KeyAlgorithm } from '../crypto/key-check-value.ts';
import {
  type ComponentTarget,
  completeKeyFile,
  destroyKey,
  discardComponents,
  exportComponents,
  importComponent,
  type KeyPlace,
  NOTICED_WITHIN_MS,
  rotateKek,
  rotateKey,
} from '../keys/administer.ts';
import {
  createKeyFile,
  type ExpiryOrder,
  missingPurposes,
  PURPOSES,
  type Purpose,
  readKeyFile,
  stateOf,
  writeNewFile,
} from '../keys/key-file.ts';
import { rewrap } from '../keys/rewrap.ts';
import { listAllIssuerKeys, listComponents } from '../keys/store.ts';
import { OperatorError } from '../merchants/administer.ts';
import { openDatabaseOf, openKekSource } from '../platform.ts';
import { Secret } from '../secret.ts';
import { type OperatorPlatform, print, printTable, withPlatform } from './output.ts';

const DAY_MS = 86_400_000;
/** A cluster whose files are copied by hand wants more. */
const USUAL_DELAY_SECONDS = NOTICED_WITHIN_MS / 1000;

const purposes = Object.keys(PURPOSES) as Purpose[];

export function addKeyCommands(program: Command): void {
  const keys = program.command('keys').description('keys: the key file, the HSM, and keys of issuers');
  keys
    .command('init')
    .description('make the key file, with a fresh key for each purpose; in one that is there, add what a newer version needs')
    .action(initKeys);
  keys
    .command('list')
    .description('purpose, version, check value, state, age')
    .action(() => withPlatform(printKeys));
  addRotateCommands(keys);
  addComponentCommands(keys);
  keys
    .command('rewrap')
    .description('move what is under older keys to the active ones; may be killed and run again, and runs beside the platform')
    .action(() =>
      withPlatform(async ({ db, keys: platformKeys, now }) => {
        let shownAt = 0;
        const done = await rewrap(db, platformKeys, now, (progress) => {
          if (performance.now() - shownAt < 1000 && progress.done < progress.total) return;
          shownAt = performance.now();
          const { done: moved, total, perSecond, secondsLeft } = progress;
          const share = Math.floor((moved / total) * 100);
          print(`${moved} of ${total} rows, ${share} %, ${Math.round(perSecond)} a second, about ${Math.ceil(secondsLeft)} s left`);
        });
        print(done === 0 ? 'nothing to do: all is under the active keys' : `${done} rows are under the active keys now`);
      }),
    );
}

async function initKeys(): Promise<void> {
  const config = readConfig();
  const { keyFile, mode } = config;
  if (config.kek === undefined)
    throw new OperatorError(mode === 'sandbox' ? 'the sandbox makes its keys at its first start' : 'a key-encryption key is missing');
  const source = await openKekSource(config, print);
  try {
    await createKeyFile(keyFile, source, new Date());
    print(`made ${keyFile}\nKeep a copy: without it, and the key-encryption key, the database cannot be used.`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (missingPurposes(await readKeyFile(keyFile)).length === 0)
      throw new OperatorError(`there is a key file at ${keyFile} already; nothing was changed`);
    const { db, close } = await openDatabaseOf(config);
    try {
      print(`added to ${keyFile}: ${(await completeKeyFile({ db, keyFile, source, now: Date.now })).join(', ') || 'nothing, others did'}`);
    } finally {
      await close();
    }
  } finally {
    if (source.kind === 'hsm') await source.hsm.close();
  }
}

async function printKeys({ db, config, now }: OperatorPlatform): Promise<void> {
  const file = await readKeyFile(config.keyFile);
  const age = (since: string | Date): string => `${Math.floor((now() - new Date(since).getTime()) / DAY_MS)} d`;
  const place = (record: { hsm_label?: string | undefined; destroyed_at?: string | undefined }): string =>
    record.hsm_label ?? (record.destroyed_at === undefined ? 'file' : '-');
  const { kek } = file;
  printTable(
    ['purpose', 'version', 'algorithm', 'KCV', 'state', 'age', 'where'],
    [
      ['kek', kek.version, 'AES-256', kek.kcv, 'active', '-', kek.hsm_label ?? (kek.scrypt === undefined ? 'configured' : 'passphrase')],
      ...(file.retired_keks ?? []).map((one) => ['kek', one.version, 'AES-256', one.kcv, 'verify-only', age(one.created_at), place(one)]),
      ...file.keys.map((key) => [
        key.purpose,
        key.version,
        key.expiry_order === undefined ? key.algorithm : `${key.algorithm} ${key.expiry_order}`,
        key.kcv,
        stateOf(key, file.keys, now()),
        age(key.created_at),
        place(key),
      ]),
    ],
  );
  const ofIssuers = await listAllIssuerKeys(db);
  if (ofIssuers.length > 0) {
    print('');
    printTable(
      ['issuer', 'kind', 'label', 'algorithm', 'KCV', 'state', 'age'],
      ofIssuers.map(([issuer, kind, label, algorithm, kcv, createdAt, destroyed]) => [
        issuer,
        kind,
        label,
        algorithm,
        kcv,
        destroyed ? 'destroyed' : 'active',
        age(createdAt),
      ]),
    );
  }
  for (const [target, there, shares, algorithm, since] of await listComponents(db))
    print(`\n${target}: ${there} of ${shares} shares of ${algorithm} are there, the first for ${age(since)}`);
}

function addRotateCommands(keys: Command): void {
  keys
    .command('rotate <purpose>')
    .description(`make the next key of ${purposes.join(', ')}, or kek`)
    .option('--active-in <seconds>', 'until then it is pending, so that every process knows it', readSeconds, USUAL_DELAY_SECONDS)
    .addOption(new Option('--expiry-order <order>', 'of a CVV key').choices(['YYMM', 'MMYY']))
    .action(async (purpose: string, options: { activeIn: number; expiryOrder?: ExpiryOrder }) => {
      if (purpose === 'kek') return rotateTheKek();
      const known = requirePurpose(purpose);
      if (options.expiryOrder !== undefined && known !== 'cvv') throw new OperatorError('only a CVV key has an expiry order');
      await withPlatform(async (platform) => {
        const key = await rotateKey(placeOf(platform), known, options.activeIn * 1000, undefined, options.expiryOrder);
        print(`${known} version ${key.version}, KCV ${key.kcv}, active from ${key.active_from}`);
        if (known === 'pan-wrap' || known === 'pan-fingerprint')
          print('Once it is active, move the cards to it: pinward-server keys rewrap');
      });
    });
  keys
    .command('destroy <purpose> <version>')
    .description('end a version that nothing needs any more, for good')
    .action((purpose: string, version: string) =>
      withPlatform(async (platform) => {
        await destroyKey(placeOf(platform), purpose === 'kek' ? 'kek' : requirePurpose(purpose), Number(version));
        print(`${purpose} version ${version} is destroyed`);
      }),
    );
}

/** The new KEK is configured already, so that the platform cannot be opened as usual. */
async function rotateTheKek(): Promise<void> {
  const config = readConfig();
  const { db, close } = await openDatabaseOf(config);
  try {
    const source = await openKekSource(config, print);
    try {
      const { version, kcv } = await rotateKek({ db, keyFile: config.keyFile, source, now: Date.now }, config.oldKek);
      print(
        `kek version ${version}, KCV ${kcv}: the key file is sealed with it\nStart every process with it, then: pinward-server keys rewrap`,
      );
    } finally {
      if (source.kind === 'hsm') await source.hsm.close();
    }
  } finally {
    await close();
  }
}

function addComponentCommands(keys: Command): void {
  keys
    .command('export-components <purpose>')
    .description('split a key into shares, a file each, of which all are needed to put it together')
    .requiredOption('--out <folder>', 'where the files go; hand each to one custodian, and keep none')
    .option('--key-version <version>', 'instead of the active one', Number)
    .option('--shares <count>', '2 to 9', readShares, 2)
    .action((purpose: string, options: { out: string; keyVersion?: number; shares: number }) =>
      withPlatform(async (platform) => {
        const known = requirePurpose(purpose);
        const { key, shares } = await exportComponents(placeOf(platform), known, options.keyVersion, options.shares);
        mkdirSync(options.out, { recursive: true, mode: 0o700 });
        print(`${known} version ${key.version}, ${key.algorithm}, KCV ${key.kcv}`);
        for (const { number, hex, kcv } of shares) {
          const path = join(options.out, `${known}-${key.version}-share-${number}-of-${shares.length}`);
          await writeNewFile(path, `${hex.expose()}\n`).catch((error: NodeJS.ErrnoException) => {
            throw error.code === 'EEXIST' ? new OperatorError(`${path} is there already`) : error;
          });
          print(`share ${number} of ${shares.length}, KCV ${kcv}: ${path}`);
        }
      }),
    );
  keys
    .command('import-components <purpose>')
    .description(
      "bring one custodian's share, from standard input in hex; with the last one the key is put together. Of a purpose, or zpk and kbpk of an issuer",
    )
    .requiredOption('--share <number>', 'which one this is', Number)
    .option('--of <count>', 'how many there are', readShares, 2)
    .option('--kcv <kcv>', "the share's check value, to be compared")
    .option('--issuer <issuer>', 'of zpk and kbpk')
    .option('--label <label>', 'of zpk and kbpk')
    .addOption(
      new Option('--algorithm <algorithm>', 'of zpk and kbpk').choices(Object.keys(KEY_BYTES).filter((name) => !name.startsWith('HMAC'))),
    )
    .addOption(new Option('--expiry-order <order>', 'of a CVV key').choices(['YYMM', 'MMYY']))
    .option('--active-in <seconds>', 'of a purpose', readSeconds, USUAL_DELAY_SECONDS)
    .action((purpose: string, options: ImportOptions) =>
      withPlatform(async (platform) => {
        const hex = new Secret((await readAll(process.stdin)).replaceAll(/\s/g, ''));
        const { kcv, missing, key } = await importComponent(
          { ...placeOf(platform), keys: platform.keys },
          { target: targetOf(purpose, options), share: options.share, shares: options.of, hex, kcv: options.kcv },
        );
        print(`share ${options.share} of ${options.of}, KCV ${kcv}`);
        print(
          key === undefined
            ? `still to come: ${missing.join(', ')}`
            : `the key is whole: KCV ${key.kcv}${key.version === undefined ? '' : `, ${purpose} version ${key.version}`}`,
        );
      }),
    );
  keys
    .command('discard-components <name...>')
    .description('forget the shares of a key that is not finished, by the name that keys list shows')
    .action((words: string[]) =>
      withPlatform(async (platform) => {
        const name = words.join(' ');
        const count = await discardComponents(platform, name);
        if (count === 0) throw new OperatorError(`there are no shares of ${name}`);
        print(`${count} shares of ${name} are gone`);
      }),
    );
}

interface ImportOptions {
  share: number;
  of: number;
  kcv?: string;
  issuer?: string;
  label?: string;
  algorithm?: KeyAlgorithm;
  expiryOrder?: ExpiryOrder;
  activeIn: number;
}

function targetOf(purpose: string, { issuer, label, algorithm, expiryOrder, activeIn }: ImportOptions): ComponentTarget {
  if (purpose !== 'zpk' && purpose !== 'kbpk') return { purpose: requirePurpose(purpose), activeInMs: activeIn * 1000, expiryOrder };
  if (issuer === undefined || label === undefined || algorithm === undefined)
    throw new OperatorError(`a ${purpose} is of an issuer: --issuer, --label and --algorithm are needed`);
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(label)) throw new OperatorError('a label has 1 to 64 letters, digits, - and _');
  return { issuerNo: issuer, kind: purpose, label, algorithm };
}

function placeOf({ db, config, source, now }: OperatorPlatform): KeyPlace {
  return { db, keyFile: config.keyFile, source, now };
}

function requirePurpose(purpose: string): Purpose {
  if (!(purpose in PURPOSES)) throw new OperatorError(`${purpose} is none of ${purposes.join(', ')}`);
  return purpose as Purpose;
}

function readSeconds(given: string): number {
  if (!/^\d{1,7}$/.test(given)) throw new InvalidArgumentError('That is no number of seconds.');
  return Number(given);
}

function readShares(given: string): number {
  if (!/^[2-9]$/.test(given)) throw new InvalidArgumentError('A key has 2 to 9 shares.');
  return Number(given);
}
