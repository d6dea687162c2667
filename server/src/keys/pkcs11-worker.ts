import { parentPort, workerData } from 'node:worker_threads';
import type { Handle, PKCS11 } from 'pkcs11js';
import type { HsmAnswer, HsmRequest, HsmWorkerData } from './pkcs11.ts';

/*
 * The thread in which the PKCS#11 module lives (pkcs11.ts starts it). Several sessions work at once, each on one call, through the
 * thread pool: what an HSM over a network needs. Three, so that of the pool's four threads one stays free for files and log.
 */
const SESSIONS = 3;
const RECONNECT_EVERY_MS = 500;
const HMAC_BYTES = 32;
const KEY_BYTES = 32;

const port = parentPort as NonNullable<typeof parentPort>;
const { module, token, pin, again } = workerData as HsmWorkerData;

class TokenError extends Error {}

const pkcs11js = await import('pkcs11js').then(
  (loaded) => loaded.default,
  () => undefined,
);
const p = pkcs11js as NonNullable<typeof pkcs11js>;

/** What the platform needs of a token, by the standard's names. */
const needed = ['CKM_GENERIC_SECRET_KEY_GEN', 'CKM_SHA256_HMAC'] as const;

let cryptoki: PKCS11 | undefined;
let slot: Handle | undefined;
/** Free sessions; empty while the token is away. */
let sessions: Handle[] = [];
let connected = false;
let triedAt = 0;
let running = 0;
const keys = new Map<string, Handle>();
const queue: HsmRequest[] = [];

/** Loads the module, finds the token, logs in. Throws with what is missing, all of it. */
function connect(): string {
  if (pkcs11js === undefined)
    throw new TokenError('PKCS#11 needs the optional package pkcs11js, which was not built at the install (it wants a C++ compiler)');
  if (cryptoki === undefined) {
    const loaded = new p.PKCS11();
    try {
      loaded.load(module);
    } catch {
      throw new TokenError(`the PKCS#11 module ${module} cannot be loaded`);
    }
    cryptoki = loaded;
  }
  const c = cryptoki;
  try {
    c.C_Initialize({ flags: p.CKF_OS_LOCKING_OK }); // without it parallel calls corrupt the heap
  } catch (error) {
    // The module is the process's: a worker that died has left it open, with sessions that nobody has any more.
    if (!again || codeOf(error) !== p.CKR_CRYPTOKI_ALREADY_INITIALIZED) throw error;
    c.C_Finalize();
    c.C_Initialize({ flags: p.CKF_OS_LOCKING_OK });
  }
  const slots = c.C_GetSlotList(true);
  const known = slots.map((handle) => ({ handle, label: c.C_GetTokenInfo(handle).label.trim(), number: numberOf(handle) }));
  const found = known.find(({ label, number }) => (typeof token === 'number' ? number === token : label === token));
  if (found === undefined)
    throw new TokenError(
      `the PKCS#11 module ${module} has no token ${typeof token === 'number' ? `in slot ${token}` : `"${token}"`}; it has: ${known.map(({ label, number }) => `"${label}" in slot ${number}`).join(', ') || 'none'}`,
    );
  slot = found.handle;
  const offered = new Set(c.C_GetMechanismList(slot));
  const missing = needed.filter((name) => !offered.has(p[name]));
  if (missing.length > 0) throw new TokenError(`the token "${found.label}" lacks what the platform needs: ${missing.join(', ')}`);
  const opened = Array.from({ length: SESSIONS }, () => c.C_OpenSession(slot as Handle, p.CKF_SERIAL_SESSION | p.CKF_RW_SESSION));
  try {
    c.C_Login(opened[0] as Handle, p.CKU_USER, pin);
  } catch (error) {
    if (codeOf(error) === p.CKR_PIN_INCORRECT) throw new TokenError(`the token "${found.label}" refuses the PIN`);
    if (codeOf(error) !== p.CKR_USER_ALREADY_LOGGED_IN) throw error;
  }
  keys.clear();
  sessions = opened;
  connected = true;
  const { manufacturerID, model, serialNumber } = c.C_GetTokenInfo(slot);
  return `token "${found.label}" (${[manufacturerID, model, serialNumber].map((text) => text.trim()).join(', ')}), mechanisms: ${needed.join(', ')}`;
}

/** A slot's handle is its number, as the module spells it: bytes in the machine's order. */
function numberOf(handle: Handle): number {
  return Number(handle.readBigUInt64LE());
}

/** Only a new C_Initialize brings a token back whose connection was lost: sessions opened on the old one stay broken. */
function disconnect(): void {
  connected = false;
  sessions = [];
  keys.clear();
  try {
    cryptoki?.C_Finalize();
  } catch {
    // What is gone cannot be closed.
  }
}

/** Return values after which no session is worth keeping (PKCS#11 v2.40, 5.1). */
function isGone(error: unknown): boolean {
  const gone = [
    'CKR_DEVICE_ERROR',
    'CKR_DEVICE_MEMORY',
    'CKR_DEVICE_REMOVED',
    'CKR_TOKEN_NOT_PRESENT',
    'CKR_SESSION_CLOSED',
    'CKR_SESSION_HANDLE_INVALID',
    'CKR_CRYPTOKI_NOT_INITIALIZED',
    'CKR_USER_NOT_LOGGED_IN',
    'CKR_KEY_HANDLE_INVALID',
    'CKR_OBJECT_HANDLE_INVALID',
    'CKR_SLOT_ID_INVALID',
    'CKR_HOST_MEMORY',
  ] as const;
  return gone.some((name) => p[name] === codeOf(error));
}

function codeOf(error: unknown): number | undefined {
  return (error as { code?: number } | undefined)?.code;
}

async function perform(c: PKCS11, session: Handle, request: HsmRequest): Promise<Uint8Array> {
  const { op, label, data } = request;
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  switch (op) {
    case 'mac': {
      c.C_SignInit(session, { mechanism: p.CKM_SHA256_HMAC }, keyOf(c, session, label));
      return c.C_SignAsync(session, bytes, Buffer.alloc(HMAC_BYTES));
    }
    case 'make': {
      if (find(c, session, label) !== undefined) throw new TokenError(`the token has a key ${label} already`);
      c.C_GenerateKey(session, { mechanism: p.CKM_GENERIC_SECRET_KEY_GEN }, [
        { type: p.CKA_CLASS, value: p.CKO_SECRET_KEY },
        { type: p.CKA_KEY_TYPE, value: p.CKK_GENERIC_SECRET },
        { type: p.CKA_TOKEN, value: true },
        { type: p.CKA_PRIVATE, value: true },
        { type: p.CKA_SENSITIVE, value: true },
        { type: p.CKA_EXTRACTABLE, value: false },
        { type: p.CKA_LABEL, value: label },
        { type: p.CKA_VALUE_LEN, value: KEY_BYTES },
        { type: p.CKA_SIGN, value: true },
      ]);
      return Buffer.alloc(0);
    }
    case 'destroy': {
      // Looked for anew, since another process may have destroyed it. One that is absent is what was wanted.
      keys.delete(label);
      const found = find(c, session, label);
      if (found !== undefined) c.C_DestroyObject(session, found);
      return Buffer.alloc(0);
    }
    case 'close':
      return Buffer.alloc(0);
  }
}

function keyOf(c: PKCS11, session: Handle, label: string): Handle {
  const known = keys.get(label);
  if (known !== undefined) return known;
  const found = find(c, session, label);
  if (found === undefined) throw new TokenError(`the token has no key ${label}`);
  keys.set(label, found);
  return found;
}

function find(c: PKCS11, session: Handle, label: string): Handle | undefined {
  c.C_FindObjectsInit(session, [
    { type: p.CKA_CLASS, value: p.CKO_SECRET_KEY },
    { type: p.CKA_LABEL, value: label },
  ]);
  try {
    return c.C_FindObjects(session, 1)[0];
  } finally {
    c.C_FindObjectsFinal(session);
  }
}

/** Starts what waits, as far as sessions are free; while the token is away it answers that at once. */
function work(): void {
  while (queue.length > 0) {
    if (!connected) {
      // Calls that are still out on broken sessions end first: the module must not be closed under them.
      if (running > 0) return;
      if (performance.now() - triedAt >= RECONNECT_EVERY_MS) {
        triedAt = performance.now();
        try {
          connect();
        } catch {
          disconnect();
        }
      }
      if (!connected) {
        for (const request of queue.splice(0)) {
          request.data.fill(0);
          answer({ id: request.id, fault: 'the HSM is away', gone: true });
        }
        return;
      }
    }
    const session = sessions.pop();
    if (session === undefined) return;
    const request = queue.shift() as HsmRequest;
    // Nobody waits for it any more: it is wiped, and not run late.
    if (Date.now() > request.deadlineMs) {
      request.data.fill(0);
      sessions.push(session);
      answer({ id: request.id, fault: 'the HSM does not answer', gone: true });
    } else void serve(session, request);
  }
}

async function serve(session: Handle, request: HsmRequest): Promise<void> {
  running++;
  try {
    const value = await perform(cryptoki as PKCS11, session, request);
    answer({ id: request.id, value });
  } catch (error) {
    const gone = isGone(error);
    if (gone) connected = false;
    // The code's name and no more: what the module says may quote its input.
    const fault = error instanceof TokenError ? error.message : `the HSM refused: ${error instanceof Error ? error.message : 'no reason'}`;
    answer({ id: request.id, fault, gone });
  } finally {
    request.data.fill(0);
    running--;
    if (connected) sessions.push(session);
    else if (running === 0) disconnect();
    work();
  }
}

function answer(message: HsmAnswer): void {
  port.postMessage(message);
}

port.on('message', (request: HsmRequest) => {
  if (request.op === 'close') {
    disconnect();
    answer({ id: request.id, value: new Uint8Array() });
    return;
  }
  queue.push(request);
  work();
});

try {
  port.postMessage({ report: connect() });
} catch (error) {
  disconnect();
  const text = error instanceof Error ? error.message : String(error);
  port.postMessage({ fault: error instanceof TokenError ? text : `the PKCS#11 module ${module} cannot be used: ${text}` });
}
