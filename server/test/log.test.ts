import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

/**
 * Runs statements on a log in a process of its own; gives the messages that reached its standard
 * output.
 */
function messagesOf(statements: string): string[] {
  const log = new URL('../dist/log.js', import.meta.url).pathname;
  const program = `import { createLog } from ${JSON.stringify(log)}; const log = createLog('info'); ${statements}`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => (JSON.parse(line) as { msg: string }).msg);
}

test('a fatal line, and what came before it, is written before the process can be killed', () => {
  assert.deepEqual(messagesOf("log.info('one'); log.fatal('two'); process.kill(process.pid, 'SIGKILL');"), [
    'one',
    'two',
  ]);
});

test('a process that ends, or flushes and exits, loses no line', () => {
  assert.deepEqual(messagesOf("log.info('one');"), ['one']);
  assert.deepEqual(messagesOf("log.info('one'); process.exit(0);"), ['one']);
  assert.deepEqual(messagesOf("log.info('one'); log.flush(() => process.kill(process.pid, 'SIGKILL'));"), ['one']);
});

test('lines arrive whole and in order, even many pages of them', () => {
  const messages = messagesOf(
    "for (let i = 0; i < 1000; i++) log.info('line ' + i); setTimeout(() => process.kill(process.pid, 'SIGKILL'), 2000);",
  );
  assert.deepEqual(
    messages,
    Array.from({ length: 1000 }, (_, i) => `line ${i}`),
  );
});
