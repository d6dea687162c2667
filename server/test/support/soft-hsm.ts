import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { HsmConfig } from '../../src/keys/pkcs11.ts';
import { Secret } from '../../src/secret.ts';
import { until } from './server-process.ts';

/*
 * SoftHSM2 stands in for an HSM, and p11-kit for the network to it: its server holds the token, its
 * client module is what the platform loads, and killing the server takes the HSM away.
 */

const MODULE = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
].find((path) => existsSync(path));
const CLIENT = ['x86_64', 'aarch64']
  .map((machine) => `/usr/lib/${machine}-linux-gnu/pkcs11/p11-kit-client.so`)
  .find((path) => existsSync(path));
const SERVER = ['/usr/libexec/p11-kit/p11-kit-server', '/usr/lib/p11-kit/p11-kit-server'].find((path) =>
  existsSync(path),
);

/** Why HSM tests cannot run here, or false. CI does not let them be skipped. */
export const noHsm: string | false =
  MODULE === undefined
    ? 'no PKCS#11 module is here: apt-get install softhsm2'
    : spawnSync(process.execPath, ['-e', "require('pkcs11js')"], { cwd: new URL('../..', import.meta.url).pathname })
          .status !== 0
      ? 'the optional package pkcs11js was not built'
      : false;
export const noRemoteHsm: string | false =
  noHsm ||
  (CLIENT === undefined || SERVER === undefined
    ? 'p11-kit is not here: apt-get install p11-kit p11-kit-modules'
    : false);
if (process.env.PINWARD_REQUIRE_HSM && noRemoteHsm) throw new Error(`HSM tests must not be skipped: ${noRemoteHsm}`);

export const PIN = '48151623';
const TOKEN = 'pinward-test';

export interface SoftHsm {
  config: HsmConfig;
  /** What the platform's environment says, for one in another process. */
  env: Record<string, string>;
  /** Makes another token with the same label and PIN. */
  addToken(): void;
  /** Changes the user's PIN. */
  changePin(from: string, to: string): void;
  /** Whether a wrong PIN was tried on a token since the last right one. */
  sawWrongPin(): boolean;
  close(): void;
}

/**
 * Runs a script in a process of its own, where `c` is the module with the test's tokens. Returns
 * what it prints.
 */
function onModule(conf: string, script: string): string {
  const ran = spawnSync(
    process.execPath,
    [
      '-e',
      `const p = require('pkcs11js'); const c = new p.PKCS11(); c.load(${JSON.stringify(MODULE)}); c.C_Initialize();
       const slots = c.C_GetSlotList(true).filter((slot) => c.C_GetTokenInfo(slot).label.trim() === '${TOKEN}');
       ${script}
       c.C_Finalize();`,
    ],
    { cwd: new URL('../..', import.meta.url).pathname, env: { ...process.env, SOFTHSM2_CONF: conf }, encoding: 'utf8' },
  );
  if (ran.status !== 0) throw new Error(`a script on the token failed: ${ran.stderr}`);
  return ran.stdout.trim();
}

/**
 * A token of its own. SoftHSM reads the environment of whoever loads it: one token a test process.
 */
export function softHsm(): SoftHsm {
  const folder = mkdtempSync(join(tmpdir(), 'pinward-hsm-'));
  mkdirSync(join(folder, 'tokens'));
  const conf = join(folder, 'softhsm2.conf');
  writeFileSync(
    conf,
    `directories.tokendir = ${join(folder, 'tokens')}\nobjectstore.backend = file\nlog.level = ERROR\n`,
  );
  process.env.SOFTHSM2_CONF = conf;
  const addToken = (): void => {
    const made = spawnSync(
      'softhsm2-util',
      ['--init-token', '--free', '--label', TOKEN, '--pin', PIN, '--so-pin', '31415926'],
      {
        env: { ...process.env, SOFTHSM2_CONF: conf },
        encoding: 'utf8',
      },
    );
    if (made.status !== 0) throw new Error(`softhsm2-util: ${made.stderr}${made.stdout}`);
  };
  addToken();
  const module = MODULE as string;
  return {
    config: { module, token: TOKEN, pin: new Secret(PIN), labelPrefix: 'test' },
    env: { SOFTHSM2_CONF: conf, PINWARD_PKCS11_MODULE: module, PINWARD_PKCS11_TOKEN: TOKEN, PINWARD_PKCS11_PIN: PIN },
    addToken,
    changePin: (from, to) =>
      void onModule(
        conf,
        `const session = c.C_OpenSession(slots[0], p.CKF_SERIAL_SESSION | p.CKF_RW_SESSION);
         c.C_Login(session, p.CKU_USER, '${from}'); c.C_SetPIN(session, '${from}', '${to}');`,
      ),
    sawWrongPin: () =>
      onModule(
        conf,
        'console.log(slots.some((slot) => (c.C_GetTokenInfo(slot).flags & p.CKF_USER_PIN_COUNT_LOW) !== 0))',
      ) === 'true',
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export interface RemoteHsm extends SoftHsm {
  /** Kills the server and every process that it started for a client. */
  goAway(): Promise<void>;
  comeBack(): Promise<void>;
}

/** The same token behind a server that can be killed. */
export async function remoteHsm(): Promise<RemoteHsm> {
  const local = softHsm();
  const socket = join(mkdtempSync(join(tmpdir(), 'pinward-p11-')), 'socket');
  const env = { ...process.env, SOFTHSM2_CONF: local.env.SOFTHSM2_CONF as string };
  let server: ChildProcess | undefined;
  const comeBack = async (): Promise<void> => {
    rmSync(socket, { force: true });
    // A group of its own, so that it can be killed with the processes that it starts for its
    // clients.
    server = spawn(SERVER as string, ['-f', '-n', socket, '--provider', MODULE as string, `pkcs11:token=${TOKEN}`], {
      env,
      detached: true,
      stdio: 'ignore',
    });
    await until('the HSM listens', () => existsSync(socket));
  };
  const goAway = async (): Promise<void> => {
    const gone = server;
    if (gone?.pid === undefined) return;
    server = undefined;
    const ended = new Promise((resolve) => gone.once('exit', resolve));
    process.kill(-gone.pid, 'SIGKILL');
    await ended;
  };
  await comeBack();
  process.env.P11_KIT_SERVER_ADDRESS = `unix:path=${socket}`;
  return {
    ...local,
    config: { ...local.config, module: CLIENT as string },
    env: { ...local.env, PINWARD_PKCS11_MODULE: CLIENT as string, P11_KIT_SERVER_ADDRESS: `unix:path=${socket}` },
    goAway,
    comeBack,
    close() {
      void goAway();
      local.close();
    },
  };
}
