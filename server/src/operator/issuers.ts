import type { Command } from 'commander';
import { createIssuer, endIssuer } from '../issuer/administer.ts';
import { listIssuers } from '../issuer/store.ts';
import { print, printTable, withPlatform } from './output.ts';

export function addIssuerCommands(program: Command): void {
  const issuer = program.command('issuer').description("issuers, who verify PINs of their merchants' cards");
  issuer
    .command('create')
    .description('make an issuer; its bearer secret is shown this once')
    .requiredOption('--name <name>', 'for people')
    .requiredOption('--merchant <merchants...>', 'whose cards it sees')
    .option('--allow-ip <entries...>', 'addresses and CIDR blocks that may call', [])
    .option('--client-cert <sha256>', 'SHA-256 of the client certificate that must come along, as a proxy of TRUST_PROXY tells it')
    .action((options: { name: string; merchant: string[]; allowIp: string[]; clientCert?: string }) =>
      withPlatform(async (platform) => {
        const { issuerNo, secret } = await createIssuer(platform, {
          name: options.name,
          merchants: options.merchant,
          ipAllowlist: options.allowIp,
          ...(options.clientCert !== undefined && { clientCert: options.clientCert }),
        });
        print(`issuer         ${issuerNo}\nbearer secret  ${secret.expose()}\nThe secret is not shown again.`);
        if (options.allowIp.length === 0) print('Nobody may call with it: make one with --allow-ip ADDRESS');
      }),
    );
  issuer.command('list').action(() =>
    withPlatform(async ({ db }) => {
      const rows = await listIssuers(db);
      printTable(
        ['issuer', 'name', 'status', 'merchants', 'allowlist', 'certificate', 'created'],
        rows.map((row) => [...row.slice(0, 5), row[5] ? 'wanted' : '-', row[6].toISOString()]),
      );
    }),
  );
  issuer.command('disable <issuer>').action((issuerNo: string) =>
    withPlatform(async (platform) => {
      await endIssuer(platform, issuerNo);
      print(`${issuerNo} disabled: its secret answers 5001`);
    }),
  );
}
