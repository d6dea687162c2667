import { text as readAll } from 'node:stream/consumers';
import { Command, InvalidArgumentError, Option } from 'commander';
import { CALLBACK_ACTIONS } from './callbacks/store.ts';
import { readConfig } from './config.ts';
import { isDuplicate } from './db/database.ts';
import { migrate } from './db/migrate.ts';
import { createKeyFile } from './keys/key-file.ts';
import { changeAllowlist, changeMerchant, createCredential, createMerchant, endCredential, OperatorError } from './merchants/administer.ts';
import { type IntegrationMode, listCredentials, listMerchants, type MerchantChange } from './merchants/store.ts';
import type { PinRuns } from './pins/pin-policy.ts';
import { openDatabaseOf, openPlatform, type Platform } from './platform.ts';
import { resetSandbox } from './sandbox/seed.ts';
import { Secret } from './secret.ts';
import { version } from './version.ts';

/** The command line of operators. `serve` is main.ts's; everything else runs, prints and ends. */
export function operatorProgram(serve: () => Promise<void>): Command {
  const program = new Command('pinward-server').description('Pinward, a card-issuing open platform').version(version).showHelpAfterError();
  program.command('serve').description('run the platform').action(serve);

  program
    .command('migrate')
    .description('bring the database to the schema of this program')
    .action(async () => {
      const { db, close } = await openDatabaseOf(readConfig());
      try {
        const names = await migrate(db);
        print(names.length === 0 ? 'nothing to do: the schema is up to date' : names.map((name) => `applied ${name}`).join('\n'));
      } finally {
        await close();
      }
    });

  const keys = program.command('keys').description('the key file');
  keys
    .command('init')
    .description('make the key file, with a fresh key for each purpose')
    .action(async () => {
      const { kek, keyFile, mode } = readConfig();
      if (kek === undefined)
        throw new OperatorError(mode === 'sandbox' ? 'the sandbox makes its keys at its first start' : 'a key-encryption key is missing');
      try {
        await createKeyFile(keyFile, kek, new Date());
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST')
          throw new OperatorError(`there is a key file at ${keyFile} already; nothing was changed`);
        throw error;
      }
      print(`made ${keyFile}\nKeep a copy: without it, and the key-encryption key, the database cannot be used.`);
    });

  addMerchantCommands(program);
  addCredentialCommands(program);

  program
    .command('sandbox')
    .description('the sandbox world')
    .command('reset')
    .description('bring the sandbox world back as new')
    .action(() =>
      withPlatform(async ({ db, keys: platformKeys, config }) => {
        if (config.mode !== 'sandbox') throw new OperatorError('there is no sandbox in production mode; nothing was changed');
        await resetSandbox(db, platformKeys);
        print('the sandbox is as new');
      }),
    );
  return program;
}

function addMerchantCommands(program: Command): void {
  const merchant = program.command('merchant').description('merchants');
  const pinRuns = () => new Option('--pin-runs <reading>', 'whether 8-9-0 is a run').choices(['arithmetic', 'keypad']);
  const callbacks = () =>
    new Option('--callbacks <actions>', `what the merchant takes, by commas: ${CALLBACK_ACTIONS.join(', ')}; "none" for nothing`).argParser(
      readActions,
    );

  merchant
    .command('create')
    .requiredOption('--name <name>', 'for people')
    .addOption(new Option('--mode <mode>', 'integration mode').choices(['AUTHORIZATION', 'CREDIT_EXTENSION']).default('AUTHORIZATION'))
    .addOption(pinRuns().default('arithmetic'))
    .addOption(callbacks().default([], 'none'))
    .action((options: { name: string; mode: IntegrationMode; pinRuns: PinRuns; callbacks: string[] }) =>
      withPlatform(async (platform) => {
        print(
          await createMerchant(platform, {
            name: options.name,
            integrationMode: options.mode,
            pinRuns: options.pinRuns,
            callbackActions: options.callbacks,
          }),
        );
      }),
    );
  merchant.command('list').action(() =>
    withPlatform(async ({ db }) => {
      printTable(['merchant', 'name', 'status', 'mode', 'pin runs', 'callbacks', 'credentials'], await listMerchants(db));
    }),
  );
  merchant
    .command('update <merchant>')
    .option('--name <name>')
    .addOption(pinRuns())
    .addOption(callbacks())
    .option('--enable', 'bring a disabled merchant back; its credentials must fetch new tokens')
    .action((merchantNo: string, options: { name?: string; pinRuns?: PinRuns; callbacks?: string[]; enable?: boolean }) =>
      withPlatform(async (platform) => {
        const change: MerchantChange = {
          ...(options.name !== undefined && { name: options.name }),
          ...(options.pinRuns !== undefined && { pinRuns: options.pinRuns }),
          ...(options.callbacks !== undefined && { callbackActions: options.callbacks }),
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

function addCredentialCommands(program: Command): void {
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
          ['Api-Key', 'merchant', 'status', 'expires', 'allowlist', 'created'],
          rows.map(([apiKey, merchantNo, status, expiresAt, allowlist, createdAt]) => [
            apiKey,
            merchantNo,
            status,
            expiresAt?.toISOString() ?? 'never',
            allowlist,
            createdAt.toISOString(),
          ]),
        );
      }),
    );
  credential.command('disable <api-key>').action((apiKey: string) =>
    withPlatform(async (platform) => {
      await endCredential(platform, apiKey);
      print(`${apiKey} disabled: it answers 1010, its tokens are ended`);
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

async function withPlatform(
  work: (platform: Platform & { config: ReturnType<typeof readConfig>; now: () => number }) => Promise<void>,
): Promise<void> {
  const config = readConfig();
  const platform = await openPlatform(config);
  try {
    await work({ ...platform, config, now: Date.now });
  } catch (error) {
    if (isDuplicate(error)) throw new OperatorError('that exists already; nothing was changed');
    throw error;
  } finally {
    await platform.close();
  }
}

function readActions(given: string): string[] {
  const actions = given === 'none' ? [] : given.split(',');
  const unknown = actions.find((action) => !(CALLBACK_ACTIONS as readonly string[]).includes(action));
  if (unknown !== undefined) throw new InvalidArgumentError(`${unknown} is none of ${CALLBACK_ACTIONS.join(', ')}.`);
  return actions;
}

function readTime(given: string): number {
  const ms = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?Z$/.test(given) ? Date.parse(given) : Number.NaN;
  // Date.parse takes 31 February for 3 March: what it read must be what was written.
  if (Number.isNaN(ms) || !new Date(ms).toISOString().startsWith(given.slice(0, 16)))
    throw new InvalidArgumentError('That is no ISO 8601 time in UTC.');
  return ms;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function printTable(head: string[], rows: unknown[][]): void {
  const lines = [head, ...rows.map((row) => row.map((cell) => (Array.isArray(cell) ? cell.join(' ') || '-' : String(cell))))];
  const widths = head.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  for (const line of lines)
    print(
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
}
