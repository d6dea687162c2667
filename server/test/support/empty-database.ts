import { randomBytes } from 'node:crypto';
import type { TestContext } from 'node:test';
import { openDatabase } from '../../src/db/database.ts';
import { urlOfDatabase } from './database-url.ts';

/**
 * The URL of a database on the run's server, for one test. It is empty, or a copy of a database
 * that nobody uses.
 */
export async function emptyDatabase(t: TestContext, template = 'template0'): Promise<string> {
  const serverUrl = process.env.TEST_SERVER_URL as string;
  const name = `pinward_empty_${randomBytes(6).toString('hex')}`;
  const onServer = async (script: string): Promise<void> => {
    const admin = openDatabase({ url: serverUrl, connections: 1 });
    await admin.script(script);
    await admin.close();
  };
  await onServer(`create database ${name} template ${template}`);
  t.after(() => onServer(`drop database ${name} with (force)`));
  return urlOfDatabase(serverUrl, name);
}
