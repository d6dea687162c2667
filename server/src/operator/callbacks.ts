import { randomUUID } from 'node:crypto';
import { type Command, Option } from 'commander';
import { configureCallbacks, retryCallbacks } from '../callbacks/administer.ts';
import { createDelivery } from '../callbacks/deliver.ts';
import { openEndpoint } from '../callbacks/send-callbacks.ts';
import { CALLBACK_STATES, type CallbackState, listEvents } from '../callbacks/store.ts';
import { OperatorError } from '../merchants/administer.ts';
import { findMerchantId } from '../merchants/store.ts';
import { print, printTable, withPlatform } from './output.ts';

const MOST_LISTED = 100;

export function addCallbackCommands(program: Command): void {
  const callbacks = program.command('callbacks').description('what merchants are told');
  callbacks
    .command('configure <merchant>')
    .description('where the callbacks go, and whose secret signs them')
    .option('--url <url>', 'https; in a sandbox http and this machine too')
    .option('--credential <api-key>', 'its secret signs, also when it is disabled later, until another is named here')
    .option('--off', 'no more callbacks; what waits, waits')
    .action((merchantNo: string, options: { url?: string; credential?: string; off?: boolean }) =>
      withPlatform(async (platform) => {
        if (options.off && (options.url !== undefined || options.credential !== undefined))
          throw new OperatorError('--off goes alone; nothing was changed');
        await configureCallbacks(platform, platform.config.mode, merchantNo, {
          ...(options.url !== undefined && { url: options.url }),
          ...(options.credential !== undefined && { apiKey: options.credential }),
          ...(options.off && { url: null }),
        });
        print(
          options.off
            ? `${merchantNo} gets no more callbacks`
            : `${merchantNo} is configured; to try it: pinward-server callbacks test ${merchantNo}`,
        );
      }),
    );
  callbacks
    .command('list')
    .description(`the newest ${MOST_LISTED}`)
    .option('--merchant <merchant>', 'of one merchant')
    .addOption(new Option('--state <state>', 'of one state').choices([...CALLBACK_STATES]))
    .action((options: { merchant?: string; state?: CallbackState }) =>
      withPlatform(async ({ db }) => {
        const rows = await listEvents(db, options.merchant, options.state, MOST_LISTED);
        printTable(
          ['push id', 'merchant', 'card', 'action', 'state', 'attempts', 'next attempt', 'last fault'],
          rows.map((row) => [...row.slice(0, 6), row[6]?.toISOString() ?? '-', row[7] ?? '-']),
        );
      }),
    );
  callbacks
    .command('retry [push-id]')
    .description('send at once what waits or is parked')
    .option('--merchant <merchant>', 'all of one merchant, with --parked')
    .option('--parked', 'those that are parked')
    .action((given: string | undefined, options: { merchant?: string; parked?: boolean }) =>
      withPlatform(async (platform) => {
        const all = options.merchant !== undefined && options.parked === true;
        if ((given === undefined) !== all || (!all && (options.merchant ?? options.parked) !== undefined))
          throw new OperatorError('wanted is a push id, or --merchant MERCHANT --parked');
        const count = await retryCallbacks(
          platform,
          given === undefined ? { merchantNo: options.merchant as string } : { pushId: readPushId(given) },
        );
        print(count === 0 ? 'nothing is parked' : `${count} put in again`);
      }),
    );
  callbacks
    .command('test <merchant>')
    .description('send a sample Card_update now')
    .action((merchantNo: string) =>
      withPlatform(async ({ db, keys, config, now }) => {
        const merchantId = await findMerchantId(db, merchantNo);
        if (merchantId === undefined) throw new OperatorError(`there is no merchant ${merchantNo}`);
        const endpoint = await openEndpoint(db, keys, merchantId);
        if (endpoint === undefined) throw new OperatorError(`${merchantNo} has no callback address: pinward-server callbacks configure`);
        const delivery = createDelivery({ mode: config.mode, clock: now });
        const data = {
          card_no: 'SAMPLE',
          before_status: 'Activated',
          after_status: 'Frozen',
          reason: 'a test by the operator',
          time: now(),
        };
        const from = performance.now();
        const outcome = await delivery.deliver(endpoint, { pushId: randomUUID(), action: 'Card_update', data: JSON.stringify(data) });
        const { delivered, httpStatus, code, fault } = outcome;
        delivery.close();
        print(`HTTP status ${httpStatus ?? '-'}, code ${code ?? '-'}, ${Math.round(performance.now() - from)} ms`);
        if (!delivered) throw new OperatorError(`not delivered: ${fault}`);
        print('delivered');
      }),
    );
}

function readPushId(given: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(given)) throw new OperatorError(`${given} is no push id`);
  return given;
}
