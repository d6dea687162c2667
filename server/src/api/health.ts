import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type, { type Static } from 'typebox';
import type { Services } from '../services.ts';

const Check = Type.Enum(['ok', 'failed']);
const Readiness = Type.Object({ status: Check, database: Check, keys: Check, key_file: Check });
type Readiness = Static<typeof Readiness>;

const CHECK_TIMEOUT_MS = 2_000;
/** Calls within this time share one check. */
const CHECKED_FOR_MS = 1_000;
/** Fills a page of `write_probe`. */
const FILLER = 'x'.repeat(7_000);

/**
 * For load balancers, without envelope and without gate: `/healthz` answers while the process runs,
 * `/readyz` tells whether it can set a PIN.
 */
export function healthRoutes(services: Services): FastifyPluginAsyncTypebox {
  const readiness = createReadiness(services);
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
          summary: 'The database takes writes and the keys answer',
          tags: ['Operation'],
          response: { 200: Readiness, 503: Readiness },
        },
      },
      async (_request, reply) => {
        const found = await readiness();
        return reply.code(found.status === 'ok' ? 200 : 503).send(found);
      },
    );
  };
}

/**
 * Checks what a PIN set needs. However many ask, there is one check a second, on connections of its
 * own.
 */
function createReadiness(services: Services): () => Promise<Readiness> {
  let latest: Promise<Readiness> | undefined;
  let validUntil = 0;
  return () => {
    if (latest === undefined || performance.now() > validUntil) {
      validUntil = Number.POSITIVE_INFINITY;
      latest = check(services).finally(() => {
        validUntil = performance.now() + CHECKED_FOR_MS;
      });
    }
    return latest;
  };
}

async function check({ log, db, keys }: Services): Promise<Readiness> {
  const [database, keyUse] = await Promise.all([
    passes(log, 'database', tryWrite(db.monitor)),
    passes(log, 'keys', keys.pinVerify.mac(keys.pinVerify.version, Buffer.alloc(16))),
  ]);
  const word = (ok: boolean) => (ok ? 'ok' : 'failed');
  return {
    status: word(database && keyUse),
    database: word(database),
    keys: word(keyUse),
    // Told, but no reason not to serve: the keys in memory work, and after a rotation of the KEK
    // every process is in this state until it starts with the new one. The log says why.
    key_file: word(keys.fileFault === undefined),
  };
}

const ROLLED_BACK = Symbol('rolled back');

/**
 * Writes a row and rolls it back: so a read-only node and a full disk are found before a PIN set
 * finds them.
 */
function tryWrite(monitor: Services['db']['monitor']): Promise<void> {
  return monitor
    .transaction(async (tx) => {
      await tx.query('write-probe', 'insert into write_probe (filler) values ($1)', [FILLER]);
      throw ROLLED_BACK;
    })
    .catch((error) => {
      if (error !== ROLLED_BACK) throw error;
    });
}

/** Whether a check succeeds in time. */
async function passes(log: Services['log'], what: string, checking: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${CHECK_TIMEOUT_MS} ms`)), CHECK_TIMEOUT_MS);
  });
  try {
    await Promise.race([checking, timeout]);
    return true;
  } catch (err) {
    log.warn({ err, what }, 'not ready');
    return false;
  } finally {
    clearTimeout(timer);
  }
}
