import { type Command, InvalidArgumentError } from 'commander';
import { exportAudit } from '../audit/export-audit.ts';
import { pruneAudit } from '../audit/prune-audit.ts';
import { signAuditHeads } from '../audit/sign-heads.ts';
import { atOneMoment } from '../audit/store.ts';
import { verifyAudit } from '../audit/verify-audit.ts';
import { OperatorError } from '../operator-error.ts';
import { readUtcDate } from '../utc-time.ts';
import { type OperatorPlatform, print, printSlowly, withPlatform } from './output.ts';

export function addAuditCommands(program: Command): void {
  const audit = program.command('audit').description('the audit trail');
  audit
    .command('verify')
    .description('check every chain and name the first break of each; the exit status is 1 if there is one')
    .action(() => withPlatform(verify));
  audit
    .command('export')
    .description('print every record as JSON lines, with the signings and their public keys')
    .option('--since <date>', 'only records of this day and later: yyyy-mm-dd', readDate, 0)
    .action((options: { since: number }) => withPlatform((platform) => exportSince(platform, options.since)));
  audit
    .command('sign')
    .description('sign the heads of the chains that changed; the platform does this by itself once a day')
    .action(() =>
      withPlatform(async ({ db, keys, now }) => {
        const chains = await signAuditHeads(db, keys, now);
        print(chains === 0 ? 'nothing to sign: no chain has changed' : `the heads of ${chains} chains are signed`);
      }),
    );
  audit
    .command('prune')
    .description('delete old records and leave a signed checkpoint in each chain')
    .requiredOption('--before <date>', 'the first day whose records stay: yyyy-mm-dd', readDate)
    .action((options: { before: number }) =>
      withPlatform(async ({ db, keys, now }) => {
        const deleted = await pruneAudit(db, keys, now, options.before);
        print(`${deleted} records are deleted; signed checkpoints replace them`);
      }),
    );
}

async function verify({ db, keys }: OperatorPlatform): Promise<void> {
  const { chains, records, signings, breaks } = await atOneMoment(db, (snapshot) => verifyAudit(snapshot, keys));
  const counts = `${records} records in ${chains} chains, ${signings} signings`;
  if (breaks.length === 0) return print(`the audit trail is whole: ${counts}`);
  const list = breaks.map((text) => `  - ${text}`).join('\n');
  throw new OperatorError(`the audit trail is broken:\n${list}\n(${counts})`);
}

/** Waits while the reader is slow: the trail may be larger than the memory. */
async function exportSince({ db, keys }: OperatorPlatform, sinceMs: number): Promise<void> {
  await atOneMoment(db, async (snapshot) => {
    for await (const line of exportAudit(snapshot, keys, sinceMs)) await printSlowly(line);
  });
}

function readDate(given: string): number {
  const ms = readUtcDate(given);
  if (ms === undefined) throw new InvalidArgumentError('That is not a date.');
  return ms;
}
