/**
 * Builds and runs the sandbox, and again after every change of the source: `npm run dev`. Ctrl-C
 * ends it.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';

const built = spawnSync('npx', ['tsc', '-b', 'server'], { stdio: 'inherit' });
if (built.status !== 0) process.exit(built.status ?? 1);

const children: ChildProcess[] = [
  spawn('npx', ['tsc', '-b', 'server', '--watch', '--preserveWatchOutput'], { stdio: 'inherit' }),
  spawn(process.execPath, ['--watch', '--watch-preserve-output', 'server/dist/main.js', 'serve'], { stdio: 'inherit' }),
];
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    for (const child of children) child.kill(signal);
  });
