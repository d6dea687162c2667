/**
 * Runs every test against a real PostgreSQL: the server that TEST_DATABASE_URL names, or one
 * embedded server for the run. Test files clone a migrated and seeded template. `npm test -- gate
 * cards` runs the files whose names hold one of the words. With TEST_DATABASE_URL, files that do
 * not use that server are left out: they would only repeat themselves.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatabase } from '../src/db/database.ts';
import { openEmbedded } from '../src/db/embedded.ts';
import { migrate } from '../src/db/migrate.ts';
import { keysOf } from '../src/keys/keys.ts';
import { createKeyFile } from '../src/keys/make-key-file.ts';
import { openKeyFile } from '../src/keys/open-key-file.ts';
import { seedSandbox } from '../src/sandbox/seed.ts';
import { SANDBOX_CVK } from '../src/sandbox/world.ts';
import { urlOfDatabase } from './support/database-url.ts';
import { testKek } from './support/test-kek.ts';

const directory = new URL('.', import.meta.url).pathname;
const words = process.argv.slice(2);
const files = readdirSync(directory)
  .filter((file) => file.endsWith('.test.ts') && (words.length === 0 || words.some((word) => file.includes(word))))
  .map((file) => join(directory, file))
  .filter((path) => process.env.TEST_DATABASE_URL === undefined || usesServer(path));
if (files.length === 0) {
  console.error('no test file found: 0 passed, 1 failed');
  process.exit(1);
}

const scratch = mkdtempSync(join(tmpdir(), 'pinward-test-'));
chmodSync(scratch, 0o711); // as root, PostgreSQL runs as another user, who must reach the folders below
const embedded = process.env.TEST_DATABASE_URL ? undefined : await openEmbedded(join(scratch, 'server'));
const serverUrl = embedded?.url ?? (process.env.TEST_DATABASE_URL as string);
const template = `pinward_template_${randomBytes(6).toString('hex')}`;
const admin = openDatabase({ url: serverUrl, connections: 1 });
const [[version] = ['']] = await admin.tuples<[string]>('version', 'show server_version');
console.log(`PostgreSQL ${version}, ${embedded ? 'embedded' : 'from TEST_DATABASE_URL'}; ${files.length} test files`);

let status = 1;
try {
  await admin.script(`create database ${template}`);
  const keyFile = join(scratch, 'keys.json');
  await createKeyFile(keyFile, testKek, new Date(), { cvv: Buffer.from(SANDBOX_CVK, 'hex') });
  const db = openDatabase({ url: urlOfDatabase(serverUrl, template), connections: 2 });
  await migrate(db);
  const keys = keysOf(await openKeyFile(keyFile, testKek), Date.now);
  await db.tuples('install', `insert into installation (mode, key_file_id) values ('sandbox', $1)`, [keys.keyFileId]);
  await seedSandbox(db, keys);
  await db.close();

  status = await new Promise<number>((resolve) => {
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', '--test', '--test-concurrency=2', '--test-reporter=spec', ...files],
      {
        stdio: 'inherit',
        env: { ...process.env, TEST_SERVER_URL: serverUrl, TEST_TEMPLATE: template, TEST_KEY_FILE: keyFile },
      },
    );
    child.on('exit', (code) => resolve(code ?? 1));
  });
} finally {
  await admin.script(`drop database if exists ${template} with (force)`);
  await admin.close();
  await embedded?.release();
  rmSync(scratch, { recursive: true, force: true });
}
process.exit(status);

function usesServer(path: string): boolean {
  return /TEST_SERVER_URL|support\/(test-platform|empty-database|issuer|contract)\.ts/.test(readFileSync(path, 'utf8'));
}
