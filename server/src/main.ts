import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { sendCallbacks } from './callbacks/send-callbacks.ts';
import { operatorProgram } from './commands/program.ts';
import { type Config, readConfig } from './config.ts';
import { InUseError } from './db/embedded.ts';
import { keepHouse } from './housekeeping.ts';
import { createLog } from './log.ts';
import { OperatorError } from './operator-error.ts';
import { openPlatform, type Platform } from './platform.ts';
import { greeting } from './sandbox/greeting.ts';
import { simulateIssuer } from './sandbox/simulated-issuer.ts';
import { buildServices } from './services.ts';

/** How long a stop waits for requests that are being served and for callbacks under way. */
const STOP_DEADLINE_MS = 20_000;

/** Runs the platform until a signal ends it. */
async function serve(): Promise<void> {
  const config = readConfig();
  const log = createLog(config.logLevel);
  const runningFile = join(config.dataDir, 'running.json');
  const platform = await openToServe(config, log, runningFile);
  const services = buildServices({ config, clock: Date.now, log, db: platform.db, keys: platform.keys });
  const { buildApp } = await import('./app.ts'); // slow to load, and the other commands don't need it
  const app = await buildApp(services);
  const house = keepHouse(services);
  const issuer = config.mode === 'sandbox' ? simulateIssuer(services) : undefined;
  const callbacks = sendCallbacks(services);

  const stop = async (): Promise<void> => {
    await Promise.all([app.close(), callbacks.stop()]);
    await house.stop();
    await issuer?.stop();
    await rm(runningFile, { force: true });
    await platform.close();
  };
  stopOnSignal(log, stop);
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
  await writeRunningFile(runningFile, url).catch((err: Error) =>
    log.warn({ err }, 'the note of what runs here was not written'),
  );
  log.info({ url, mode: config.mode, data: platform.place }, 'listening');
  if (config.mode === 'sandbox') process.stdout.write(greeting(url, platform.place));
}

/** Opens the platform. If another one serves on the data directory, the error says where. */
async function openToServe(config: Config, log: Logger, runningFile: string): Promise<Platform> {
  try {
    return await openPlatform(config, { serving: true, onEvent: (event) => log.warn(event) });
  } catch (error) {
    if (!(error instanceof InUseError)) throw error;
    const where = await readRunningFile(runningFile);
    throw new OperatorError(
      `Pinward already runs on the data directory ${config.dataDir} (${where}).\n` +
        'Nothing was changed. For a second platform set PINWARD_DATA_DIR and PORT.',
    );
  }
}

function stopOnSignal(log: Logger, stop: () => Promise<void>): void {
  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => {
      if (stopping) return;
      stopping = true;
      log.info({ signal }, 'stopping');
      setTimeout(() => process.exit(1), STOP_DEADLINE_MS).unref();
      stop().then(() => log.flush(() => process.exit(0)), fail);
    });
}

/**
 * Notes what runs here, for a second start on the same data directory and for scripts that
 * need the URL. The file appears whole or not at all.
 */
async function writeRunningFile(path: string, url: string): Promise<void> {
  const draft = `${path}.${process.pid}`;
  // With a database server (DATABASE_URL) nothing else has made the data directory.
  await mkdir(dirname(path), { recursive: true });
  const note = { url, pid: process.pid, since: new Date().toISOString() };
  await writeFile(draft, JSON.stringify(note), { mode: 0o600 });
  await rename(draft, path);
}

async function readRunningFile(path: string): Promise<string> {
  try {
    const note = JSON.parse(await readFile(path, 'utf8')) as { url: string; pid: number; since: string };
    return `${note.url}, process ${note.pid}, since ${note.since}`;
  } catch {
    return 'its address is not known yet';
  }
}

/** Prints the fault and ends the process with status 1. */
function fail(error: unknown): never {
  process.stderr.write(`pinward-server: ${faultText(error)}\n`);
  process.exit(1);
}

const UNREACHABLE = ['ECONNREFUSED', 'ENOENT', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT', 'EHOSTUNREACH', 'ECONNRESET'];
/** SQLSTATE: wrong password, wrong authorization, no such database, missing privilege. */
const NO_ACCESS = ['28P01', '28000', '3D000', '42501'];

/** A fault that the operator can mend, in a sentence. Any other fault with its stack. */
function faultText(error: unknown): string {
  const { code = '', message, stack, syscall, path } = error as NodeJS.ErrnoException;
  if (NO_ACCESS.includes(code)) return `the database refuses access: ${message}; check DATABASE_URL`;
  if ((UNREACHABLE.includes(code) && syscall !== 'open') || message?.startsWith('timeout exceeded'))
    return `the database does not answer: ${message || code}; check DATABASE_URL`;
  // A file or a directory: in practice the data directory, or something in it.
  if (code === 'EACCES' && path !== undefined)
    return `${path} cannot be read or written: ${message}; check the owner of PINWARD_DATA_DIR`;
  if (syscall === 'listen') return `cannot listen: ${message}; set HOST and PORT`;
  if (error instanceof OperatorError) return message;
  return stack ?? message ?? String(error);
}

try {
  await operatorProgram(serve).parseAsync();
} catch (error) {
  fail(error);
}
