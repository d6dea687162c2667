import { rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { sendCallbacks } from './callbacks/send-callbacks.ts';
import { faultText, listenFault } from './commands/fault-text.ts';
import { noteReaderGone, ReaderGoneError } from './commands/output.ts';
import { operatorProgram } from './commands/program.ts';
import { type Config, readConfig } from './config.ts';
import { InUseError } from './db/embedded.ts';
import { makeDirectory, readText } from './files.ts';
import { keepHouse } from './housekeeping.ts';
import { createLog } from './log.ts';
import { OperatorError } from './operator-error.ts';
import { openPlatform, type Platform } from './platform.ts';
import { greeting } from './sandbox/greeting.ts';
import { simulateIssuer } from './sandbox/simulated-issuer.ts';
import { buildServices } from './services.ts';

/** How long a stop waits for requests that are being served and for callbacks under way. */
const STOP_DEADLINE_MS = 20_000;
const NOTE_LIMIT_BYTES = 4_096;
const UNKNOWN_PLACE = 'its address is not known yet';

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
    await rm(runningFile, { force: true }).catch(() => {}); // the next start writes another one
    await platform.close();
  };
  stopOnSignal(log, stop);
  try {
    await app.listen({ host: config.host, port: config.port });
  } catch (error) {
    await stop();
    throw listenFault(error);
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
    const where = readRunningFile(runningFile);
    throw new OperatorError(
      `Pinward already runs on the data directory ${config.dataDir} (${where}). ` +
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
  makeDirectory(dirname(path));
  const note = { url, pid: process.pid, since: new Date().toISOString() };
  await writeFile(draft, JSON.stringify(note), { mode: 0o600 });
  await rename(draft, path);
}

/** Where the platform of that note runs. The note may be missing, damaged or something else. */
function readRunningFile(path: string): string {
  try {
    const { url, pid, since } = JSON.parse(readText(path, NOTE_LIMIT_BYTES));
    if (!/^https?:\/\/[\x21-\x7e]{1,300}$/.test(url) || !Number.isInteger(pid)) return UNKNOWN_PLACE;
    return `${url}, process ${pid}, since ${new Date(since).toISOString()}`;
  } catch {
    return UNKNOWN_PLACE;
  }
}

/** Prints the fault and ends the process with status 1. */
function fail(error: unknown): never {
  if (error instanceof ReaderGoneError) process.exit(0);
  process.stderr.write(`pinward-server: ${faultText(error)}\n`);
  process.exit(1);
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') fail(error);
  noteReaderGone();
});
process.on('uncaughtException', fail);
try {
  await operatorProgram(serve).parseAsync();
} catch (error) {
  fail(error);
}
