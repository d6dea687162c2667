import type { Command } from 'commander';
import { withPlatform } from './output.ts';

export function addCardCommands(program: Command): void {
  program
    .command('cards')
    .description('cards')
    .command('import <file>')
    .description(
      'import cards that exist elsewhere, from a file of JSON lines ("-" is standard input); ' +
        'each line is the body of an issuer call card/import',
    )
    .requiredOption('--issuer <issuer>', "the issuer of the cards' BINs")
    .action((file: string, options: { issuer: string }) =>
      withPlatform(async (platform) => {
        // Its schemas take longer to load than other commands take to run.
        const { importCards } = await import('./import-cards.ts');
        await importCards(platform, file, options.issuer);
      }),
    );
}
