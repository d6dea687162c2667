import { Command } from 'commander';
import { readConfig } from '../config.ts';
import { migrate } from '../db/migrate.ts';
import { OperatorError } from '../operator-error.ts';
import { openDatabaseOf } from '../platform.ts';
import { resetSandbox } from '../sandbox/seed.ts';
import { requireUtf8Arguments } from '../text.ts';
import { version } from '../version.ts';
import { addAuditCommands } from './audit.ts';
import { addCallbackCommands } from './callbacks.ts';
import { addCardCommands } from './cards.ts';
import { addCredentialCommands } from './credentials.ts';
import { addIssuerCommands } from './issuers.ts';
import { addKeyCommands } from './keys.ts';
import { addMerchantCommands } from './merchants.ts';
import { type OperatorPlatform, print, withPlatform } from './output.ts';
import { addPolicyCommands } from './policy.ts';
import { addProductCommands } from './products.ts';

/**
 * The operators' command line. `serve` is main.ts's; every other command works, prints and ends.
 */
export function operatorProgram(serve: () => Promise<void>): Command {
  const program = new Command('pinward-server')
    .description('Pinward, a card-issuing open platform')
    .version(version)
    .configureOutput({ outputError: (text, write) => write(`pinward-server: ${usageFault(text)}\n`) })
    .hook('preAction', () => requireUtf8Arguments(process.argv));
  program.command('serve').description('run the platform').action(serve);
  program
    .command('migrate')
    .description('bring the database to the schema of this version; run it with every new version, before it serves')
    .action(migrateDatabase);
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
    .description('make the sandbox world new: all changes are lost')
    .action(() => withPlatform(reset));
  return program;
}

/** Commander's words, in one line and without its `error:`. */
function usageFault(text: string): string {
  return `${text
    .trim()
    .replace(/^error: |\.$/g, '')
    .replaceAll(/\s+/g, ' ')}; --help shows what there is`;
}

async function migrateDatabase(): Promise<void> {
  const { db, close } = await openDatabaseOf(readConfig());
  try {
    const names = await migrate(db);
    if (names.length === 0) print('nothing to do: the schema is up to date');
    for (const name of names) print(`applied ${name}`);
  } finally {
    await close();
  }
}

async function reset({ db, keys, config }: OperatorPlatform): Promise<void> {
  if (config.mode !== 'sandbox') throw new OperatorError('there is no sandbox in production mode; nothing was changed');
  await resetSandbox(db, keys);
  print('the sandbox is as new');
}
