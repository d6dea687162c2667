import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FIND_CARDS, WRITE_PINS } from '../server/src/pins/store.ts';
import { CARDS } from './installation.ts';

const CLIENTS = 32;

/** Runs the two statements of a PIN set by pgbench, row by row. Returns transactions per second. */
export async function runPgbench(databaseUrl: string, seconds: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'pinward-pgbench-'));
  try {
    const script = join(folder, 'set.sql');
    const card = "'BENCH' || :card";
    const row: Record<string, string> = {
      1: 'array[1]',
      2: `array[${card}]`,
      3: "array[decode(repeat('5a', 32), 'hex')]",
      4: "array[decode(repeat('5a', 16), 'hex')]",
      5: 'array[1]',
      6: "array['ecb']",
      7: 'array[1]',
      8: 'array[1780000000000]',
      9: "array['127.0.0.1']",
      10: "array['00000000-0000-4000-8000-000000000000']",
      11: 'array[true]',
    };
    const filled = (sql: string): string => sql.replace(/\$(\d+)/g, (_, number: string) => row[number] as string);
    writeFileSync(
      script,
      `\\set card random(0, ${CARDS - 1})\n${filled(FIND_CARDS).trim()};\n${filled(WRITE_PINS).trim()};\n`,
    );
    // By environment, because everyone can read a password in the list of processes' arguments.
    const url = new URL(databaseUrl);
    const host = url.searchParams.get('host') ?? url.hostname;
    const { status, stdout, stderr } = spawnSync(
      'pgbench',
      ['-n', '-M', 'prepared', '-f', script, '-c', String(CLIENTS), '-j', '2', '-T', String(seconds)],
      {
        env: {
          ...process.env,
          PGHOST: host,
          PGPORT: url.port || '5432',
          PGUSER: decodeURIComponent(url.username),
          PGPASSWORD: decodeURIComponent(url.password),
          PGDATABASE: url.pathname.slice(1),
          PGOPTIONS: '-c plan_cache_mode=force_generic_plan -c jit=off', // like the platform's connections
        },
        encoding: 'utf8',
      },
    );
    const tps = /tps = ([\d.]+)/.exec(stdout)?.[1];
    if (status !== 0 || tps === undefined) throw new Error(`pgbench failed: ${stderr}`);
    return Number(tps);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
