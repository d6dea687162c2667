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
  module: string;
  token: string | number;
  pin: string;
}

/** A call that takes longer met an HSM that hangs: the caller is not kept. */
const CALL_TIMEOUT_MS = 5_000;
const START_TIMEOUT_MS = 20_000;
const MOST_WAITING = 10_000;
const KCV_BYTES = 3;
const SALT_BYTES = 16;
const ZEROS = Buffer.alloc(16);
const NOTHING = Buffer.alloc(0);

/**
 * Opens the token. Every PKCS#11 call runs in a worker thread, also those that are slow while an HSM starts or fails, so that the
 * event loop never waits for one. A token that goes away fails its calls at once; the worker reaches for it again with later
 * calls, at most twice a second, and goes on when it is back.
 */
export async function openHsm(config: HsmConfig): Promise<Hsm> {
  // A worker is plain Node, also where this file runs from source: there it takes the built one.
  const workerFile = import.meta.url.endsWith('.ts') ? '../../dist/keys/pkcs11-worker.js' : './pkcs11-worker.js';
  const workerData: HsmWorkerData = { module: config.module, token: config.token, pin: config.pin.expose() };
  const worker = new Worker(new URL(workerFile, import.meta.url), { workerData });
  const report = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => reject(new HsmError(`the PKCS#11 module ${config.module} does not answer`)), START_TIMEOUT_MS);
    worker.once('message', (first: { report: string } | { fault: string }) => {
      clearTimeout(timer);
      if ('report' in first) resolve(first.report);
      else reject(new HsmError(first.fault));
    });
    worker.once('error', reject);
  }).catch(async (error: unknown) => {
    await worker.terminate();
    throw error;
  });

  const waiting = new Map<number, { resolve: (value: Buffer) => void; reject: (error: Error) => void }>();
  let calls = 0;
  worker.unref(); // calls keep the process up, an idle token does not
  worker.on('message', (answer: HsmAnswer) => {
    const call = waiting.get(answer.id);
    if (call === undefined) return;
    waiting.delete(answer.id);
    if (waiting.size === 0) worker.unref();
    if ('value' in answer) call.resolve(Buffer.from(answer.value.buffer, answer.value.byteOffset, answer.value.byteLength));
    else call.reject(new HsmError(answer.fault, answer.gone));
  });
  worker.on('error', (error) => {
    for (const call of waiting.values()) call.reject(new HsmError(`the PKCS#11 worker failed: ${error.message}`, true));
    waiting.clear();
  });

  function ask(op: HsmRequest['op'], label: string, given: Uint8Array = NOTHING): Promise<Buffer> {
    if (waiting.size >= MOST_WAITING) return Promise.reject(new HsmError('the HSM is busy', true));
    const id = calls++;
    const data = new Uint8Array(given); // of its own, since it moves over and is wiped there
    return new Promise<Buffer>((resolve, reject) => {
      const timer = setTimeout(() => {
        // It stays counted until the worker lets go of it, so that what an HSM that hangs keeps is bounded.
        reject(new HsmError('the HSM does not answer', true));
      }, CALL_TIMEOUT_MS);
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
      if (waiting.size === 1) worker.ref();
      worker.postMessage({ id, op, label, data, deadlineMs: Date.now() + CALL_TIMEOUT_MS } satisfies HsmRequest, [data.buffer]);
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
      await ask('close', '').catch(() => {}); // one that is gone cannot say goodbye
      await worker.terminate();
    },
  };
}
