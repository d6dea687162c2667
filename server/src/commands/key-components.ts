import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { KEY_BYTES, type KeyAlgorithm } from '../crypto/key-check-value.ts';
import { exportComponents } from '../custody/export-components.ts';
import { type ComponentTarget, discardComponents, importComponent } from '../custody/import-component.ts';
import { makeDirectory } from '../files.ts';
import type { ExpiryOrder } from '../keys/key-file.ts';
import { writeNewFile } from '../keys/write-file.ts';
import { OperatorError } from '../operator-error.ts';
import { Secret } from '../secret.ts';
import { readInput } from './input.ts';
import { activeInOption, expiryOrderOption, placeOf, requirePurpose, requireRightClock } from './key-options.ts';
import { type OperatorPlatform, print, withPlatform } from './output.ts';

/*
 * The command line calls a component a share: options, files and messages.
 */

/** Algorithms that a key of an issuer may have. */
const ISSUER_KEY_ALGORITHMS = Object.keys(KEY_BYTES).filter((name) => !name.startsWith('HMAC'));

/** A share has at most 64 hex digits, and blanks between them. */
const SHARE_LIMIT_BYTES = 4_096;

export function addComponentCommands(keys: Command): void {
  keys
    .command('export-components <purpose>')
    .description('split a key into shares, one file each; all of them together are the key')
    .requiredOption('--out <folder>', 'where the files are written; give each to one custodian and keep none')
    .option('--key-version <version>', 'the version to split, if not the active one', Number)
    .option('--shares <count>', 'how many shares, 2 to 9', readShares, 2)
    .action((purpose: string, options: ExportOptions) =>
      withPlatform((platform) => exportToFiles(platform, purpose, options)),
    );
  keys
    .command('import-components <purpose>')
    .description(
      "read one custodian's share in hex from standard input; the last share completes the key. " +
        'The key is one of a purpose, or a zpk or kbpk of an issuer',
    )
    .requiredOption('--share <number>', 'the number of this share', Number)
    .option('--of <count>', 'how many shares the key has', readShares, 2)
    .option('--kcv <kcv>', "the share's check value, to compare with")
    .option('--issuer <issuer>', 'the issuer of a zpk or kbpk')
    .option('--label <label>', 'the label of a zpk or kbpk')
    .addOption(new Option('--algorithm <algorithm>', 'the algorithm of a zpk or kbpk').choices(ISSUER_KEY_ALGORITHMS))
    .addOption(expiryOrderOption())
    .addOption(activeInOption())
    .action((purpose: string, options: ImportOptions) =>
      withPlatform((platform) => importFromInput(platform, purpose, options)),
    );
  keys
    .command('discard-components <name...>')
    .description('delete the shares of an unfinished key, by the name that keys list shows')
    .action((words: string[]) =>
      withPlatform(async (platform) => {
        const name = words.join(' ');
        const count = await discardComponents(platform, name);
        if (count === 0) throw new OperatorError(`there are no shares of ${name}`);
        print(`${count} shares of ${name} are deleted`);
      }),
    );
}

interface ExportOptions {
  out: string;
  keyVersion?: number;
  shares: number;
}

async function exportToFiles(platform: OperatorPlatform, given: string, options: ExportOptions): Promise<void> {
  const purpose = requirePurpose(given);
  const { out, keyVersion, shares } = options;
  const place = placeOf(platform);
  const { key, components } = await exportComponents(place, purpose, { version: keyVersion, count: shares });
  makeDirectory(out, 0o700);
  print(`${purpose} version ${key.version}, ${key.algorithm}, KCV ${key.kcv}`);
  for (const { number, hex, kcv } of components) {
    const path = join(out, `${purpose}-${key.version}-share-${number}-of-${shares}`);
    await writeNewFile(path, `${hex.expose()}\n`).catch((error: NodeJS.ErrnoException) => {
      throw error.code === 'EEXIST' ? new OperatorError(`${path} is there already`) : error;
    });
    print(`share ${number} of ${shares}, KCV ${kcv}: ${path}`);
  }
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

async function importFromInput(platform: OperatorPlatform, purpose: string, options: ImportOptions): Promise<void> {
  const { share, of: shares } = options;
  const hex = new Secret((await readInput(SHARE_LIMIT_BYTES)).replaceAll(/\s/g, ''));
  const target = targetOf(purpose, options);
  await requireRightClock(platform);
  const place = { ...placeOf(platform), keys: platform.keys, config: platform.config };
  const component = { target, number: share, count: shares, hex, kcv: options.kcv };
  const { kcv, missing, key } = await importComponent(place, component);
  print(`share ${share} of ${shares}, KCV ${kcv}`);
  if (key === undefined) return print(`still to come: ${missing.join(', ')}`);
  const version = key.version === undefined ? '' : `, ${purpose} version ${key.version}`;
  print(`the key is whole: KCV ${key.kcv}${version}`);
}

function targetOf(purpose: string, options: ImportOptions): ComponentTarget {
  const { issuer, label, algorithm, expiryOrder, activeIn } = options;
  if (purpose !== 'zpk' && purpose !== 'kbpk')
    return { purpose: requirePurpose(purpose), activeInMs: activeIn * 1000, expiryOrder };
  if (issuer === undefined || label === undefined || algorithm === undefined)
    throw new OperatorError(`a ${purpose} belongs to an issuer: --issuer, --label and --algorithm are needed`);
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(label)) throw new OperatorError('a label has 1 to 64 letters, digits, - and _');
  return { issuerNo: issuer, kind: purpose, label, algorithm };
}

function readShares(given: string): number {
  if (!/^[2-9]$/.test(given)) throw new InvalidArgumentError('A key has 2 to 9 shares.');
  return Number(given);
}
