import { PIN_ENVELOPES, type PinEnvelope } from '@pinward/contract/pin-envelope';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { findSignedBy } from '../callbacks/store.ts';
import { changeAllowlist } from '../merchants/change-allowlist.ts';
import { createCredential } from '../merchants/create-credential.ts';
import { disableCredential } from '../merchants/disable-credential.ts';
import { setEnvelopes } from '../merchants/set-envelopes.ts';
import { listCredentials } from '../merchants/store.ts';
import { Secret } from '../secret.ts';
import { readUtcTime } from '../utc-time.ts';
import { readInput } from './input.ts';
import { type OperatorPlatform, print, printTable, timeText, withPlatform } from './output.ts';

const SECRET_LIMIT_BYTES = 4_096;

export function addCredentialCommands(program: Command): void {
  const credential = program.command('credential').description("merchants' credentials");
  credential
    .command('create')
    .description('create a credential; its secret is shown only once')
    .requiredOption('--merchant <merchant>', 'the merchant that it belongs to')
    .option('--allow-ip <entries...>', 'addresses and CIDR blocks that may call', [])
    .addOption(new Option('--expires <time>', 'ISO 8601 in UTC, for example 2027-12-31T00:00:00Z').argParser(readTime))
    .option(
      '--import <api-key>',
      'take over a credential from another platform; its secret is read from standard input',
    )
    .action((options: CreateOptions) => withPlatform((platform) => create(platform, options)));
  credential
    .command('list')
    .description('list all credentials')
    .option('--merchant <merchant>', 'only those of one merchant')
    .action((options: { merchant?: string }) => withPlatform((platform) => list(platform, options.merchant)));
  credential
    .command('envelope <api-key>')
    .description('set how the PINs of a credential travel, and the weakest envelope that is accepted')
    .addOption(envelopeOption('--default <envelope>', 'the envelope of a call that names none'))
    .addOption(envelopeOption('--minimum <envelope>', 'weaker envelopes are refused'))
    .action((apiKey: string, options: { default?: PinEnvelope; minimum?: PinEnvelope }) =>
      withPlatform(async (platform) => {
        const given = { envelope: options.default, minimum: options.minimum };
        const { envelope, minimum } = await setEnvelopes(platform, apiKey, given);
        print(`${apiKey}: ${envelope}, and nothing weaker than ${minimum}`);
      }),
    );
  credential
    .command('disable <api-key>')
    .description('disable a credential for good and end its tokens')
    .action((apiKey: string) => withPlatform((platform) => disable(platform, apiKey)));
  credential
    .command('allow-ip <api-key> <entries...>')
    .description('add addresses and CIDR blocks to the allowlist')
    .option('--remove', 'remove them instead')
    .action((apiKey: string, entries: string[], options: { remove?: boolean }) =>
      withPlatform(async (platform) => {
        const change = options.remove ? { remove: entries } : { add: entries };
        const allowlist = await changeAllowlist(platform, apiKey, change);
        print(`${apiKey} may be used from: ${allowlist.join(', ') || '(nowhere)'}`);
      }),
    );
}

function envelopeOption(flags: string, description: string): Option {
  return new Option(flags, description).choices([...PIN_ENVELOPES]);
}

interface CreateOptions {
  merchant: string;
  allowIp: string[];
  expires?: number;
  import?: string;
}

async function create(platform: OperatorPlatform, options: CreateOptions): Promise<void> {
  const { merchant, allowIp, expires, import: importedKey } = options;
  const { apiKey, apiSecret } = await createCredential(platform, {
    merchantNo: merchant,
    ipAllowlist: allowIp,
    ...(expires !== undefined && { expiresAtMs: expires }),
    ...(importedKey !== undefined && { apiKey: importedKey, apiSecret: await readSecret() }),
  });
  print(`Api-Key    ${apiKey}`);
  if (importedKey === undefined) print(`apiSecret  ${apiSecret.expose()}\nThe secret is not shown again.`);
  if (allowIp.length === 0) print(`Nobody may call with it yet: pinward-server credential allow-ip ${apiKey} ADDRESS`);
}

async function readSecret(): Promise<Secret<string>> {
  return new Secret((await readInput(SECRET_LIMIT_BYTES)).trim());
}

async function list({ db }: OperatorPlatform, merchantNo: string | undefined): Promise<void> {
  const credentials = await listCredentials(db, merchantNo);
  printTable(
    ['Api-Key', 'merchant', 'status', 'expires', 'allowlist', 'created', 'envelope', 'minimum'],
    credentials.map((credential) => [
      credential.apiKey,
      credential.merchantNo,
      credential.status,
      credential.expiresAtMs === null ? 'never' : timeText(credential.expiresAtMs),
      credential.ipAllowlist,
      timeText(credential.createdAtMs),
      credential.pinEnvelope,
      credential.pinEnvelopeMinimum,
    ]),
  );
}

async function disable(platform: OperatorPlatform, apiKey: string): Promise<void> {
  await disableCredential(platform, apiKey);
  print(`${apiKey} disabled: it answers 1010, its tokens are ended`);
  const merchantNo = await findSignedBy(platform.db, apiKey);
  if (merchantNo === undefined) return;
  const command = `pinward-server callbacks configure ${merchantNo} --credential NEW_API_KEY`;
  print(`It still signs the callbacks; to cut over: ${command}`);
}

function readTime(given: string): number {
  const [, minute, seconds = ':00'] = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2})(:\d{2})?Z$/.exec(given) ?? [];
  const ms = readUtcTime(`${minute}${seconds}.000Z`);
  if (ms === undefined) throw new InvalidArgumentError('That is not an ISO 8601 time in UTC.');
  return ms;
}
