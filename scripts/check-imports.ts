/**
 * Checks who imports whom, type imports included: `npm run check`. docs/architecture.md draws the
 * order. Cycles are Biome's matter (noImportCycles in biome.json).
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';

/**
 * The rooms of the server, from the top down. A file imports from its own room and from the rows
 * below it. Rooms in one row do not import each other. A room is a folder, with a slash, or a file.
 */
const ROWS = [
  ['main.ts'],
  ['commands/', 'housekeeping.ts', 'app.ts'],
  ['platform.ts', 'api/'],
  ['sandbox/'],
  ['custody/', 'callbacks/'],
  ['pins/'],
  ['cards/'],
  ['products/', 'cardholders/', 'zone-keys/'],
  ['issuers/', 'merchants/'],
  ['services.ts'],
  ['audit/', 'outbox/', 'config.ts'],
  ['db/', 'net/'],
  ['keys/'],
  ['crypto/'],
  [
    'rate-limit.ts',
    'log.ts',
    'run-every.ts',
    'order-number.ts',
    'clock-window.ts',
    'random-text.ts',
    'secret-file.ts',
    'setting-names.ts',
    'utc-time.ts',
    'version.ts',
  ],
  ['files.ts'],
  ['text.ts'],
  ['api-error.ts', 'operator-error.ts', 'secret.ts'],
];

/** Packages that only some rooms of the server may import. */
const PACKAGES: [name: RegExp, rooms: string[], why: string][] = [
  [/^(fastify|@fastify\/.*)$/, ['app.ts', 'api/'], 'HTTP stays in api/ and app.ts'],
  [/^pg$/, ['db/'], 'only db/ imports the driver'],
  [/^jose$/, ['crypto/'], 'jose serves crypto/ alone'],
  [/^pkcs11js$/, ['keys/'], 'PKCS#11 stays in keys/'],
  [/^commander$/, ['commands/'], 'the command line stays in commands/'],
];

/** What each package may import of the others: by name, never by a path into it. */
const WORKSPACES: Record<string, string[]> = {
  contract: [],
  server: ['@pinward/contract'],
};

/** Programs around the packages, which may reach into the server. */
const FREE = /^(server\/test|attack|bench|demo|scripts)\//;

const SERVER = 'server/src/';

interface Import {
  from: string;
  line: number;
  name: string;
}

/** Faults in words, for files by their paths from the root of the checkout. */
export function faultsOf(files: ReadonlyMap<string, string>): string[] {
  const faults: string[] = [];
  for (const [path, text] of files) {
    if (FREE.test(path)) continue;
    for (const one of importsOf(path, text)) {
      const fault = faultOf(one);
      if (fault !== undefined) faults.push(`${one.from}:${one.line}: imports ${one.name}: ${fault}`);
    }
  }
  return faults;
}

const IMPORT = /^(?:import|export)\b[^;']*?\bfrom '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm;

/** Static, type and dynamic imports, and re-exports. */
function importsOf(path: string, text: string): Import[] {
  return [...text.matchAll(IMPORT)].map((match) => ({
    from: path,
    line: text.slice(0, match.index).split('\n').length,
    name: (match[1] ?? match[2] ?? match[3]) as string,
  }));
}

function faultOf({ from, name }: Import): string | undefined {
  const [workspace = ''] = from.split('/');
  const allowed = WORKSPACES[workspace];
  if (allowed === undefined) return undefined;
  if (name.startsWith('.')) {
    const target = posix.join(dirname(from), name);
    if (!target.startsWith(`${workspace}/`)) return 'packages import each other by name';
    return from.startsWith(SERVER) ? orderFault(from.slice(SERVER.length), target.slice(SERVER.length)) : undefined;
  }
  if (workspace === 'contract') return 'contract/ imports nothing';
  if (name.startsWith('@pinward/') && !allowed.some((one) => name.startsWith(`${one}/`)))
    return `${workspace}/ imports only ${allowed.join(', ')}`;
  if (!from.startsWith(SERVER)) return undefined;
  const rule = PACKAGES.find(([pattern]) => pattern.test(name));
  if (rule === undefined) return undefined;
  const [, rooms, why] = rule;
  return rooms.some((room) => isIn(from.slice(SERVER.length), room)) ? undefined : why;
}

function orderFault(from: string, to: string): string | undefined {
  const [fromRow, fromRoom] = placeOf(from);
  const [toRow, toRoom] = placeOf(to);
  if (fromRow === -1) return `${from} has no room in scripts/check-imports.ts`;
  if (toRow === -1) return `${to} has no room in scripts/check-imports.ts`;
  if (fromRoom === toRoom || fromRow < toRow) return undefined;
  return fromRow === toRow ? `${fromRoom} and ${toRoom} stand side by side` : `${fromRoom} stands below ${toRoom}`;
}

function placeOf(path: string): [row: number, room: string] {
  for (const [row, rooms] of ROWS.entries()) for (const room of rooms) if (isIn(path, room)) return [row, room];
  return [-1, path];
}

function isIn(path: string, room: string): boolean {
  return room.endsWith('/') ? path.startsWith(room) : path === room;
}

if (process.argv[1] === import.meta.filename) {
  const root = join(import.meta.dirname, '..');
  const list = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts', '*.tsx'], {
    cwd: root,
    encoding: 'utf8',
  });
  const files = new Map<string, string>();
  for (const path of list.split('\n').filter((one) => one !== '')) {
    try {
      files.set(path, readFileSync(join(root, path), 'utf8'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error; // deleted, and not committed yet
    }
  }
  const faults = faultsOf(files);
  for (const fault of faults) console.error(fault);
  if (faults.length > 0) process.exit(1);
  console.log(`imports: ${files.size} files in order`);
}
