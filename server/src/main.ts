import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { sendCallbacks } from './callbacks/send-callbacks.ts';
import { type Config, ConfigError, readConfig } from './config.ts';
import { InUseError } from './db/embedded.ts';
import { SchemaError } from './db/migrate.ts';
import { EmbeddedError } from './db/native.ts';
import { keepHouse } from './housekeeping.ts';
import { KeyFileError } from './keys/key-file.ts';
import { HsmError } from './keys/pkcs11.ts';
import { createLog } from './log.ts';
import { OperatorError } from './merchants/administer.ts';
import { operatorProgram } from './operator/program.ts';
import { InstallationError, openPlatform } from './platform.ts';
import { greeting } from './sandbox/greeting.ts';
import { playIssuer } from './sandbox/play-issuer.ts';
import { buildServices } from './services.ts';

/** A stop waits this long for requests that are being served, and for callbacks under way. */
const STOP_DEADLINE_MS = 20_000;

/** Runs the platform until it is told to stop. */
async function serve(): Promise<void> {
  const config = readConfig();
  const log = createLog(config.logLevel);
  const runningFile = join(config.dataDir, 'running.json');
  const platform = await openPlatform(config, { serving: true, onEvent: (event) => log.warn(event) }).catch(async (error: unknown) => {
    if (error instanceof InUseError) throw new InUseError(await whatRuns(runningFile, config));
    throw error;
  });
  const services = buildServices({ config, clock: Date.now, log, db: platform.db, keys: platform.keys });
  const { buildApp } = await import('./app.ts'); // which other commands need not wait for
  const app = await buildApp(services);
  const house = keepHouse(services);
  const issuer = config.mode === 'sandbox' ? playIssuer(services) : undefined;
  const callbacks = sendCallbacks(services);

  let stopping: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await Promise.all([app.close(), callbacks.stop()]);
    await house.stop();
    await issuer?.stop();
    await rm(runningFile, { force: true });
    await platform.close();
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stopping !== undefined) return;
      log.info({ signal }, 'stopping');
      setTimeout(() => process.exit(1), STOP_DEADLINE_MS).unref();
      stopping = stop().then(
        () => log.flush(() => process.exit(0)),
        (error: unknown) => fail(error),
      );
    });
  }

  try {
    await app.listen({ host: config.host, port: config.port });
  } catch (error) {
    await stop();
    throw error;
  }
  const address = app.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : config.port;
  const host = config.host.includes(':') ? `[${config.host}]` : config.host;
  const url = `http://${host}:${port}`;
  await noteWhatRuns(runningFile, url).catch((err: Error) => log.warn({ err }, 'the note of what runs here was not written'));
  log.info({ url, mode: config.mode, data: platform.place }, 'listening');
  if (config.mode === 'sandbox') process.stdout.write(greeting(url, platform.place));
}

/** For a second start on the same data directory, and for scripts that want the URL. Appears whole or not at all. */
async function noteWhatRuns(runningFile: string, url: string): Promise<void> {
  const draft = `${runningFile}.${process.pid}`;
  await mkdir(dirname(runningFile), { recursive: true }); // with a server of DATABASE_URL nobody else made it
  await writeFile(draft, JSON.stringify({ url, pid: process.pid, since: new Date().toISOString() }), { mode: 0o600 });
  await rename(draft, runningFile);
}

async function whatRuns(runningFile: string, config: Config): Promise<string> {
  const note = await readFile(runningFile, 'utf8').then(
    (text) => JSON.parse(text) as { url: string; pid: number; since: string },
    () => undefined,
  );
  const who = note === undefined ? 'it has not said where yet' : `${note.url}, process ${note.pid}, since ${note.since}`;
  return `Pinward already runs on the data directory ${config.dataDir} (${who}).\nNothing was changed. For a second platform set PINWARD_DATA_DIR and PORT.`;
}

/** Faults that whoever started us can mend are told in words; all others with their stack. */
function fail(error: unknown): never {
  const told = [ConfigError, KeyFileError, HsmError, SchemaError, EmbeddedError, InUseError, InstallationError, OperatorError].some(
    (kind) => error instanceof kind,
  );
  const { code, message, stack, syscall, path } = error as NodeJS.ErrnoException;
  let text = told ? message : (stack ?? message ?? String(error));
  if (syscall === 'listen') text = `cannot listen: ${message}; set HOST and PORT`;
  // A file or a directory: in practice the data directory, or what stands in it.
  if (code === 'EACCES' && path !== undefined) text = `${path} cannot be read or written: ${message}; check whose PINWARD_DATA_DIR is`;
  const unreachable =
    ['ECONNREFUSED', 'ENOENT', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT', 'EHOSTUNREACH', 'ECONNRESET'].includes(code ?? '') &&
    syscall !== 'open';
  if (unreachable || message?.startsWith('timeout exceeded')) text = `the database does not answer: ${message || code}; check DATABASE_URL`;
  if (['28P01', '28000', '3D000', '42501'].includes(code ?? '')) text = `the database does not let us in: ${message}; check DATABASE_URL`;
  process.stderr.write(`pinward-server: ${text}\n`);
  process.exit(1);
}

try {
  await operatorProgram(serve).parseAsync();
} catch (error) {
  fail(error);
}
