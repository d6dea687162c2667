import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, describe, test } from 'node:test';
import { inspect } from 'node:util';
import pino from 'pino';
import { ConfigError, readConfig } from '../src/config.ts';
import { logOptions } from '../src/log.ts';
import { Secret } from '../src/secret.ts';
import { SETTING_NAMES } from '../src/setting-names.ts';

const scratch = mkdtempSync(join(tmpdir(), 'pinward-config-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const HEX = 'ab'.repeat(32);

function faultsOf(env: Record<string, string>): string[] {
  try {
    readConfig(env);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.faults;
  }
  return [];
}

test('an empty environment gives a sandbox that only this machine can reach', () => {
  const config = readConfig({});
  assert.deepEqual(
    [
      config.mode,
      config.host,
      config.port,
      config.dataDir,
      config.databaseUrl,
      config.kek,
      config.trustProxy,
      config.accessTokenLifetimeMs,
    ],
    ['sandbox', '127.0.0.1', 8787, resolve('.pinward'), undefined, undefined, [], 86_400_000],
  );
  assert.ok(Object.isFrozen(config));
});

test('empty and blank variables count as absent, and blanks around a value for nothing', () => {
  const absent = { PORT: '', PINWARD_KEK: ' ', DATABASE_URL: '', TRUST_PROXY: ' ' };
  assert.deepEqual(readConfig(absent), readConfig({}));
  assert.equal(readConfig({ PORT: ' 80 ' }).port, 80);
  assert.deepEqual(readConfig({ TRUST_PROXY: '10.0.0.0/8, ::1' }).trustProxy, ['10.0.0.0/8', '::1']);
});

test('production has tighter limits than a sandbox, and both can be set', () => {
  const production = { PINWARD_MODE: 'production', DATABASE_URL: 'postgres://where', PINWARD_KEK: HEX };
  const limits = {
    failedAuthPerMinute: 60,
    callsPerCredentialPerMinute: 60_000,
    pinSetsPerCardPerMinute: 10,
    malformedBlocksPerHour: 10,
  };
  assert.deepEqual(readConfig(production).limits, limits);
  assert.deepEqual(readConfig({}).limits, {
    failedAuthPerMinute: 6_000,
    callsPerCredentialPerMinute: 600_000,
    pinSetsPerCardPerMinute: 600,
    malformedBlocksPerHour: 10,
  });
  for (const env of [{}, production])
    assert.equal(readConfig({ ...env, LIMIT_PIN_SETS_PER_CARD_PER_MINUTE: '3' }).limits.pinSetsPerCardPerMinute, 3);
});

test('production without anything names all that is missing at once', () => {
  const faults = faultsOf({ PINWARD_MODE: 'production' });
  assert.equal(faults.length, 2);
  assert.match(faults.join('\n'), /DATABASE_URL[\s\S]*key-encryption key/);
});

describe('a fault is named and its value is not', () => {
  const table: [name: string, value: string][] = [
    ['PORT', '70000'],
    ['PORT', '8o8o'],
    ['PINWARD_MODE', 'producktion'],
    ['DATABASE_URL', 'mysql://who:tellnobody@where'],
    ['TRUST_PROXY', '10.0.0.0/33'],
    ['TRUST_PROXY', 'loopback'],
    ['TRUST_PROXY', '0.0.0.0/0'],
    ['TRUST_PROXY', '10.0.0.0/8, ::/0'],
    ['TRUST_PROXY', 'fe80::1%eth0'],
    ['LOG_LEVEL', 'loud'],
    ['ACCESS_TOKEN_LIFETIME_SECONDS', '99999999'],
    ['LIMIT_PIN_SETS_PER_CARD_PER_MINUTE', '-1'],
    ['PINWARD_KEK', 'abcdef'],
    ['PINWARD_KEK_FILE', '/nowhere/kek'],
    ['PINWARD_KEK_PASSPHRASE', 'tooshort'],
    ['PINWARD_KEK_PASSPHRASE', 'caf\ufffd correct horse battery'],
    ['DATABASE_URL', 'postgres://who:caf\ufffd@where/db'],
  ];
  for (const [name, value] of table) {
    test(`${name}=${value}`, () => {
      const faults = faultsOf({ [name]: value });
      assert.equal(faults.length, 1);
      assert.ok(faults[0]?.includes(name) && !faults[0].includes(value), faults[0]);
    });
  }

  test('at either end of what a number may be', () => {
    for (const [name, inside, outside] of [
      ['PORT', ['0', '65535'], ['-1', '65536', '1e3', '0x50', '80.0']],
      ['ACCESS_TOKEN_LIFETIME_SECONDS', ['1', '2592000'], ['0', '2592001']],
      ['LIMIT_FAILED_AUTH_PER_MINUTE', ['1', '1000000000'], ['0', '1000000001']],
    ] as const) {
      for (const value of inside) assert.deepEqual(faultsOf({ [name]: value }), []);
      for (const value of outside) assert.equal(faultsOf({ [name]: value }).length, 1, `${name}=${value}`);
    }
  });

  test('and all of them at once', () => {
    assert.equal(faultsOf({ PORT: 'x', LOG_LEVEL: 'y', PINWARD_KEK: 'z', TRUST_PROXY: 'w' }).length, 4);
  });
});

describe('names of settings', () => {
  test('are those that the operating guide describes', () => {
    const guide = readFileSync(new URL('../../docs/operating.md', import.meta.url), 'utf8');
    const rows = guide.split('\n').filter((line) => /^\| `[A-Z]/.test(line));
    const named = rows.flatMap((row) => row.split('|')[1]?.match(/[A-Z_]*[A-Z0-9]+_?[A-Z0-9_]*/g) ?? []);
    const [prefix] = named.filter((name) => name === 'PINWARD_OLD_KEK');
    const whole = named.map((name) => (name.startsWith('_') ? `${prefix}${name}` : name));
    assert.deepEqual(whole.sort(), [...SETTING_NAMES].sort());
  });

  test('that are nearly a setting are refused, with the setting; those of other programs are not', () => {
    for (const [name, meant] of [
      ['PINWARD_MDOE', 'PINWARD_MODE'],
      ['PINWARD_KEY', 'PINWARD_KEK'],
      ['pinward_mode', 'PINWARD_MODE'],
      ['PINWARD_KEY_FLIE', 'PINWARD_KEY_FILE'],
      ['LIMIT_FAILED_AUTHS_PER_MINUTE', 'LIMIT_FAILED_AUTH_PER_MINUTE'],
      ['TRUST_PROXYS', 'TRUST_PROXY'],
    ] as const)
      assert.match(faultsOf({ [name]: 'x' }).join(), new RegExp(`^${name} is not a setting; ${meant} is$`));
    // Kubernetes sets the first four in every pod if a service has the name pinward.
    for (const name of ['PINWARD_PORT', 'PINWARD_SERVICE_HOST', 'PINWARD_SERVICE_PORT', 'PINWARD_PORT_80_TCP_ADDR'])
      assert.deepEqual(faultsOf({ [name]: 'tcp://10.0.0.1:80' }), []);
    for (const name of ['HOSTS', 'DATABASE_URI', 'LOG_LEVELS', 'PATH', 'PINWARD_NEXT_VERSIONS_SETTING'])
      assert.deepEqual(faultsOf({ [name]: 'x' }), []);
  });
});

describe('the key-encryption key', () => {
  test('comes from exactly one setting', () => {
    assert.match(faultsOf({ PINWARD_KEK: HEX, PINWARD_KEK_PASSPHRASE: 'correct horse battery' }).join(), /only one of/);
  });

  test('that is given twice is not called missing', () => {
    const production = { PINWARD_MODE: 'production', DATABASE_URL: 'postgres://where' };
    assert.equal(faultsOf({ ...production, PINWARD_KEK: HEX, PINWARD_KEK_FILE: '/nowhere' }).length, 1);
  });

  test('must not be short in its file either, and the fault does not show its content', () => {
    const path = join(scratch, 'short');
    writeFileSync(path, 'cafe0123\n', { mode: 0o600 });
    const faults = faultsOf({ PINWARD_KEK_FILE: path });
    assert.equal(faults.length, 1);
    assert.match(faults.join(), /PINWARD_KEK_FILE.*64 hex digits/);
    assert.doesNotMatch(faults.join(), /cafe0123/);
  });

  test('may stand in its file after a byte order mark and before any line break, but only in UTF-8', () => {
    const path = join(scratch, 'marked');
    writeFileSync(path, `\ufeff${HEX}\r\n\r\n`, { mode: 0o600 });
    const { kek } = readConfig({ PINWARD_KEK_FILE: path });
    assert.ok(kek?.kind === 'key' && kek.key.expose().equals(Buffer.from(HEX, 'hex')));
    writeFileSync(path, Buffer.from(`\ufeff${HEX}`, 'utf16le'));
    assert.match(faultsOf({ PINWARD_KEK_FILE: path }).join(), /^PINWARD_KEK_FILE must hold text in UTF-8$/);
  });

  test('comes from a file that its owner alone can read', () => {
    const path = join(scratch, 'kek');
    writeFileSync(path, `${HEX}\n`);
    chmodSync(path, 0o644);
    assert.match(faultsOf({ PINWARD_KEK_FILE: path }).join(), /chmod 600/);
    chmodSync(path, 0o600);
    const { kek } = readConfig({ PINWARD_KEK_FILE: path });
    assert.ok(kek?.kind === 'key' && kek.key.expose().equals(Buffer.from(HEX, 'hex')));
  });
});

test('a configuration does not print its secrets', () => {
  const config = readConfig({ DATABASE_URL: 'postgres://who:tellnobody@where/db', PINWARD_KEK: HEX });
  const printed = `${inspect(config, { depth: 9 })} ${JSON.stringify(config)}`;
  for (const secret of ['tellnobody', HEX, HEX.toUpperCase()]) assert.ok(!printed.includes(secret));
});

test('a secret prints as [secret] in a string, in JSON, in inspect and in the log, and is given only when asked for', () => {
  const secret = new Secret('tellnobody');
  const lines: string[] = [];
  pino(logOptions('info'), { write: (line: string) => void lines.push(line) }).info(
    { secret, nested: { list: [secret] } },
    `here: ${secret}`,
  );
  for (const printed of [
    `${secret}`,
    JSON.stringify({ secret }),
    inspect({ secret }, { showHidden: true }),
    lines.join(),
  ]) {
    assert.match(printed, /\[secret\]/);
    assert.ok(!printed.includes('tellnobody'));
  }
  assert.equal(secret.expose(), 'tellnobody');
});
