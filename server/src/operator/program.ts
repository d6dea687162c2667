import { Command } from 'commander';
import { readConfig } from '../config.ts';
import { migrate } from '../db/migrate.ts';
import { OperatorError } from '../merchants/administer.ts';
import { openDatabaseOf } from '../platform.ts';
import { resetSandbox } from '../sandbox/seed.ts';
import { version } from '../version.ts';
import { addAuditCommands } from './audit.ts';
import { addCallbackCommands } from './callbacks.ts';
import { addCardCommands } from './cards.ts';
import { addIssuerCommands } from './issuers.ts';
import { addKeyCommands } from './keys.ts';
import { addCredentialCommands, addMerchantCommands } from './merchants.ts';
import { print, withPlatform } from './output.ts';
import { addPolicyCommands } from './policy.ts';
import { addProductCommands } from './products.ts';

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

  addKeyCommands(program);
  addMerchantCommands(program);
  addCredentialCommands(program);
  addIssuerCommands(program);
  addProductCommands(program);
  addCardCommands(program);
  addPolicyCommands(program);
  addCallbackCommands(program);
  addAuditCommands(program);

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
