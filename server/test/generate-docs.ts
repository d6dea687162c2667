/** Writes the documents that are made from the program itself: npm run generate. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildApp } from '../src/app.ts';
import { readConfig } from '../src/config.ts';
import { createLog } from '../src/log.ts';
import { openPlatform } from '../src/platform.ts';
import { buildServices } from '../src/services.ts';
import { documentUrl, generatedDocuments } from './support/documents.ts';

const scratch = mkdtempSync(join(tmpdir(), 'pinward-docs-'));
chmodSync(scratch, 0o711); // as in run.ts
const config = readConfig({ PINWARD_DATA_DIR: join(scratch, 'data') });
const platform = await openPlatform(config);
const app = await buildApp(
  buildServices({ config, clock: Date.now, log: createLog('silent'), db: platform.db, keys: platform.keys }),
);
try {
  await app.ready();
  for (const [name, text] of Object.entries(await generatedDocuments(app, platform.db))) {
    writeFileSync(documentUrl(name), text);
    console.log(`wrote docs/${name}`);
  }
} finally {
  await app.close();
  await platform.close();
  rmSync(scratch, { recursive: true, force: true });
}
