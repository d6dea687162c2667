import { readFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { CardType } from '../cards/store.ts';
import { changeOffer, createBin, createPackage } from '../products/administer.ts';
import { listAllBins, listAllPackages } from '../products/store.ts';
import { print, printTable, withPlatform } from './output.ts';

export function addProductCommands(program: Command): void {
  const bin = program.command('bin').description('BINs, under which AUTHORIZATION merchants apply for cards');
  bin
    .command('create')
    .requiredOption('--issuer <issuer>', 'who decides on applications; the merchants that it is bound to may apply')
    .requiredOption('--bin <digits>', 'the first 6 to 11 digits of its PANs')
    .requiredOption('--organization <name>', 'the card network, as merchants are told')
    .addOption(new Option('--types <types...>', 'what cards there are').choices(['Physical', 'Virtual']).default(['Physical', 'Virtual']))
    .option('--currencies <codes...>', 'ISO 4217', ['USD'])
    .addOption(new Option('--pan-digits <count>', 'how long its PANs are, 12 to 19').argParser(readPanDigits).default(16))
    .option('--no <number>', 'its number, if it is not to be a new one')
    .action(
      (options: {
        issuer: string;
        bin: string;
        organization: string;
        types: CardType[];
        currencies: string[];
        panDigits: number;
        no?: string;
      }) =>
        withPlatform(async (platform) => {
          const { issuer, bin: digits, organization, types, currencies, panDigits, no } = options;
          const given = { issuerNo: issuer, bin: digits, organization, cardTypes: types, currencies, panDigits };
          print(await createBin(platform, { ...given, ...(no !== undefined && { cardBinNo: no }) }));
        }),
    );
  bin.command('list').action(() =>
    withPlatform(async ({ db }) => {
      printTable(['BIN no.', 'issuer', 'BIN', 'organization', 'types', 'status'], await listAllBins(db));
    }),
  );
  addOffer(bin, 'card_bins');

  const cardPackage = program.command('package').description('packages, for which CREDIT_EXTENSION merchants apply');
  cardPackage
    .command('create <file>')
    .description(
      "make a package from its sheet: JSON with the API's names, of which package_no, card_bin_no, package_type and the names must be there",
    )
    .action((file: string) =>
      withPlatform(async (platform) => {
        print(await createPackage(platform, await readFile(file, 'utf8')));
      }),
    );
  cardPackage.command('list').action(() =>
    withPlatform(async ({ db }) => {
      printTable(['package', 'BIN no.', 'type', 'name', 'status'], await listAllPackages(db));
    }),
  );
  addOffer(cardPackage, 'card_packages');
}

function addOffer(group: Command, table: 'card_bins' | 'card_packages'): void {
  for (const [name, offered] of [
    ['disable', false],
    ['enable', true],
  ] as const)
    group.command(`${name} <number>`).action((no: string) =>
      withPlatform(async (platform) => {
        await changeOffer(platform, table, no, offered);
        print(`${no} is ${offered ? 'offered' : 'no longer offered; its cards stay'}`);
      }),
    );
}

function readPanDigits(given: string): number {
  const digits = /^\d{2}$/.test(given) ? Number(given) : Number.NaN;
  if (!(digits >= 12 && digits <= 19)) throw new InvalidArgumentError('A PAN has 12 to 19 digits.');
  return digits;
}
