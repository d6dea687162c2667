import { PIN_POLICY_NAMES, type PolicySettings } from '@pinward/contract/pin-policies';
import { PIN_RUNS, type PinRuns } from '@pinward/contract/pin-rule';
import { CALLBACK_ACTIONS, INTEGRATION_MODES, type IntegrationMode } from '@pinward/contract/vocabulary';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { createMerchant } from '../merchants/create-merchant.ts';
import { listMerchants, type MerchantChange } from '../merchants/store.ts';
import { updateMerchant } from '../merchants/update-merchant.ts';
import { OperatorError } from '../operator-error.ts';
import { type OperatorPlatform, print, printTable, withPlatform } from './output.ts';

const HISTORY_LIMIT = 24;
const DEFAULT_HISTORY = 4;

export function addMerchantCommands(program: Command): void {
  const merchant = program.command('merchant').description('merchants');
  merchant
    .command('create')
    .description('create a merchant and print its number')
    .requiredOption('--name <name>', 'a name for people')
    .addOption(
      new Option('--mode <mode>', 'AUTHORIZATION applies for cards by BIN, CREDIT_EXTENSION by package')
        .choices([...INTEGRATION_MODES])
        .default('AUTHORIZATION'),
    )
    .addOption(pinRunsOption().default('arithmetic'))
    .option('--pci', 'let the merchant read PANs and CVVs by the API')
    .action((options: CreateOptions) => withPlatform((platform) => create(platform, options)));
  merchant
    .command('list')
    .description('list all merchants')
    .action(() => withPlatform(list));
  addUpdateCommand(merchant);
  merchant
    .command('disable <merchant>')
    .description('disable a merchant and end the tokens of its credentials')
    .action((merchantNo: string) =>
      withPlatform(async (platform) => {
        await updateMerchant(platform, merchantNo, { status: 'Disabled' });
        print(`${merchantNo} disabled: its credentials answer 1022, its tokens are ended`);
      }),
    );
}

function addUpdateCommand(merchant: Command): void {
  merchant
    .command('update <merchant>')
    .description('change a merchant; what is not given stays as it is')
    .option('--name <name>', 'a name for people')
    .addOption(pinRunsOption())
    .addOption(
      new Option(
        '--callbacks <actions>',
        'the callbacks that the merchant gets besides Card_update, with commas between: ' +
          `${CALLBACK_ACTIONS.slice(1).join(', ')}; "none" for no others`,
      ).argParser(readActions),
    )
    .addOption(
      new Option(
        '--pin-policy <settings...>',
        `NAME=off, warn or refuse, where NAME is ${PIN_POLICY_NAMES.join(', ')}; ` +
          'history takes a number: history=refuse:4 looks at the last four PINs',
      ).argParser(readPolicies),
    )
    .addOption(
      new Option('--pci <setting>', 'whether the merchant may read PANs and CVVs by the API').choices(['on', 'off']),
    )
    .option('--enable', 'enable a disabled merchant; its credentials need new tokens')
    .action((merchantNo: string, options: UpdateOptions) =>
      withPlatform(async (platform) => {
        const change = changeOf(options);
        if (Object.keys(change).length === 0) throw new OperatorError('nothing to change was given');
        await updateMerchant(platform, merchantNo, change);
        print(`${merchantNo} updated`);
      }),
    );
}

function pinRunsOption(): Option {
  return new Option('--pin-runs <reading>', 'keypad if 8-9-0 counts as a run, arithmetic if not').choices([
    ...PIN_RUNS,
  ]);
}

interface CreateOptions {
  name: string;
  mode: IntegrationMode;
  pinRuns: PinRuns;
  pci?: boolean;
}

async function create(platform: OperatorPlatform, { name, mode, pinRuns, pci }: CreateOptions): Promise<void> {
  print(await createMerchant(platform, { name, integrationMode: mode, pinRuns, pciEnabled: pci ?? false }));
}

async function list({ db }: OperatorPlatform): Promise<void> {
  const merchants = await listMerchants(db);
  printTable(
    ['merchant', 'name', 'status', 'mode', 'pin runs', 'callbacks', 'credentials', 'pci', 'pin policies'],
    merchants.map((merchant) => [
      merchant.merchantNo,
      merchant.name,
      merchant.status,
      merchant.integrationMode,
      merchant.pinRuns,
      merchant.callbackActions,
      merchant.credentials,
      merchant.pciEnabled ? 'on' : 'off',
      policiesText(merchant.pinPolicies, merchant.pinHistory),
    ]),
  );
}

function policiesText(policies: PolicySettings, history: number): string {
  const inForce = Object.entries(policies).filter(([, mode]) => mode !== 'off');
  const texts = inForce.map(([name, mode]) => `${name}=${mode}${name === 'history' ? `:${history}` : ''}`);
  return texts.join(' ') || '-';
}

interface UpdateOptions {
  name?: string;
  pinRuns?: PinRuns;
  callbacks?: string[];
  pinPolicy?: PolicyChange;
  pci?: 'on' | 'off';
  enable?: boolean;
}

/** What `--pin-policy` changes. */
type PolicyChange = Pick<MerchantChange, 'pinPolicies' | 'pinHistory'>;

function changeOf({ name, pinRuns, callbacks, pinPolicy, pci, enable }: UpdateOptions): MerchantChange {
  return {
    ...(name !== undefined && { name }),
    ...(pinRuns !== undefined && { pinRuns }),
    ...(callbacks !== undefined && { callbackActions: callbacks }),
    ...pinPolicy,
    ...(pci !== undefined && { pciEnabled: pci === 'on' }),
    ...(enable && { status: 'Active' }),
  };
}

/** Always includes `Card_update`: every merchant with a callback URL gets its cards' statuses. */
function readActions(given: string): string[] {
  const names = given === 'none' ? [] : given.split(',');
  const known: readonly string[] = CALLBACK_ACTIONS;
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new InvalidArgumentError(`${unknown} is not one of ${CALLBACK_ACTIONS.join(', ')}.`);
  return CALLBACK_ACTIONS.filter((action) => action === 'Card_update' || names.includes(action));
}

/** Reads one setting, and adds it to those that came before. */
function readPolicies(given: string, before: PolicyChange | undefined): PolicyChange {
  const [, name = '', mode, , count] = /^([a-z-]+)=(off|warn|refuse)(:(\d{1,2}))?$/.exec(given) ?? [];
  const isKnown = (PIN_POLICY_NAMES as readonly string[]).includes(name);
  const history = Number(count ?? DEFAULT_HISTORY);
  const countFits = count === undefined || (name === 'history' && history >= 1 && history <= HISTORY_LIMIT);
  if (!isKnown || mode === undefined || !countFits)
    throw new InvalidArgumentError(
      `Give NAME=off, warn or refuse, where NAME is one of ${PIN_POLICY_NAMES.join(', ')}; ` +
        `history may have a number: history=MODE:1 to ${HISTORY_LIMIT}.`,
    );
  return {
    ...before,
    pinPolicies: { ...before?.pinPolicies, [name]: mode },
    ...(name === 'history' && { pinHistory: mode === 'off' ? 0 : history }),
  };
}
