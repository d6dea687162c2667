import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readConfig } from '../src/config.ts';
import { openPlatform, type Platform } from '../src/platform.ts';
import { sandboxPan } from '../src/sandbox/world.ts';
import { remoteMerchant } from './support/calls.ts';
import { CREDIT_API_KEY, ISSUER_NO, MERCHANT_NO, PHYSICAL_PACKAGE_NO, VIRTUAL_PACKAGE_NO } from './support/sandbox.ts';
import { type Installation, install, type Outcome, type ServerProcess, until } from './support/server-process.ts';
import { intactChain } from './support/stored-pin.ts';

let installation: Installation;
let server: ServerProcess;
let platform: Platform;
const atTheEnd: (() => Promise<void>)[] = [];
before(async () => {
  installation = install({ after: (work) => atTheEnd.push(work) });
  server = await installation.serve();
  platform = await openPlatform(readConfig({ PINWARD_DATA_DIR: installation.dataDir }));
});
after(async () => {
  await platform?.close();
  for (const work of atTheEnd) await work();
});

const line = (n: number, more = {}) => ({
  merchant_no: MERCHANT_NO,
  card_no: `C-old-${n}`,
  card_unique_no: `old-${n}`,
  cardholder_unique_no: `old-holder-${Math.floor(n / 2)}`,
  card_type: 'Physical',
  status: 'Activated',
  pan: sandboxPan(100_000 + n),
  expiry: '3105',
  ...more,
});
function fileOf(lines: (object | string)[]): string {
  const path = join(installation.scratch, `cards-${Math.random()}.jsonl`);
  writeFileSync(path, lines.map((one) => `${typeof one === 'string' ? one : JSON.stringify(one)}\n`).join(''));
  return path;
}
const run = (path: string): Promise<Outcome> => installation.run(['cards', 'import', path, '--issuer', ISSUER_NO]);
async function countOf(pattern: string): Promise<number> {
  const [[count] = [0]] = await platform.db.tuples<[number]>(
    'count',
    'select count(*) from cards where card_no like $1',
    [pattern],
  );
  return count;
}

test('a file of cards comes in while the platform serves, two cards to a cardholder, and their PINs can be set', async () => {
  const { status, stdout, stderr } = await run(fileOf(Array.from({ length: 300 }, (_, n) => line(n))));
  assert.equal(status, 0, stderr);
  assert.equal(stdout, '300 cards added, 0 were there already, 0 lines refused\n');
  const [[cardholders] = [0]] = await platform.db.tuples<[number]>(
    'holders',
    "select count(*) from cardholders where cardholder_unique_no like 'old-holder-%'",
  );
  assert.equal(cardholders, 150);
  const [[cardholderNo] = ['']] = await platform.db.tuples<[string]>(
    'holder',
    "select cardholder_no from cards where card_no = 'C-old-7'",
  );
  assert.equal((await remoteMerchant(server.url).setPin('142536', { cardNo: 'C-old-7', cardholderNo })).code, 0);
  assert.deepEqual(
    (await intactChain(platform.db, 'C-old-7')).map(({ action }) => action),
    ['card_created', 'pin_set'],
  );
});

test('a bad line is reported by number and fault, without its content, and all other lines are imported', async () => {
  const lines = [
    line(1000),
    '{"pan": "9999990000000014", oops',
    line(1001, { pan: '4111111111111111' }),
    line(1002, { pan: undefined }),
    '',
    line(1003, { status: 'Delete' }),
    line(1004, { merchant_no: 'M000' }),
    line(1005, { pan: sandboxPan(1) }),
    line(1006, { expiry: '3113' }),
    line(1007),
    line(1000, { card_no: 'C-old-1000b', pan: sandboxPan(555) }),
    line(1008, { email: 'a\u0000@example.com' }),
    '[]',
  ];
  const { status, stdout, stderr } = await run(fileOf(lines));
  assert.equal(status, 1);
  assert.deepEqual(stdout.trim().split('\n').sort(), [
    '2 cards added, 0 were there already, 10 lines refused',
    'line 11: Card unique number was used with another application',
    'line 12: email invalid parameter',
    'line 13: it invalid parameter',
    'line 2: it is not JSON',
    'line 3: pan invalid parameter',
    'line 4: pan invalid parameter',
    'line 6: status invalid parameter',
    'line 7: merchant_no is not a merchant of the issuer',
    'line 8: PAN is in use',
    'line 9: expiry invalid parameter',
  ]);
  assert.match(stderr, /run the file again/);
  assert.doesNotMatch(stdout + stderr, /\d{12}/);
  assert.equal(await countOf('C-old-100_'), 2);
});

test('a killed import continues when it is started again, and a finished file changes nothing', async () => {
  const path = fileOf(Array.from({ length: 1_500 }, (_, n) => line(10_000 + n)));
  const killed = installation.start(['cards', 'import', path, '--issuer', ISSUER_NO]);
  await until('some cards are in', async () => (await countOf('C-old-1____')) > 200);
  await killed.stop('SIGKILL');
  const before = await countOf('C-old-1____');
  assert.ok(before < 1_500, 'it was killed too late');
  const { status, stdout } = await run(path);
  assert.equal(status, 0);
  const [, added, there] = /^(\d+) cards added, (\d+) were there already, 0 lines refused$/m.exec(stdout) ?? [];
  assert.equal(Number(added) + Number(there), 1_500);
  assert.ok(Number(there) >= before);
  assert.equal(await countOf('C-old-1____'), 1_500);
  assert.match((await run(path)).stdout, /^0 cards added, 1500 were there already/m);
});

test('a missing file or issuer is reported in one line', async () => {
  const missing = await run('/nowhere/cards.jsonl');
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /no such file|cannot be read/i);
  const nobody = await installation.run(['cards', 'import', fileOf([]), '--issuer', 'I000']);
  assert.deepEqual([nobody.status, nobody.stderr], [1, 'pinward-server: there is no issuer I000\n']);
});

test('a line that is not UTF-8 or well-formed Unicode is refused, and only a line break ends a line', async () => {
  const path = fileOf([]);
  const good = JSON.stringify(line(30_000, { card_unique_no: 'text-1', card_name: 'a\u2028b', card_no: undefined }));
  const latin = JSON.stringify(line(30_001, { card_unique_no: 'caf\xe9' }));
  const lone = JSON.stringify(line(30_002, { cardholder_unique_no: '\ud800' }));
  const zero = JSON.stringify(line(30_003, { card_name: 'a\u0000' }));
  const blank = JSON.stringify(line(30_004, { card_unique_no: ' \u200b' }));
  const last = JSON.stringify(line(30_005, { card_unique_no: '卡 💳' }));
  writeFileSync(
    path,
    Buffer.concat([
      Buffer.from(`\ufeff${good}\r\n`, 'utf8'),
      Buffer.from(`${latin}\r\n`, 'latin1'),
      Buffer.from(`${lone}\n${zero}\n${blank}\n\n${last}`, 'utf8'),
    ]),
  );
  const { status, stdout } = await run(path);
  assert.equal(status, 1);
  assert.deepEqual(stdout.trim().split('\n').toSorted(), [
    '2 cards added, 0 were there already, 4 lines refused',
    'line 2: it is not text in UTF-8',
    'line 3: cardholder_unique_no invalid parameter',
    'line 4: card_name invalid parameter',
    'line 5: card_unique_no invalid parameter',
  ]);
  const names = await platform.db.tuples(
    'stored-texts',
    "select card_unique_no, card_name from cards where card_unique_no in ('text-1', '卡 💳') order by 1",
  );
  assert.deepEqual(names, [
    ['text-1', 'a\u2028b'],
    ['卡 💳', ''],
  ]);
});

test('after a rotation of the fingerprint key a PAN is known under its old fingerprint until rewrap is through, and after', async () => {
  const taken = async () => {
    const { stdout } = await run(fileOf([line(20_000, { pan: sandboxPan(1) })]));
    return /PAN is in use/.test(stdout);
  };
  assert.ok(await taken());
  const rotated = await installation.run(['keys', 'rotate', 'pan-fingerprint', '--active-in', '0']);
  assert.equal(rotated.status, 0, rotated.stderr);
  assert.ok(await taken(), 'under the version before');
  assert.equal((await run(fileOf([line(20_001)]))).status, 0);
  assert.match(
    (await run(fileOf([line(20_002, { pan: sandboxPan(100_000 + 20_001) })]))).stdout,
    /PAN is in use/,
    'under the new one',
  );
  const moved = await installation.run(['keys', 'rewrap']);
  assert.equal(moved.status, 0, moved.stderr);
  assert.ok(await taken(), 'and when all are moved');
});

test('operators create BINs and packages, and nobody gets a disabled one', async () => {
  const succeeds = async (args: string[]) => {
    const { status, stdout, stderr } = await installation.run(args);
    assert.equal(status, 0, stderr);
    return stdout;
  };
  const refuses = async (args: string[], words: RegExp) => {
    const { status, stderr } = await installation.run(args);
    assert.equal(status, 1);
    assert.match(stderr, words);
  };
  const binNo = (
    await succeeds([
      'bin',
      'create',
      '--issuer',
      ISSUER_NO,
      '--bin',
      '9888888',
      '--organization',
      'Test',
      '--types',
      'Virtual',
    ])
  ).trim();
  assert.match(await succeeds(['bin', 'list']), new RegExp(`${binNo} +I202605220001 +9888888 +Test +Virtual +Enabled`));
  const sheet = join(installation.scratch, 'package.json');
  const content = {
    package_no: 'P-1',
    card_bin_no: binNo,
    package_type: 'Virtual',
    package_en_name: 'One',
    package_cn_name: '一',
  };
  writeFileSync(sheet, JSON.stringify(content));
  assert.equal(await succeeds(['package', 'create', sheet]), 'P-1\n');
  const packages = async () => {
    const credit = remoteMerchant(server.url, CREDIT_API_KEY);
    return ((await credit.call('/card/package/list', {})).data as { list: { package_no: string }[] }).list.map(
      ({ package_no }) => package_no,
    );
  };
  assert.deepEqual(await packages(), ['P-1', VIRTUAL_PACKAGE_NO, PHYSICAL_PACKAGE_NO]);
  await succeeds(['package', 'disable', 'P-1']);
  assert.deepEqual(await packages(), [VIRTUAL_PACKAGE_NO, PHYSICAL_PACKAGE_NO]);
  await succeeds(['package', 'enable', 'P-1']);
  await succeeds(['bin', 'disable', binNo]);
  assert.deepEqual(await packages(), [VIRTUAL_PACKAGE_NO, PHYSICAL_PACKAGE_NO]);

  const other = /^issuer +(\S+)$/m.exec(
    await succeeds(['issuer', 'create', '--name', 'Other', '--merchant', MERCHANT_NO]),
  )?.[1] as string;
  for (const digits of ['988888888', '9888888', '988888'])
    await refuses(
      ['bin', 'create', '--issuer', other, '--bin', digits, '--organization', 'x'],
      /overlaps with one of issuer I202605220001/,
    );
  await succeeds(['bin', 'create', '--issuer', other, '--bin', '9888887', '--organization', 'Test']);
  await refuses(
    ['bin', 'create', '--issuer', 'I000', '--bin', '977777', '--organization', 'x'],
    /there is no issuer I000/,
  );
  await refuses(
    ['bin', 'create', '--issuer', ISSUER_NO, '--bin', '98', '--organization', 'x'],
    /a BIN has 6 to 11 digits/,
  );
  await refuses(['package', 'disable', 'P-0'], /there is no package P-0/);
  writeFileSync(sheet, JSON.stringify({ ...content, package_no: 'P-2', fee_detail: { open_cost: 'free' } }));
  await refuses(['package', 'create', sheet], /fee_detail\/open_cost/);
  writeFileSync(sheet, JSON.stringify({ ...content, package_no: 'P-2', card_bin_no: 'B000' }));
  await refuses(['package', 'create', sheet], /there is no BIN B000/);
});

test('a line that is too long is named by its number, and the lines around it come in', async () => {
  const huge = `{"pan": "${'9'.repeat(20 * 1024 * 1024)}`;
  const { status, stdout } = await run(fileOf([line(3000), huge, line(3001), ' '.repeat(70_000), line(3002)]));
  assert.equal(status, 1);
  assert.deepEqual(stdout.trim().split('\n').sort(), [
    '3 cards added, 0 were there already, 2 lines refused',
    'line 2: it is longer than 64 kB',
    'line 4: it is longer than 64 kB',
  ]);
  assert.equal(await countOf('C-old-300_'), 3);
});

test('a line as long as a whole file takes no more memory than a short one', async () => {
  const path = join(installation.scratch, 'endless.jsonl');
  const file = await open(path, 'w');
  await file.truncate(700 * 1024 * 1024); // without holes filled: it takes no room on the disk
  await file.write(`\n${JSON.stringify(line(3100))}`, 700 * 1024 * 1024);
  await file.close();
  const small = { NODE_OPTIONS: '--max-old-space-size=128' };
  const args = ['cards', 'import', path, '--issuer', ISSUER_NO];
  const { status, stdout } = await installation.run(args, { env: small });
  assert.equal(status, 1);
  assert.equal(stdout, 'line 1: it is longer than 64 kB\n1 cards added, 0 were there already, 1 lines refused\n');
});

test('line ends of any kind, a byte order mark and a missing last newline do no harm; other bytes are named', async () => {
  const bytes = Buffer.concat([
    Buffer.from(`\uFEFF${JSON.stringify(line(3200))}\r\n\r\n`),
    Buffer.from(`${JSON.stringify(line(3201))}\0\n`),
    Buffer.from(`${JSON.stringify(line(3202, { card_name: 'M' }))}\n`.replace('"M"', '"M\u00fcller"'), 'latin1'),
    Buffer.from(`\uFEFF\n \t\n${JSON.stringify(line(3203))}`),
  ]);
  const path = join(installation.scratch, 'ends.jsonl');
  writeFileSync(path, bytes);
  const { stdout } = await run(path);
  assert.deepEqual(stdout.trim().split('\n').sort(), [
    '2 cards added, 0 were there already, 2 lines refused',
    'line 3: it is not JSON',
    'line 4: it is not text in UTF-8',
  ]);
});

test('a pipe and standard input can be read; a directory, a device and a file that is not there are refused in a line', async () => {
  const pipe = join(installation.scratch, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const reading = run(pipe);
  await writeFile(pipe, `${JSON.stringify(line(3300))}\n`);
  assert.equal((await reading).stdout, '1 cards added, 0 were there already, 0 lines refused\n');
  const input = `${JSON.stringify(line(3301))}\n`;
  const fromInput = await installation.run(['cards', 'import', '-', '--issuer', ISSUER_NO], { input });
  assert.equal(fromInput.stdout, '1 cards added, 0 were there already, 0 lines refused\n');

  for (const [path, told] of [
    [installation.scratch, 'is a directory, not a file'],
    ['/dev/zero', 'is a device, not a file'],
    ['/nowhere.jsonl', 'cannot be read: there is no such file'],
  ] as const) {
    const { status, stderr } = await run(path);
    assert.equal(status, 1);
    assert.equal(stderr, `pinward-server: ${path} ${told}\n`);
  }
});
