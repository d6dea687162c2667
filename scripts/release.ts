/**
 * Makes a release: `npm run release -- 0.2.0`. Checks that the tree is clean and the version is
 * new, sets it in every package and in CHANGELOG.md, runs the checks and the tests, commits, tags,
 * and packs the packages into release/. Nothing is pushed or published. `--skip-tests` leaves the
 * tests out.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';

const [version = '', ...options] = process.argv.slice(2);
const current = versionOf('package.json');

if (!/^\d+\.\d+\.\d+$/.test(version)) fail('give the new version: npm run release -- 0.2.0');
if (options.some((option) => option !== '--skip-tests')) fail('the only option is --skip-tests');
if (run('git', ['status', '--porcelain']) !== '') fail('the working tree is not clean: commit or stash first');
if (run('git', ['tag', '--list', `v${version}`]) !== '') fail(`the tag v${version} exists`);
const sorted = [current, version].toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }));
if (version !== current && sorted[1] !== version) fail(`the version is ${current} already`);

const date = new Date().toISOString().slice(0, 10);
const changelog = readFileSync('CHANGELOG.md', 'utf8');
if (!/^## \[Unreleased\]\n\n(?!## )/m.test(changelog)) fail('CHANGELOG.md says nothing under [Unreleased]');
writeFileSync('CHANGELOG.md', changelog.replace('## [Unreleased]\n', `## [Unreleased]\n\n## [${version}] - ${date}\n`));
const { workspaces } = JSON.parse(readFileSync('package.json', 'utf8')) as { workspaces: string[] };
for (const folder of ['.', ...workspaces]) setVersion(`${folder}/package.json`);
run('npm', ['install', '--package-lock-only', '--ignore-scripts', '--offline']);

run('npm', ['run', 'check'], 'inherit');
if (!options.includes('--skip-tests')) run('npm', ['test'], 'inherit');
else run('npm', ['run', 'build'], 'inherit');

run('git', ['commit', '--quiet', '--all', '--message', `release ${version}`]);
run('git', ['tag', '--annotate', `v${version}`, '--message', `Pinward ${version}`]);
mkdirSync('release', { recursive: true });
run('npm', ['pack', '--workspaces', '--pack-destination', 'release'], 'inherit');
console.log(`\nv${version} is committed, tagged and packed in release/. Push it: git push --follow-tags`);

function versionOf(path: string): string {
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}

/** The package's own version, and that of the packages of this checkout that it depends on. */
function setVersion(path: string): void {
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as { version: string; dependencies?: Record<string, string> };
  manifest.version = version;
  for (const name of Object.keys(manifest.dependencies ?? {}))
    if (name.startsWith('@pinward/') && manifest.dependencies) manifest.dependencies[name] = version;
  writeFileSync(path, `${JSON.stringify(manifest, null, 2)}\n`);
}

function run(command: string, args: string[], stdio: 'pipe' | 'inherit' = 'pipe'): string {
  const { status, stdout, stderr } = spawnSync(command, args, { stdio: ['ignore', stdio, stdio], encoding: 'utf8' });
  if (status !== 0) fail(`${command} ${args.join(' ')} failed${stderr ? `:\n${stderr.trim()}` : ''}`);
  return stdout?.trim() ?? '';
}

function fail(text: string): never {
  console.error(`release: ${text}`);
  process.exit(1);
}
