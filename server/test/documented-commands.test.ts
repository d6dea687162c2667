import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { operatorProgram } from '../src/commands/program.ts';

type Command = ReturnType<typeof operatorProgram>;

const ROOT = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8');

const program = operatorProgram(async () => {});
/** Every command that does something, by its whole name: `issuer limits list`. */
const commands = new Map(leavesOf(program));

function leavesOf(command: Command, name = ''): [name: string, command: Command][] {
  if (command.commands.length === 0) return [[name, command]];
  return command.commands.flatMap((one) => leavesOf(one as Command, `${name} ${one.name()}`.trim()));
}

/**
 * The commands of one row: a name without its group has that of the first, as in `keys list`,
 * `rotate`.
 */
function namesInRow(row: string): string[] {
  const [cell = ''] = row.slice(1).split(/(?<!\\)\|/);
  const names = [...cell.matchAll(/`([^`]+)`/g)].map(([, text = '']) => /^[a-z-]+( [a-z-]+)*/.exec(text)?.[0] ?? '');
  const [group = ''] = names[0]?.split(' ') ?? [];
  return names.map((name) => (name.split(' ')[0] === group ? name : `${group} ${name}`));
}

test('the table of docs/operating.md has every command, and no other', () => {
  const [, section = ''] = /^## Commands\n(.*?)^## /ms.exec(read('docs/operating.md')) ?? [];
  const rows = section.split('\n').filter((line) => line.startsWith('| `'));
  assert.deepEqual(rows.flatMap(namesInRow).sort(), [...commands.keys()].sort());
});

test('every command has a description, and so has each of its options', () => {
  for (const [name, command] of commands) {
    assert.ok(command.description(), name);
    for (const option of command.options) assert.ok(option.description, `${name} ${option.long}`);
  }
});

describe('a command line that a document shows is one of the program', () => {
  const documents = ['README.md', 'CHANGELOG.md', 'SECURITY.md', 'examples/java/README.md'];
  const guides = readdirSync(new URL('docs/', ROOT)).filter((name) => name.endsWith('.md'));
  for (const path of [...documents, ...guides.map((name) => `docs/${name}`)])
    test(path, () => {
      for (const [line, words = '', rest = ''] of read(path).matchAll(
        /pinward-server ([a-z]+(?: [a-z-]+)*)([^`\n#]*)/g,
      )) {
        const name = [...commands.keys()].find((one) => `${words} `.startsWith(`${one} `));
        assert.ok(name, `no command: ${line}`);
        const options = commands.get(name)?.options.map(({ long }) => long);
        for (const [option] of rest.matchAll(/--[a-z-]+/g)) assert.ok(options?.includes(option), line);
      }
    });
});
