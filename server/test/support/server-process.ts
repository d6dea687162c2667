import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readConfig } from '../../src/config.ts';
import { type EmbeddedOptions, type EmbeddedServer, openEmbedded } from '../../src/db/embedded.ts';
import type { KekSource } from '../../src/keys/kek.ts';
import { readKeyFile, type StoredKeyFile, sealedText } from '../../src/keys/key-file.ts';
import { openSeal } from '../../src/keys/open-key-file.ts';
import { openKekSource } from '../../src/platform.ts';

/** What operators start. Built by `npm test` before it runs. */
export const MAIN = new URL('../../dist/main.js', import.meta.url).pathname;

/**
 * PostgreSQL refuses to run as root, so that as root the platform runs it as `nobody`; some tests
 * are about that alone.
 */
export const isRoot = process.getuid?.() === 0;

/** No test waits longer for a condition, and none takes nearly as long. */
const DEADLINE_MS = 90_000;

/** The memory that a process holds, in MiB. */
export function memoryOf({ pid }: { pid: number }): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** Waits until `look` gives something that is true, and gives it. */
export async function until<T>(what: string, look: () => T | Promise<T>): Promise<NonNullable<T>> {
  for (const deadline = Date.now() + DEADLINE_MS; Date.now() < deadline; await sleep(10)) {
    const seen = await look();
    if (seen) return seen;
  }
  throw new Error(`waited too long until ${what}`);
}

/**
 * Whether the process is in the system's table; a dead one is, until whoever inherited it has
 * waited for it.
 */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

export interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

export interface Running {
  pid: number;
  /** Everything that it wrote so far. */
  stdout(): string;
  stderr(): string;
  /** The JSON lines of its log so far. */
  log(): Record<string, unknown>[];
  /** Sends the signal and waits for the end. */
  stop(signal: NodeJS.Signals): Promise<Outcome>;
  ended: Promise<Outcome>;
}

export interface ServerProcess extends Running {
  url: string;
}

/** One installation: a data directory, and whatever runs on it. */
export interface Installation {
  /** A directory of its own that goes with it. */
  scratch: string;
  dataDir: string;
  /** Runs a command of the operator to its end. */
  run(args: string[], more?: { env?: Environment; input?: string | Buffer }): Promise<Outcome>;
  /** Starts a command and does not wait for it. */
  start(args: string[], env?: Environment): Running;
  /** Starts `serve` and waits until it says where it is. */
  serve(env?: Environment): Promise<ServerProcess>;
  /**
   * Uses the embedded database from this process; lets go of it at the test's end, if the test has
   * not.
   */
  open(options?: EmbeddedOptions): Promise<EmbeddedServer>;
  /** The embedded database's main process, if one runs. */
  databasePid(): number | undefined;
  /** Kills the embedded database and waits until everything that belongs to it is gone. */
  killDatabase(): Promise<void>;
  /**
   * Kills a platform and its database at the same moment, as a power cut does, and waits until both
   * are gone.
   */
  cutPower(server: Running): Promise<void>;
}

type Environment = Record<string, string>;

export interface InstallationOptions {
  /** The data directory's path below the scratch directory. */
  inside?: string;
  env?: Environment;
  /** Another copy of the program. */
  main?: string;
  /** As root: the user that runs it and owns the data directory. */
  as?: { uid: number; gid: number };
}

/**
 * An installation that lives as long as the test: then its processes, its database and its files
 * go, whatever happened.
 */
export function install(
  t: { after(work: () => Promise<void>): void },
  { inside = 'data', env: always = {}, main = MAIN, as }: InstallationOptions = {},
): Installation {
  const scratch = mkdtempSync(join(tmpdir(), 'pinward-test-'));
  chmodSync(scratch, 0o711); // as root, PostgreSQL's user is to reach what is below
  const dataDir = join(scratch, inside);
  if (as !== undefined) {
    mkdirSync(dataDir, { recursive: true });
    chownSync(dataDir, as.uid, as.gid);
  }
  const running = new Set<ChildProcess>();
  const opened: EmbeddedServer[] = [];
  let over = false; // a test that failed in one place may still go on in another

  function start(args: string[], env: Environment = {}, input?: string | Buffer): Running {
    if (over) throw new Error('the test is over');
    const child = spawn(process.execPath, [main, ...args], {
      ...as,
      cwd: '/',
      env: { PATH: process.env.PATH as string, PINWARD_DATA_DIR: dataDir, PORT: '0', ...always, ...env },
    });
    running.add(child);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text;
    });
    child.stdin.on('error', () => {}); // it may end without reading
    child.stdin.end(input);
    const ended = new Promise<Outcome>((resolve) => {
      child.once('close', (status) => {
        running.delete(child);
        resolve({ status, stdout, stderr });
      });
    });
    return {
      pid: child.pid as number,
      stdout: () => stdout,
      stderr: () => stderr,
      log: () =>
        stdout
          .split('\n')
          .flatMap((line) => (line.startsWith('{"level"') && line.endsWith('}') ? [JSON.parse(line)] : [])),
      async stop(signal) {
        child.kill(signal);
        return ended;
      },
      ended,
    };
  }

  const databasePid = () => {
    const file = join(dataDir, 'postgres', 'data', 'postmaster.pid');
    const pid = existsSync(file) ? Number.parseInt(readFileSync(file, 'utf8'), 10) : Number.NaN;
    return pid > 0 && isAlive(pid) ? pid : undefined;
  };

  const killDatabase = async (first = () => {}) => {
    const pid = databasePid();
    if (pid === undefined) return;
    const family = [pid, ...childrenOf(pid)];
    first();
    process.kill(pid, 'SIGKILL'); // its children see that and end by themselves
    await until('the database and its children are gone', () => !family.some(isAlive));
  };

  t.after(async () => {
    over = true;
    for (const child of running) child.kill('SIGKILL');
    await until('its processes are gone', () => running.size === 0);
    for (const server of opened) await server.release();
    await killDatabase();
    const cluster = join(dataDir, 'postgres');
    if (existsSync(cluster)) rmSync(realpathSync(cluster), { recursive: true, force: true }); // as root it may stand elsewhere
    rmSync(scratch, { recursive: true, force: true });
  });

  return {
    scratch,
    dataDir,
    start: (args, env) => start(args, env),
    run: (args, { env, input } = {}) => start(args, env, input).ended,
    async open(options) {
      const server = await openEmbedded(dataDir, options);
      opened.push(server);
      return server;
    },
    databasePid,
    killDatabase: () => killDatabase(),
    async cutPower(server) {
      process.kill(server.pid, 'SIGKILL'); // first: a platform that sees its database die starts it again
      await killDatabase();
      await server.ended;
    },
    async serve(env) {
      const process = start(['serve'], env);
      let outcome: Outcome | undefined;
      void process.ended.then((ended) => {
        outcome = ended;
      });
      const note = await until('it listens', () => {
        if (outcome !== undefined)
          throw new Error(`serve ended with ${outcome.status}:\n${outcome.stdout}${outcome.stderr}`);
        const written = readNote(join(dataDir, 'running.json'));
        return written?.pid === process.pid ? written : undefined;
      });
      return { ...process, url: note.url };
    },
  };
}

function readNote(path: string): { url: string; pid: number } | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined; // not there yet, or half written
  }
}

export function childrenOf(pid: number): number[] {
  const table = spawnSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).stdout;
  return table.split('\n').flatMap((line) => {
    const [child, parent] = line.trim().split(/\s+/).map(Number);
    return parent === pid && child !== undefined ? [child] : [];
  });
}

/**
 * Makes the keys of an installation older, so that those that were superseded just now may be
 * destroyed. `env` says what its key file is sealed with.
 */
export async function ageKeys({ dataDir }: Pick<Installation, 'dataDir'>, env: Environment = {}): Promise<void> {
  const config = readConfig({ ...env, PINWARD_DATA_DIR: dataDir });
  await editKeyFile(config.keyFile, await openKekSource(config), (file) => {
    const before = (time: string): string => new Date(Date.parse(time) - 60_000).toISOString();
    for (const key of [...file.keys, ...(file.retired_keks ?? [])]) key.created_at = before(key.created_at);
    for (const key of file.keys) key.active_from = before(key.active_from);
  });
}

/** Changes a key file past the platform, and seals it again. */
export async function editKeyFile(path: string, source: KekSource, edit: (file: StoredKeyFile) => void): Promise<void> {
  const stored = await readKeyFile(path);
  const kek = await openSeal(path, stored, source);
  edit(stored);
  writeFileSync(path, await sealedText(stored, kek));
  if (source.kind === 'hsm') await source.hsm.close();
}
