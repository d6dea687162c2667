import { parentPort, workerData } from 'node:worker_threads';
import type { Handle, PKCS11 } from 'pkcs11js';
import type { HsmAnswer, HsmGreeting, HsmRequest, HsmWorkerData } from './pkcs11-calls.ts';
import { codeOf, connect, finalRefusalOf, loadModule, p, TokenError } from './pkcs11-connect.ts';

/*
 * The thread in which the PKCS#11 module runs; pkcs11-calls.ts starts it. Several sessions
 * work at once, each on one call, through the thread pool: an HSM over a network needs
 * that. The pool has four threads. Three sessions leave one thread free for files and the
 * log.
 */
const SESSIONS = 3;
const RECONNECT_EVERY_MS = 500;
const HMAC_BYTES = 32;
const KEY_BYTES = 32;
const NO_BYTES = Buffer.alloc(0);

const port = parentPort as NonNullable<typeof parentPort>;
const config = workerData as HsmWorkerData;

/** Return values after which no session is worth keeping (PKCS#11 v2.40, 5.1). */
const GONE = [
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

let cryptoki: PKCS11 | undefined;
/** Free sessions; none while the token is unavailable. */
let sessions: Handle[] = [];
let connected = false;
/** Why the token is never opened again by this process: it refused the PIN for good. */
let refusal: string | undefined;
let triedAtMs = 0; // performance.now()
let running = 0;
/** Keys by their labels. */
const keys = new Map<string, Handle>();
const queue: HsmRequest[] = [];

/** Opens the token. Returns its description of itself. */
function open(): string {
  cryptoki ??= loadModule(config.module);
  const opened = connect(cryptoki, config, SESSIONS);
  keys.clear();
  sessions = opened.sessions;
  connected = true;
  return opened.report;
}

/**
 * Sessions of a lost connection stay broken. Only C_Finalize and a new C_Initialize bring
 * the token back.
 */
function disconnect(): void {
  connected = false;
  sessions = [];
  keys.clear();
  try {
    cryptoki?.C_Finalize();
  } catch {
    // The module may have lost the token already.
  }
}

function isGone(error: unknown): boolean {
  return GONE.some((name) => p[name] === codeOf(error));
}

async function perform(c: PKCS11, session: Handle, { op, label, data }: HsmRequest): Promise<Uint8Array> {
  switch (op) {
    case 'mac': {
      const message = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
      c.C_SignInit(session, { mechanism: p.CKM_SHA256_HMAC }, keyOf(c, session, label));
      return c.C_SignAsync(session, message, Buffer.alloc(HMAC_BYTES));
    }
    case 'make':
      makeKey(c, session, label);
      return NO_BYTES;
    case 'destroy': {
      // Searched again, since another process may have destroyed it. A key that is absent
      // already is no fault.
      keys.delete(label);
      const found = findKey(c, session, label);
      if (found !== undefined) c.C_DestroyObject(session, found);
      return NO_BYTES;
    }
    case 'close':
      return NO_BYTES;
  }
}

function makeKey(c: PKCS11, session: Handle, label: string): void {
  if (findKey(c, session, label) !== undefined) throw new TokenError(`the token has a key ${label} already`);
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
}

function keyOf(c: PKCS11, session: Handle, label: string): Handle {
  const known = keys.get(label);
  if (known !== undefined) return known;
  const found = findKey(c, session, label);
  if (found === undefined) throw new TokenError(`the token has no key ${label}`);
  keys.set(label, found);
  return found;
}

function findKey(c: PKCS11, session: Handle, label: string): Handle | undefined {
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

/**
 * Starts queued calls while sessions are free. While the token is unavailable it refuses
 * them at once.
 */
function work(): void {
  while (queue.length > 0) {
    if (!connected) {
      // Calls on broken sessions must end first: the module must not be closed under them.
      if (running > 0) return;
      reconnect();
    }
    if (!connected) {
      for (const request of queue.splice(0)) refuse(request, refusal ?? 'the HSM is away');
      return;
    }
    const session = sessions.pop();
    if (session === undefined) return;
    const request = queue.shift() as HsmRequest;
    // Its caller has given up: it is wiped, and not run late.
    if (Date.now() > request.deadlineMs) {
      sessions.push(session);
      refuse(request, 'the HSM does not answer');
    } else void serve(session, request);
  }
}

/** Tries to connect, at most twice a second, until the token refuses the PIN for good. */
function reconnect(): void {
  if (refusal !== undefined || performance.now() - triedAtMs < RECONNECT_EVERY_MS) return;
  triedAtMs = performance.now();
  try {
    open();
  } catch (error) {
    disconnect();
    noteFinal(error);
  }
}

/** Stops every later login, in this worker and in those that would replace it. */
function noteFinal(error: unknown): void {
  if (!(error instanceof TokenError) || !error.final) return;
  refusal = error.message;
  greet({ fault: error.message, final: true });
}

/** Wipes a call that is not run, and answers that the token cannot be reached. */
function refuse({ id, data }: HsmRequest, fault: string): void {
  data.fill(0);
  answer({ id, fault, gone: true });
}

async function serve(session: Handle, request: HsmRequest): Promise<void> {
  running++;
  try {
    const value = await perform(cryptoki as PKCS11, session, request);
    answer({ id: request.id, value });
  } catch (error) {
    const final = finalRefusalOf(error, String(config.token)); // a PIN may expire in a session
    if (final !== undefined) noteFinal(final);
    const gone = final !== undefined || isGone(error);
    if (gone) connected = false;
    answer({ id: request.id, fault: faultOf(error), gone });
  } finally {
    request.data.fill(0);
    running--;
    if (connected) sessions.push(session);
    else if (running === 0) disconnect();
    work();
  }
}

/** The name of the return value and no more: other texts of the module may quote its input. */
function faultOf(error: unknown): string {
  if (error instanceof TokenError) return error.message;
  return `the HSM refused: ${error instanceof Error ? error.message : 'no reason'}`;
}

function answer(message: HsmAnswer): void {
  port.postMessage(message);
}

function greet(greeting: HsmGreeting): void {
  port.postMessage(greeting);
}

port.on('message', (request: HsmRequest) => {
  if (request.op === 'close') {
    disconnect();
    answer({ id: request.id, value: NO_BYTES });
    return;
  }
  queue.push(request);
  work();
});

try {
  greet({ report: open() });
} catch (error) {
  disconnect();
  noteFinal(error);
  const text = error instanceof Error ? error.message : String(error);
  const fault = error instanceof TokenError ? text : `the PKCS#11 module ${config.module} cannot be used: ${text}`;
  if (refusal === undefined) greet({ fault, final: false });
}
