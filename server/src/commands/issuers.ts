import type { Command } from 'commander';
import { createIssuer } from '../issuers/create-issuer.ts';
import { disableIssuer } from '../issuers/disable-issuer.ts';
import { listIssuers } from '../issuers/store.ts';
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
