import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import type { Services } from '../services.ts';

const Check = Type.Enum(['ok', 'failed']);
const Readiness = Type.Object({ status: Check, database: Check, keys: Check });
const CHECK_TIMEOUT_MS = 2_000;

/**
 * For load balancers, without envelope and without gate: `/healthz` answers while the process runs, `/readyz` tells
 * whether it can set a PIN.
 */
export function healthRoutes({ db, keys }: Services): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.get(
      '/healthz',
      {
        schema: {
          summary: 'The process runs',
          tags: ['Operation'],
          response: { 200: Type.Object({ status: Check }) },
        },
      },
      async () => ({ status: 'ok' as const }),
    );

    app.get(
      '/readyz',
      {
        schema: {
          summary: 'Database and keys answer',
          tags: ['Operation'],
          response: { 200: Readiness, 503: Readiness },
        },
      },
      async (request, reply) => {
        const [database, keyUse] = await Promise.all([
          passes(request.log, 'database', db.query('ready', 'select 1')),
          passes(request.log, 'keys', keys.pinVerify.mac(keys.pinVerify.version, Buffer.alloc(16))),
        ]);
        const ready = database && keyUse;
        const word = (ok: boolean) => (ok ? ('ok' as const) : ('failed' as const));
        const body = { status: word(ready), database: word(database), keys: word(keyUse) };
        return reply.code(ready ? 200 : 503).send(body);
      },
    );
  };
}

type Log = { warn(about: object, text: string): void };

/** Whether a check succeeds in time. */
async function passes(log: Log, what: string, check: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${CHECK_TIMEOUT_MS} ms`)), CHECK_TIMEOUT_MS);
  });
  try {
    await Promise.race([check, timeout]);
    return true;
  } catch (err) {
    log.warn({ err, what }, 'not ready');
    return false;
  } finally {
    clearTimeout(timer);
  }
}
