/** Builds to measure: this checkout, and earlier commits in folders of their own. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');

/** The server's main.js of this checkout (`npm run build` has made it). */
export const THIS_BUILD = join(ROOT, 'server/dist/main.js');

/**
 * Builds a commit below `scratch` and returns its main.js. Undefined if this checkout does not know
 * the commit.
 */
export function buildOf(commit: string, scratch: string): string | undefined {
  if (spawnSync('git', ['cat-file', '-e', `${commit}^{commit}`], { cwd: ROOT }).status !== 0) return undefined;
  const folder = join(scratch, `build-${commit}`);
  if (!existsSync(folder)) {
    run('git', ['clone', '--quiet', '--shared', ROOT, folder], ROOT);
    run('git', ['checkout', '--quiet', commit], folder);
    run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], folder);
    run('npm', ['run', 'build'], folder);
  }
  return join(folder, 'server/dist/main.js');
}

function run(command: string, args: string[], cwd: string): void {
  const { status, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}
