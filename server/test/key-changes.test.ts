import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { destroyKey, type KeyPlace, rotateKey } from '../src/keys/administer.ts';
import { readKeyFile } from '../src/keys/key-file.ts';
import { testKek } from './support/test-kek.ts';
import { startPlatform, type TestPlatform } from './support/test-platform.ts';

const scratch = mkdtempSync(join(tmpdir(), 'pinward-key-changes-'));
let platform: TestPlatform;
let place: KeyPlace;
let nowMs = Date.now();
before(async () => {
  platform = await startPlatform();
});
let files = 0;
beforeEach(() => {
  const keyFile = join(scratch, `${files++}.json`);
  copyFileSync(process.env.TEST_KEY_FILE as string, keyFile);
  place = { db: platform.db, keyFile, source: testKek, now: () => nowMs };
});
after(async () => {
  await platform.close();
  rmSync(scratch, { recursive: true, force: true });
});

async function records(): Promise<[action: string, details: Record<string, unknown>][]> {
  const rows = await platform.db.query<[string, string]>(
    'key-records',
    `select action, details from audit_records where merchant_id = 0 and card_no = '' order by seq`,
  );
  return rows.map(([action, details]) => [action, JSON.parse(details)]);
}

describe('of a change of the key file', () => {
  test('that ends before the file is written stays a record of what was meant to be', async () => {
    // A file that can be read and not replaced: with the draft's ending its name is too long.
    const long = join(scratch, `${'x'.repeat(230)}.json`);
    copyFileSync(place.keyFile, long);
    await assert.rejects(rotateKey({ ...place, keyFile: long }, 'cvv', 0), { code: 'ENAMETOOLONG' });
    assert.deepEqual(readFileSync(long), readFileSync(place.keyFile));
    const [action, details] = (await records()).at(-1) ?? [];
    assert.equal(action, 'key_rotated');
    assert.deepEqual([details?.purpose, details?.version], ['cvv', 2]);
    await rotateKey(place, 'cvv', 0);
    nowMs += 60_000;
    copyFileSync(place.keyFile, long);
    await assert.rejects(destroyKey({ ...place, keyFile: long }, 'access-token', 1), /access-token version 1 is active/);
    await rotateKey(place, 'jwe', 0);
    nowMs += 60_000;
    copyFileSync(place.keyFile, long);
    await assert.rejects(destroyKey({ ...place, keyFile: long }, 'jwe', 1), { code: 'ENAMETOOLONG' });
    assert.deepEqual((await records()).at(-1), ['key_destroyed', { by: 'operator', purpose: 'jwe', version: 1 }]);
  });

  test('whose record cannot be written nothing is done', async () => {
    const before = readFileSync(place.keyFile);
    await platform.db.script('alter table audit_records rename to away');
    try {
      await assert.rejects(rotateKey(place, 'jwe', 0), /audit_records/);
    } finally {
      await platform.db.script('alter table away rename to audit_records');
    }
    assert.deepEqual(readFileSync(place.keyFile), before);
    assert.equal((await readKeyFile(place.keyFile)).keys.filter(({ purpose }) => purpose === 'jwe').length, 1);
  });
});
