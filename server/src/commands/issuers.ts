import type { Command } from 'commander';
import { createIssuer } from '../issuers/create-issuer.ts';
import { disableIssuer } from '../issuers/disable-issuer.ts';
import { findIssuerScope, listIssuers } from '../issuers/store.ts';
import { OperatorError } from '../operator-error.ts';
import { isLimited, listCounts } from '../pins/malformed-blocks.ts';
import { resetBlockCounts } from '../pins/reset-block-counts.ts';
import { type OperatorPlatform, print, printTable, timeText, withPlatform } from './output.ts';

export function addIssuerCommands(program: Command): void {
  const issuer = program.command('issuer').description("issuers, who verify the PINs of their merchants' cards");
  issuer
    .command('create')
    .description('create an issuer; its bearer secret is shown only once')
    .requiredOption('--name <name>', 'a name for people')
    .requiredOption('--merchant <merchants...>', 'the merchants whose cards it sees')
    .option('--allow-ip <entries...>', 'addresses and CIDR blocks that may call', [])
    .option(
      '--client-cert <sha256>',
      'SHA-256 of the client certificate that each call must present, as a proxy of TRUST_PROXY reports it',
    )
    .action((options: CreateOptions) => withPlatform((platform) => create(platform, options)));
  issuer
    .command('list')
    .description('list all issuers')
    .action(() => withPlatform(list));
  issuer
    .command('disable <issuer>')
    .description('disable an issuer; its secret is refused from then on')
    .action((issuerNo: string) =>
      withPlatform(async (platform) => {
        await disableIssuer(platform, issuerNo);
        print(`${issuerNo} disabled: its secret answers 5001`);
      }),
    );
  const limits = issuer.command('limits').description('cards, callers and zone keys with malformed PIN blocks');
  limits
    .command('list <issuer>')
    .description('list those with malformed blocks in the last hour, and which of them answer 1009')
    .action((issuerNo: string) => withPlatform((platform) => listLimits(platform, issuerNo)));
  limits
    .command('reset <issuer> <counted> <name>')
    .description('forget the malformed blocks of a card, a caller or a zone_key, as `limits list` names it')
    .action((issuerNo: string, counted: string, name: string) =>
      withPlatform(async (platform) => {
        if (counted !== 'card' && counted !== 'caller' && counted !== 'zone_key')
          throw new OperatorError(`${counted} is not card, caller or zone_key`);
        await resetBlockCounts(platform, issuerNo, { counted, name });
        print(`${counted} ${name}: reset`);
      }),
    );
}

interface CreateOptions {
  name: string;
  merchant: string[];
  allowIp: string[];
  clientCert?: string;
}

async function create(
  platform: OperatorPlatform,
  { name, merchant, allowIp, clientCert }: CreateOptions,
): Promise<void> {
  const { issuerNo, secret } = await createIssuer(platform, {
    name,
    merchants: merchant,
    ipAllowlist: allowIp,
    ...(clientCert !== undefined && { clientCert }),
  });
  print(`issuer         ${issuerNo}\nbearer secret  ${secret.expose()}\nThe secret is not shown again.`);
  if (allowIp.length === 0) print('No address may call with it: create one with --allow-ip ADDRESS');
}

async function listLimits({ db, config, now }: OperatorPlatform, issuerNo: string): Promise<void> {
  const issuer = await findIssuerScope(db, issuerNo);
  if (issuer === undefined) throw new OperatorError(`there is no issuer ${issuerNo}`);
  const counts = await listCounts(db, issuer, now());
  printTable(
    ['counted', 'name', 'malformed', 'blocks', 'since', 'answers'],
    counts.map(({ counted, name, ...found }) => [
      counted,
      name,
      found.malformed,
      counted === 'card' ? '-' : found.blocks,
      timeText(found.sinceMs),
      isLimited(counted, found, config.limits.malformedBlocksPerHour) ? '1009' : '-',
    ]),
  );
}

async function list({ db }: OperatorPlatform): Promise<void> {
  const issuers = await listIssuers(db);
  printTable(
    ['issuer', 'name', 'status', 'merchants', 'allowlist', 'certificate', 'created'],
    issuers.map((issuer) => [
      issuer.issuerNo,
      issuer.name,
      issuer.status,
      issuer.merchants,
      issuer.ipAllowlist,
      issuer.needsCertificate ? 'required' : '-',
      timeText(issuer.createdAtMs),
    ]),
  );
}
