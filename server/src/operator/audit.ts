import { once } from 'node:events';
import { type Command, InvalidArgumentError } from 'commander';
import { exportAudit } from '../audit/export-audit.ts';
import { pruneAudit } from '../audit/prune-audit.ts';
import { signAuditHeads } from '../audit/sign-heads.ts';
import { atOneMoment } from '../audit/store.ts';
import { verifyAudit } from '../audit/verify-audit.ts';
import { OperatorError } from '../merchants/administer.ts';
import { readUtcDate } from '../utc-time.ts';
import { print, withPlatform } from './output.ts';

export function addAuditCommands(program: Command): void {
  const audit = program.command('audit').description('the audit trail');
  audit
    .command('verify')
    .description('walk every chain and name the first break of each; status 1 if there is one')
    .action(() =>
      withPlatform(async ({ db, keys }) => {
        const { chains, records, signings, breaks } = await atOneMoment(db, (moment) => verifyAudit(moment, keys));
        const what = `${records} records in ${chains} chains, ${signings} signings`;
        if (breaks.length > 0)
          throw new OperatorError(`the audit trail is broken:\n${breaks.map((one) => `  - ${one}`).join('\n')}\n(${what})`);
        print(`the audit trail is whole: ${what}`);
      }),
    );
  audit
    .command('export')
    .description('every record as JSON lines, with signings and their public keys')
    .option('--since <date>', 'records of this day and later: yyyy-mm-dd', readDate, 0)
    .action((options: { since: number }) =>
      withPlatform(async ({ db, keys }) => {
        await atOneMoment(db, async (moment) => {
          for await (const line of exportAudit(moment, keys, options.since))
            if (!process.stdout.write(line)) await once(process.stdout, 'drain');
        });
      }),
    );
  audit
    .command('sign')
    .description('sign the heads of the chains that changed; the platform does it once a day')
    .action(() =>
      withPlatform(async ({ db, keys, now }) => {
        const chains = await signAuditHeads(db, keys, now);
        print(chains === 0 ? 'nothing to sign: no chain has changed' : `the heads of ${chains} chains are signed`);
      }),
    );
  audit
    .command('prune')
    .description('take old records away, leaving a signed checkpoint in each chain')
    .requiredOption('--before <date>', 'yyyy-mm-dd', readDate)
    .action((options: { before: number }) =>
      withPlatform(async ({ db, keys, now }) => {
        print(`${await pruneAudit(db, keys, now, options.before)} records are gone; the checkpoints stand in for them`);
      }),
    );
}

function readDate(given: string): number {
  const ms = readUtcDate(given);
  if (ms === undefined) throw new InvalidArgumentError('That is no date.');
  return ms;
}
