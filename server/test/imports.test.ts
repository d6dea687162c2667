import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { faultsOf } from '../../scripts/check-imports.ts';

const ROOT = join(import.meta.dirname, '../..');

describe('the check of imports refuses', () => {
  const planted: [what: string, path: string, text: string, fault: RegExp][] = [
    [
      'an import that runs up',
      'pins/set-pin.ts',
      `import { x } from '../api/envelope.ts';`,
      /pins\/ stands below api\//,
    ],
    ['a type import that runs up', 'db/batch.ts', `import type { X } from '../services.ts';`, /below services\.ts/],
    ['an import over several lines', 'keys/keys.ts', `import {\n  x,\n} from '../db/database.ts';`, /below db\//],
    ['a dynamic import that runs up', 'audit/append.ts', `const x = await import('../pins/store.ts');`, /below pins\//],
    ['a re-export that runs up', 'audit/append.ts', `export { x } from '../app.ts';`, /below app\.ts/],
    [
      'neighbours that import each other',
      'issuers/store.ts',
      `import { x } from '../merchants/store.ts';`,
      /side by side/,
    ],
    ['a file without a room', 'helpers.ts', `import { x } from './secret.ts';`, /has no room/],
    ['the driver outside db/', 'pins/store.ts', `import pg from 'pg';`, /only db\/ imports the driver/],
    ['fastify in a feature', 'cards/store.ts', `import type { FastifyRequest } from 'fastify';`, /HTTP stays in api\//],
    ['a path into another package', 'pins/store.ts', `import x from '../../../contract/src/errors.ts';`, /by name/],
  ];
  for (const [what, path, text, fault] of planted) {
    test(what, () => {
      const faults = faultsOf(new Map([[`server/src/${path}`, text]]));
      assert.equal(faults.length, 1);
      assert.match(faults[0] as string, fault);
    });
  }

  test('anything that contract/ imports', () => {
    const faults = faultsOf(new Map([['contract/src/errors.ts', `import { createHash } from 'node:crypto';`]]));
    assert.match(faults.join(), /contract\/ imports nothing/);
  });
});

test('the check of imports accepts imports that run down', () => {
  const text = `import { x } from '../cards/store.ts';\nimport type { Y } from '@pinward/contract/errors';\nimport z from 'node:fs';`;
  assert.deepEqual(faultsOf(new Map([['server/src/pins/set-pin.ts', text]])), []);
});

describe('the linter', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'pinward-lint-'));
    cpSync(join(ROOT, 'biome.json'), join(folder, 'biome.json'));
    const config = JSON.parse(readFileSync(join(folder, 'biome.json'), 'utf8'));
    delete config.$schema;
    delete config.vcs;
    writeFileSync(join(folder, 'biome.json'), JSON.stringify(config));
  });
  after(() => rmSync(folder, { recursive: true }));

  const lint = (files: Record<string, string>) => {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    const biome = join(ROOT, 'node_modules/.bin/biome');
    return spawnSync(biome, ['lint', ...Object.keys(files)], { cwd: folder, encoding: 'utf8' });
  };

  test('refuses a cycle that only types make', () => {
    const { status, stderr } = lint({
      'a.ts': "import type { B } from './b.ts';\nexport interface A {\n  b: B;\n}\n",
      'b.ts': "import type { A } from './a.ts';\nexport interface B {\n  a: A;\n}\n",
    });
    assert.notEqual(status, 0);
    assert.match(stderr, /noImportCycles/);
  });

  test('accepts the same types without the cycle', () => {
    const { status, stderr } = lint({
      'c.ts': "import type { D } from './d.ts';\nexport interface C {\n  d: D;\n}\n",
      'd.ts': 'export interface D {\n  n: number;\n}\n',
    });
    assert.equal(status, 0, stderr);
  });
});
