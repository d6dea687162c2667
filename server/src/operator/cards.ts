import type { Command } from 'commander';
import { withPlatform } from './output.ts';

export function addCardCommands(program: Command): void {
  program
    .command('cards')
    .description('cards')
    .command('import <file>')
    .description('bring in cards that are out already: JSON lines, each as the body of the issuer call card/import; "-" is standard input')
    .requiredOption('--issuer <issuer>', 'whose BINs they are of')
    .action((file: string, options: { issuer: string }) =>
      withPlatform(async (platform) => {
        const { importCards } = await import('./import-cards.ts'); // its schemas take longer to load than other commands to run
        await importCards(platform, file, options.issuer);
      }),
    );
}
