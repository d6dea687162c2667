import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { freePort } from './free-port.ts';

/** Why PgBouncer is not here, for a test that then is skipped; false if it is here. */
export const noPgBouncer: string | false =
  spawnSync('pgbouncer', ['--version']).error === undefined ? false : 'PgBouncer is not installed (Debian: pgbouncer)';

/**
 * Starts PgBouncer before a database, with its own defaults but for `more`, and returns the URL of
 * the database through it.
 */
export async function startPgBouncer(
  t: TestContext,
  databaseUrl: string,
  poolMode: 'session' | 'transaction' | 'statement',
  more = '',
): Promise<string> {
  const server = new URL(databaseUrl);
  const folder = mkdtempSync(join(tmpdir(), 'pinward-pgbouncer-'));
  chmodSync(folder, 0o755);
  const port = await freePort();
  const database = server.pathname.slice(1);
  const host = server.searchParams.get('host') ?? server.hostname;
  const login = `user=${server.username} password=${server.password}`;
  writeFileSync(
    join(folder, 'pgbouncer.ini'),
    `[databases]
${database} = host=${host} port=${server.port || server.searchParams.get('port') || 5432} dbname=${database} ${login}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = ${poolMode}
${more}
`,
    { mode: 0o644 },
  );
  // As root it wants another user to run as.
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  const child = spawn('pgbouncer', [...user, join(folder, 'pgbouncer.ini')], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (bytes) => (output += bytes));
  child.stderr.on('data', (bytes) => (output += bytes));
  const ended = new Promise((resolve) => child.once('exit', resolve));
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  });
  const url = `postgres://anybody@127.0.0.1:${port}/${database}`;
  for (let tries = 0; tries < 100; tries++) {
    const client = new pg.Client({ connectionString: url });
    try {
      await client.connect();
      await client.end();
      return url;
    } catch {
      await sleep(50);
    }
  }
  throw new Error(`PgBouncer does not answer:\n${output}`);
}
