import { createSecretKey, type KeyObject } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { openGcm, sealGcm } from '../crypto/aes-gcm.ts';
import { encodeFields } from '../crypto/encode.ts';
import { randomBytesPooled } from '../crypto/random.ts';
import type { Secret } from '../secret.ts';
import type { HeldKey } from './held-key.ts';

/** How to reach the token. Only names and numbers, but for the PIN. */
export interface HsmConfig {
  /** Path of the PKCS#11 module. */
  module: string;
  /** The token's label, or its slot's number. */
  token: string | number;
  pin: Secret<string>;
  /** Labels of keys begin with it. */
  labelPrefix: string;
}

/** A token behind PKCS#11 v2.40. Keys that are made in it cannot be read, by us neither. */
export interface Hsm {
  readonly labelPrefix: string;
  /** What the token says of itself, and the mechanisms that were probed. For people. */
  readonly report: string;
  held(label: string): HeldKey;
  /** Makes a non-extractable key of 32 bytes for HMAC-SHA-256 in the token, and gives its check value. */
  makeKey(label: string): Promise<string>;
  checkValue(label: string): Promise<string>;
  /** Done too if the token has no such key (any more). */
  destroy(label: string): Promise<void>;
  /** Whether the token cannot be reached, rather than having refused something. */
  isGone(error: unknown): boolean;
  close(): Promise<void>;
}

/** The token is not there, lacks something, or refused; the text says what, for the operator. */
export class HsmError extends Error {
  override readonly name = 'HsmError';
  readonly gone: boolean;
  constructor(message: string, gone = false) {
    super(message);
    this.gone = gone;
  }
}

/** What the worker is asked, and what it answers. `data` moves over to the worker, which wipes it. */
export interface HsmRequest {
  id: number;
  op: 'mac' | 'make' | 'destroy' | 'close';
  label: string;
  data: Uint8Array;
  /** Unix milliseconds; after it nobody waits for the answer. */
  deadlineMs: number;
}
export type HsmAnswer = { id: number; value: Uint8Array } | { id: number; fault: string; gone: boolean };
export interface HsmWorkerData {
  /** In the place of a worker that died. */
  again: boolean;
  module: string;
  token: string | number;
  pin: string;
}

/** A call that takes longer met an HSM that hangs: the caller is not kept. */
const CALL_TIMEOUT_MS = 5_000;
const START_TIMEOUT_MS = 20_000;
const RESTART_EVERY_MS = 500;
const MOST_WAITING = 10_000;
const KCV_BYTES = 3;
const SALT_BYTES = 16;
const ZEROS = Buffer.alloc(16);
const NOTHING = Buffer.alloc(0);

/**
 * Opens the token. Every PKCS#11 call runs in a worker thread, also those that are slow while an HSM starts or fails, so that the
 * event loop never waits for one. A token that goes away fails its calls at once; the worker reaches for it again with later
 * calls, at most twice a second, and goes on when it is back. So does a worker that died: the next calls start another.
 */
export async function openHsm(config: HsmConfig): Promise<Hsm> {
  // A worker is plain Node, also where this file runs from source: there it takes the built one.
  const workerFile = import.meta.url.endsWith('.ts') ? '../../dist/keys/pkcs11-worker.js' : './pkcs11-worker.js';
  const workerData = { module: config.module, token: config.token, pin: config.pin.expose() };
  const waiting = new Map<number, { resolve: (value: Buffer) => void; reject: (error: Error) => void }>();
  let calls = 0;
  /** Callers that have neither answer nor refusal yet; they keep the process up, an idle token or one that hangs does not. */
  let awaited = 0;
  let worker: Worker | undefined;
  let startedAtMs = 0;
  let closed = false;

  /** `first` is told what the worker says of the token, or that it died before. A worker that dies takes its calls along. */
  function start(first: { report: (text: string) => void; fault: (error: Error) => void }): Worker {
    const again = startedAtMs > 0;
    const started = new Worker(new URL(workerFile, import.meta.url), { workerData: { ...workerData, again } satisfies HsmWorkerData });
    startedAtMs = performance.now();
    let reason = 'it ended';
    started.on('message', (answer: HsmAnswer | { report: string } | { fault: string }) => {
      if ('report' in answer) first.report(answer.report);
      else if (!('id' in answer)) first.fault(new HsmError(answer.fault));
      else {
        const call = waiting.get(answer.id);
        waiting.delete(answer.id);
        if ('value' in answer) call?.resolve(Buffer.from(answer.value.buffer, answer.value.byteOffset, answer.value.byteLength));
        else call?.reject(new HsmError(answer.fault, answer.gone));
      }
    });
    started.on('error', (error) => {
      reason = error.message;
    });
    started.on('exit', () => {
      worker = undefined;
      const error = new HsmError(`the PKCS#11 worker failed: ${reason}`, true);
      first.fault(error);
      for (const call of waiting.values()) call.reject(error);
      waiting.clear();
    });
    worker = started;
    return started;
  }

  const report = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => reject(new HsmError(`the PKCS#11 module ${config.module} does not answer`)), START_TIMEOUT_MS);
    const settled = <T>(settle: (value: T) => void) => {
      return (value: T): void => {
        clearTimeout(timer);
        settle(value);
      };
    };
    start({ report: settled(resolve), fault: settled(reject) });
  }).catch(async (error: unknown) => {
    await worker?.terminate();
    throw error;
  });
  worker?.unref();

  /** The worker that is there, or a new one in the place of one that died, at most twice a second. It reaches for the token by itself. */
  function living(): Worker | undefined {
    if (worker !== undefined || closed || performance.now() - startedAtMs < RESTART_EVERY_MS) return worker;
    const started = start({ report: () => {}, fault: () => {} });
    started.unref();
    return started;
  }

  function ask(op: HsmRequest['op'], label: string, given: Uint8Array = NOTHING): Promise<Buffer> {
    if (waiting.size >= MOST_WAITING) return Promise.reject(new HsmError('the HSM is busy', true));
    const asked = living();
    if (asked === undefined) return Promise.reject(new HsmError('the PKCS#11 worker is being started again', true));
    const id = calls++;
    const data = new Uint8Array(given); // of its own, since it moves over and is wiped there
    if (awaited++ === 0) asked.ref();
    const answered = new Promise<Buffer>((resolve, reject) => {
      // Then it stays in `waiting` until the worker lets go of it, so that what an HSM that hangs keeps is bounded.
      const timer = setTimeout(() => reject(new HsmError('the HSM does not answer', true)), CALL_TIMEOUT_MS);
      waiting.set(id, {
        resolve(value) {
          clearTimeout(timer);
          resolve(value);
        },
        reject(error) {
          clearTimeout(timer);
          reject(error);
        },
      });
      asked.postMessage({ id, op, label, data, deadlineMs: Date.now() + CALL_TIMEOUT_MS } satisfies HsmRequest, [data.buffer]);
    });
    return answered.finally(() => {
      if (--awaited === 0) worker?.unref();
    });
  }

  const checkValue = async (label: string): Promise<string> =>
    (await ask('mac', label, ZEROS)).subarray(0, KCV_BYTES).toString('hex').toUpperCase();

  /**
   * The key for one value: HMAC-SHA-256 in the token over the value's identity and salt (a KDF in the manner of NIST SP 800-108, with
   * HMAC as its PRF). So the KEK never leaves, and every token that can do HMAC serves; few can do GCM, and not all ways to one
   * carry its parameters.
   */
  async function valueKey(label: string, salt: Uint8Array, identity: string): Promise<KeyObject> {
    const bytes = await ask('mac', label, encodeFields(['pinward/kek/v1', identity, salt]));
    const key = createSecretKey(bytes);
    bytes.fill(0);
    return key;
  }

  return {
    labelPrefix: config.labelPrefix,
    report,
    held: (label) => ({
      async seal(plain, identity) {
        const salt = randomBytesPooled(SALT_BYTES);
        return Buffer.concat([salt, sealGcm(await valueKey(label, salt, identity), plain, identity)]);
      },
      async open(sealed, identity) {
        return openGcm(await valueKey(label, sealed.subarray(0, SALT_BYTES), identity), sealed.subarray(SALT_BYTES), identity);
      },
      mac: (message) => ask('mac', label, message),
    }),
    async makeKey(label) {
      await ask('make', label);
      return checkValue(label);
    },
    checkValue,
    async destroy(label) {
      await ask('destroy', label);
    },
    isGone: (error) => error instanceof HsmError && error.gone,
    async close() {
      if (worker !== undefined) await ask('close', '').catch(() => {}); // one that is gone cannot say goodbye
      closed = true;
      await worker?.terminate();
    },
  };
}
