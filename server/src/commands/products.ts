import { CARD_TYPES, type CardType } from '@pinward/contract/vocabulary';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { createBin } from '../products/create-bin.ts';
import { createPackage } from '../products/create-package.ts';
import { setProductOffered } from '../products/set-offered.ts';
import { listAllBins, listAllPackages } from '../products/store.ts';
import { readArgumentFile } from './input.ts';
import { type OperatorPlatform, print, printTable, withPlatform } from './output.ts';

const SHEET_LIMIT_BYTES = 1024 * 1024;

export function addProductCommands(program: Command): void {
  const bin = program.command('bin').description('BINs, under which AUTHORIZATION merchants apply for cards');
  bin
    .command('create')
    .description('create a BIN of an issuer and print its number')
    .requiredOption('--issuer <issuer>', 'who decides on applications; the merchants that it is bound to may apply')
    .requiredOption('--bin <digits>', 'the first 6 to 11 digits of its PANs')
    .requiredOption('--organization <name>', 'the card network, as merchants see it')
    .addOption(
      new Option('--types <types...>', 'the card types that it has')
        .choices([...CARD_TYPES])
        .default(['Physical', 'Virtual']),
    )
    .option('--currencies <codes...>', 'ISO 4217 codes', ['USD'])
    .addOption(
      new Option('--pan-digits <count>', 'the length of its PANs, 12 to 19').argParser(readPanDigits).default(16),
    )
    .option('--no <number>', 'its number; a new one if absent')
    .action((options: CreateBinOptions) => withPlatform((platform) => create(platform, options)));
  bin
    .command('list')
    .description('list all BINs')
    .action(() => withPlatform(listBins));
  addOfferCommands(bin, 'bin');

  const cardPackage = program.command('package').description('packages, for which CREDIT_EXTENSION merchants apply');
  cardPackage
    .command('create <file>')
    .description(
      "create a package from a sheet: JSON with the API's names; it must have package_no, card_bin_no, package_type " +
        'and the two names',
    )
    .action((file: string) =>
      withPlatform(async (platform) => print(await createPackage(platform, readArgumentFile(file, SHEET_LIMIT_BYTES)))),
    );
  cardPackage
    .command('list')
    .description('list all packages')
    .action(() => withPlatform(listPackages));
  addOfferCommands(cardPackage, 'package');
}

interface CreateBinOptions {
  issuer: string;
  bin: string;
  organization: string;
  types: CardType[];
  currencies: string[];
  panDigits: number;
  no?: string;
}

async function create(platform: OperatorPlatform, options: CreateBinOptions): Promise<void> {
  const { issuer, bin, organization, types, currencies, panDigits, no } = options;
  const given = { issuerNo: issuer, bin, organization, cardTypes: types, currencies, panDigits };
  print(await createBin(platform, { ...given, ...(no !== undefined && { cardBinNo: no }) }));
}

async function listBins({ db }: OperatorPlatform): Promise<void> {
  const bins = await listAllBins(db);
  printTable(
    ['BIN no.', 'issuer', 'BIN', 'organization', 'types', 'status'],
    bins.map((bin) => [bin.cardBinNo, bin.issuerNo, bin.bin, bin.organization, bin.types, bin.status]),
  );
}

async function listPackages({ db }: OperatorPlatform): Promise<void> {
  const packages = await listAllPackages(db);
  printTable(
    ['package', 'BIN no.', 'type', 'name', 'status'],
    packages.map((one) => [one.packageNo, one.cardBinNo, one.cardType, one.name, one.status]),
  );
}

function addOfferCommands(group: Command, product: 'bin' | 'package'): void {
  group
    .command('disable <number>')
    .description(`no longer offer a ${product}; its cards stay`)
    .action((no: string) =>
      withPlatform(async (platform) => {
        await setProductOffered(platform, { product, number: no, offered: false });
        print(`${no} is no longer offered; its cards stay`);
      }),
    );
  group
    .command('enable <number>')
    .description(`offer a ${product} again`)
    .action((no: string) =>
      withPlatform(async (platform) => {
        await setProductOffered(platform, { product, number: no, offered: true });
        print(`${no} is offered`);
      }),
    );
}

function readPanDigits(given: string): number {
  const digits = /^\d{2}$/.test(given) ? Number(given) : Number.NaN;
  if (!(digits >= 12 && digits <= 19)) throw new InvalidArgumentError('A PAN has 12 to 19 digits.');
  return digits;
}
