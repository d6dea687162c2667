import { randomUUID } from 'node:crypto';
import { type Command, Option } from 'commander';
import { configureCallbacks } from '../callbacks/configure-callbacks.ts';
import { createDelivery } from '../callbacks/deliver.ts';
import { openEndpoint } from '../callbacks/endpoint.ts';
import { retryCallbacks } from '../callbacks/retry-callbacks.ts';
import { CALLBACK_STATES, type CallbackState, listEvents } from '../callbacks/store.ts';
import { findMerchantId } from '../merchants/store.ts';
import { OperatorError } from '../operator-error.ts';
import { type OperatorPlatform, print, printTable, timeText, withPlatform } from './output.ts';

const LIST_LIMIT = 100;

export function addCallbackCommands(program: Command): void {
  const callbacks = program.command('callbacks').description('callbacks to merchants');
  callbacks
    .command('configure <merchant>')
    .description("set where a merchant's callbacks go, and whose secret signs them")
    .option('--url <url>', 'an https URL; a sandbox also takes http, and addresses of this machine')
    .option(
      '--credential <api-key>',
      'the credential whose secret signs, even after it is disabled, until another one is set here',
    )
    .option('--off', 'send no more callbacks; those that wait go on waiting')
    .action((merchantNo: string, options: ConfigureOptions) =>
      withPlatform((platform) => configure(platform, merchantNo, options)),
    );
  callbacks
    .command('list')
    .description(`list the newest ${LIST_LIMIT} callbacks`)
    .option('--merchant <merchant>', 'only those of one merchant')
    .addOption(new Option('--state <state>', 'only those in one state').choices([...CALLBACK_STATES]))
    .action((options: ListOptions) => withPlatform((platform) => list(platform, options)));
  callbacks
    .command('retry [push-id]')
    .description('send a waiting or parked callback at once')
    .option('--merchant <merchant>', 'with --parked: the merchant whose parked callbacks are sent')
    .option('--parked', 'with --merchant: all its parked callbacks')
    .action((pushId: string | undefined, options: RetryOptions) =>
      withPlatform(async (platform) => {
        const count = await retryCallbacks(platform, whichToRetry(pushId, options));
        print(count === 0 ? 'nothing is parked' : `callbacks to be sent again: ${count}`);
      }),
    );
  callbacks
    .command('test <merchant>')
    .description('send a sample Card_update now and show the reply')
    .action((merchantNo: string) => withPlatform((platform) => sendSample(platform, merchantNo)));
}

interface ConfigureOptions {
  url?: string;
  credential?: string;
  off?: boolean;
}

async function configure(
  platform: OperatorPlatform,
  merchantNo: string,
  { url, credential, off }: ConfigureOptions,
): Promise<void> {
  if (off && (url !== undefined || credential !== undefined))
    throw new OperatorError('--off goes without other options; nothing was changed');
  await configureCallbacks(platform, platform.config.mode, merchantNo, {
    ...(url !== undefined && { url }),
    ...(credential !== undefined && { apiKey: credential }),
    ...(off && { url: null }),
  });
  print(
    off
      ? `${merchantNo} gets no more callbacks`
      : `${merchantNo} is configured; to try it: pinward-server callbacks test ${merchantNo}`,
  );
}

interface ListOptions {
  merchant?: string;
  state?: CallbackState;
}

async function list({ db }: OperatorPlatform, { merchant, state }: ListOptions): Promise<void> {
  const events = await listEvents(db, { merchantNo: merchant, state, limit: LIST_LIMIT });
  printTable(
    ['push id', 'merchant', 'card', 'action', 'state', 'attempts', 'next attempt', 'last fault'],
    events.map((event) => [
      event.pushId,
      event.merchantNo,
      event.cardNo,
      event.action,
      event.state,
      event.attempts,
      event.dueAtMs === null ? '-' : timeText(event.dueAtMs),
      event.lastFault ?? '-',
    ]),
  );
}

interface RetryOptions {
  merchant?: string;
  parked?: boolean;
}

/** A push id alone, or a merchant together with --parked. */
function whichToRetry(
  pushId: string | undefined,
  { merchant, parked }: RetryOptions,
): { pushId: string } | { merchantNo: string } {
  if (pushId !== undefined && merchant === undefined && !parked) return { pushId: requirePushId(pushId) };
  if (pushId === undefined && merchant !== undefined && parked) return { merchantNo: merchant };
  throw new OperatorError('give a push id, or --merchant MERCHANT --parked');
}

function requirePushId(given: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(given)) throw new OperatorError(`${given} is not a push id`);
  return given;
}

async function sendSample({ db, keys, config, now }: OperatorPlatform, merchantNo: string): Promise<void> {
  const merchantId = await findMerchantId(db, merchantNo);
  if (merchantId === undefined) throw new OperatorError(`there is no merchant ${merchantNo}`);
  const endpoint = await openEndpoint(db, keys, merchantId);
  if (endpoint === undefined)
    throw new OperatorError(`${merchantNo} has no callback address: set one with pinward-server callbacks configure`);
  const data = JSON.stringify({
    card_no: 'SAMPLE',
    before_status: 'Activated',
    after_status: 'Frozen',
    reason: 'a test by the operator',
    time: now(),
  });
  const delivery = createDelivery({ mode: config.mode, clock: now });
  const startedAtMs = performance.now();
  const outcome = await delivery.deliver(endpoint, { pushId: randomUUID(), action: 'Card_update', data });
  const tookMs = Math.round(performance.now() - startedAtMs);
  delivery.close();
  print(`HTTP status ${outcome.httpStatus ?? '-'}, code ${outcome.code ?? '-'}, ${tookMs} ms`);
  if (!outcome.delivered) throw new OperatorError(`not delivered: ${outcome.fault}`);
  print('delivered');
}
