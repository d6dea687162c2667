import { text as readAll } from 'node:stream/consumers';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { CALLBACK_ACTIONS, findSignedBy } from '../callbacks/store.ts';
import {
  changeAllowlist,
  changeEnvelopes,
  changeMerchant,
  createCredential,
  createMerchant,
  endCredential,
  OperatorError,
} from '../merchants/administer.ts';
import { type IntegrationMode, listCredentials, listMerchants, type MerchantChange } from '../merchants/store.ts';
import { PIN_ENVELOPES, type PinEnvelope } from '../pins/pin-envelope.ts';
import { PIN_POLICIES, type PolicySettings } from '../pins/pin-policies.ts';
import type { PinRuns } from '../pins/pin-policy.ts';
import { Secret } from '../secret.ts';
import { readUtcTime } from '../utc-time.ts';
import { print, printTable, withPlatform } from './output.ts';

export function addMerchantCommands(program: Command): void {
  const merchant = program.command('merchant').description('merchants');
  const pinRuns = () => new Option('--pin-runs <reading>', 'whether 8-9-0 is a run').choices(['arithmetic', 'keypad']);
  const callbacks = () =>
    new Option(
      '--callbacks <actions>',
      `what the merchant hears of besides Card_update, by commas: ${CALLBACK_ACTIONS.slice(1).join(', ')}; "none" for no more`,
    ).argParser(readActions);

  merchant
    .command('create')
    .requiredOption('--name <name>', 'for people')
    .addOption(new Option('--mode <mode>', 'integration mode').choices(['AUTHORIZATION', 'CREDIT_EXTENSION']).default('AUTHORIZATION'))
    .addOption(pinRuns().default('arithmetic'))
    .option('--pci', 'may read PANs and CVVs by the API')
    .action((options: { name: string; mode: IntegrationMode; pinRuns: PinRuns; pci?: boolean }) =>
      withPlatform(async (platform) => {
        print(
          await createMerchant(platform, {
            name: options.name,
            integrationMode: options.mode,
            pinRuns: options.pinRuns,
            pciEnabled: options.pci ?? false,
          }),
        );
      }),
    );
  merchant.command('list').action(() =>
    withPlatform(async ({ db }) => {
      const rows = await listMerchants(db);
      printTable(
        ['merchant', 'name', 'status', 'mode', 'pin runs', 'callbacks', 'credentials', 'pci', 'pin policies'],
        rows.map((row) => [...row.slice(0, 7), row[9] ? 'on' : 'off', policiesText(row[7], row[8])]),
      );
    }),
  );
  merchant
    .command('update <merchant>')
    .option('--name <name>')
    .addOption(pinRuns())
    .addOption(callbacks())
    .addOption(
      new Option(
        '--pin-policy <settings...>',
        `NAME=off, warn or refuse, of ${PIN_POLICIES.join(', ')}; history with a number: history=refuse:4 looks at the last four PINs`,
      ).argParser(readPolicies),
    )
    .addOption(new Option('--pci <whether>', 'whether it may read PANs and CVVs by the API').choices(['on', 'off']))
    .option('--enable', 'bring a disabled merchant back; its credentials must fetch new tokens')
    .action(
      (
        merchantNo: string,
        options: { name?: string; pinRuns?: PinRuns; callbacks?: string[]; pinPolicy?: Policies; pci?: string; enable?: boolean },
      ) =>
        withPlatform(async (platform) => {
          const change: MerchantChange = {
            ...(options.name !== undefined && { name: options.name }),
            ...(options.pinRuns !== undefined && { pinRuns: options.pinRuns }),
            ...(options.callbacks !== undefined && { callbackActions: options.callbacks }),
            ...options.pinPolicy,
            ...(options.pci !== undefined && { pciEnabled: options.pci === 'on' }),
            ...(options.enable && { status: 'Active' as const }),
          };
          if (Object.keys(change).length === 0) throw new OperatorError('nothing to change was given');
          await changeMerchant(platform, merchantNo, change);
          print(`${merchantNo} updated`);
        }),
    );
  merchant.command('disable <merchant>').action((merchantNo: string) =>
    withPlatform(async (platform) => {
      await changeMerchant(platform, merchantNo, { status: 'Disabled' });
      print(`${merchantNo} disabled: its credentials answer 1022, its tokens are ended`);
    }),
  );
}

export function addCredentialCommands(program: Command): void {
  const credential = program.command('credential').description("merchants' credentials");
  credential
    .command('create')
    .description('make a credential; its secret is shown this once')
    .requiredOption('--merchant <merchant>')
    .option('--allow-ip <entries...>', 'addresses and CIDR blocks that may call', [])
    .addOption(new Option('--expires <time>', 'ISO 8601, e.g. 2027-12-31T00:00:00Z').argParser(readTime))
    .option('--import <api-key>', 'bring a credential along from another platform; its secret is read from standard input')
    .action((options: { merchant: string; allowIp: string[]; expires?: number; import?: string }) =>
      withPlatform(async (platform) => {
        const imported =
          options.import === undefined ? {} : { apiKey: options.import, apiSecret: new Secret((await readAll(process.stdin)).trim()) };
        const made = await createCredential(platform, {
          merchantNo: options.merchant,
          ipAllowlist: options.allowIp,
          ...(options.expires !== undefined && { expiresAtMs: options.expires }),
          ...imported,
        });
        print(`Api-Key    ${made.apiKey}`);
        if (options.import === undefined) print(`apiSecret  ${made.apiSecret.expose()}\nThe secret is not shown again.`);
        if (options.allowIp.length === 0) print(`Nobody may call with it yet: pinward-server credential allow-ip ${made.apiKey} ADDRESS`);
      }),
    );
  credential
    .command('list')
    .option('--merchant <merchant>', 'of one merchant')
    .action((options: { merchant?: string }) =>
      withPlatform(async ({ db }) => {
        const rows = await listCredentials(db, options.merchant);
        printTable(
          ['Api-Key', 'merchant', 'status', 'expires', 'allowlist', 'created', 'envelope', 'minimum'],
          rows.map(([apiKey, merchantNo, status, expiresAt, allowlist, createdAt, envelope, minimum]) => [
            apiKey,
            merchantNo,
            status,
            expiresAt?.toISOString() ?? 'never',
            allowlist,
            createdAt.toISOString(),
            envelope,
            minimum,
          ]),
        );
      }),
    );
  credential
    .command('envelope <api-key>')
    .description("how the credential's PINs travel, and the weakest envelope that is taken")
    .addOption(new Option('--default <envelope>', 'meant where a call does not say').choices([...PIN_ENVELOPES]))
    .addOption(new Option('--minimum <envelope>', 'weaker ones are refused').choices([...PIN_ENVELOPES]))
    .action((apiKey: string, options: { default?: PinEnvelope; minimum?: PinEnvelope }) =>
      withPlatform(async (platform) => {
        const { envelope, minimum } = await changeEnvelopes(platform, apiKey, { envelope: options.default, minimum: options.minimum });
        print(`${apiKey}: ${envelope}, and nothing weaker than ${minimum}`);
      }),
    );
  credential.command('disable <api-key>').action((apiKey: string) =>
    withPlatform(async (platform) => {
      await endCredential(platform, apiKey);
      print(`${apiKey} disabled: it answers 1010, its tokens are ended`);
      const merchantNo = await findSignedBy(platform.db, apiKey);
      if (merchantNo !== undefined)
        print(`It still signs the callbacks; to cut over: pinward-server callbacks configure ${merchantNo} --credential NEW_API_KEY`);
    }),
  );
  credential
    .command('allow-ip <api-key> <entries...>')
    .description('add addresses and CIDR blocks to the allowlist')
    .option('--remove', 'take them away instead')
    .action((apiKey: string, entries: string[], options: { remove?: boolean }) =>
      withPlatform(async (platform) => {
        print(
          `${apiKey} may be used from: ${(await changeAllowlist(platform, apiKey, entries, options.remove ?? false)).join(', ') || '(nowhere)'}`,
        );
      }),
    );
}

/** Every merchant with an address hears of its cards' statuses; the rest is as it is given. */
function readActions(given: string): string[] {
  const asked = given === 'none' ? [] : given.split(',');
  const unknown = asked.find((action) => !(CALLBACK_ACTIONS as readonly string[]).includes(action));
  if (unknown !== undefined) throw new InvalidArgumentError(`${unknown} is none of ${CALLBACK_ACTIONS.join(', ')}.`);
  return CALLBACK_ACTIONS.filter((action) => action === 'Card_update' || asked.includes(action));
}

function readTime(given: string): number {
  const [, minute, seconds = ':00'] = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2})(:\d{2})?Z$/.exec(given) ?? [];
  const ms = readUtcTime(`${minute}${seconds}.000Z`);
  if (ms === undefined) throw new InvalidArgumentError('That is no ISO 8601 time in UTC.');
  return ms;
}

/** What `--pin-policy` changes. */
type Policies = Pick<MerchantChange, 'pinPolicies' | 'pinHistory'>;

const MOST_HISTORY = 24;
const USUAL_HISTORY = 4;

function readPolicies(given: string, before: Policies | undefined): Policies {
  const [, name = '', mode, , count] = /^([a-z-]+)=(off|warn|refuse)(:(\d{1,2}))?$/.exec(given) ?? [];
  const known = (PIN_POLICIES as readonly string[]).includes(name);
  const history = Number(count ?? USUAL_HISTORY);
  if (!known || mode === undefined || (count !== undefined && name !== 'history') || history < 1 || history > MOST_HISTORY)
    throw new InvalidArgumentError(`Wanted is NAME=off, warn or refuse, of ${PIN_POLICIES.join(', ')}; history=MODE:1 to ${MOST_HISTORY}.`);
  return {
    ...before,
    pinPolicies: { ...before?.pinPolicies, [name]: mode },
    ...(name === 'history' && { pinHistory: mode === 'off' ? 0 : history }),
  };
}

function policiesText(policies: PolicySettings, history: number): string {
  const inForce = Object.entries(policies).filter(([, mode]) => mode !== 'off');
  return inForce.map(([name, mode]) => `${name}=${mode}${name === 'history' ? `:${history}` : ''}`).join(' ') || '-';
}
