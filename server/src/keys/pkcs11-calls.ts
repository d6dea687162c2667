import { Worker } from 'node:worker_threads';
import { OperatorError } from '../operator-error.ts';
import type { Secret } from '../secret.ts';

/** How to reach the token. */
export interface HsmConfig {
  /** Path of the PKCS#11 module. */
  module: string;
  /** The token's label, or the number of its slot. */
  token: string | number;
  pin: Secret<string>;
  /** Labels of keys begin with it. */
  labelPrefix: string;
}

/** The token is missing, lacks something, or refused a call. The message says which. */
export class HsmError extends OperatorError {
  override readonly name = 'HsmError';
  /** Whether the token cannot be reached. False if it refused something. */
  readonly gone: boolean;

  constructor(message: string, gone = false) {
    super(message);
    this.gone = gone;
  }
}

/** A call, as the worker gets it. The memory of `data` moves to the worker, which wipes it. */
export interface HsmRequest {
  id: number;
  op: 'mac' | 'make' | 'destroy' | 'close';
  label: string;
  data: Uint8Array;
  /** Unix milliseconds. The caller has given up by then. */
  deadlineMs: number;
}

export type HsmAnswer = { id: number; value: Uint8Array } | { id: number; fault: string; gone: boolean };

/**
 * The worker's first message: the token's description, or why it cannot be opened. A final
 * fault may come later too: the token refused the PIN, and is not asked again.
 */
export type HsmGreeting = { report: string } | { fault: string; final: boolean };

export interface HsmWorkerData {
  /** Whether this worker replaces one that died. */
  again: boolean;
  module: string;
  token: string | number;
  pin: string;
}

/** Calls to the token, through a worker thread. */
export interface HsmCalls {
  /** The token's description, and the mechanisms that were found. */
  readonly report: string;
  /** Rejects with an HsmError, after 5 s at the latest. The caller wipes its own `data`. */
  call(op: HsmRequest['op'], label: string, data?: Uint8Array): Promise<Buffer>;
  close(): Promise<void>;
}

/** A call that takes longer met an HSM that hangs, and the caller must not hang with it. */
const CALL_TIMEOUT_MS = 5_000;
const START_TIMEOUT_MS = 20_000;
const RESTART_EVERY_MS = 500;
const PENDING_LIMIT = 10_000;
const NO_BYTES = Buffer.alloc(0);

/**
 * Starts the worker and opens the token. Tells `onEvent` of a final refusal, once. Errors:
 * HsmError.
 */
export async function openHsmCalls(config: HsmConfig, onEvent: (event: string) => void): Promise<HsmCalls> {
  const pending = createPendingCalls();
  const worker = keepWorker(config, pending, onEvent);
  const report = await worker.startFirst();
  let nextId = 0;
  /** Callers that wait. They keep the process running; an idle or hanging token does not. */
  let waiting = 0;

  async function call(op: HsmRequest['op'], label: string, given: Uint8Array = NO_BYTES): Promise<Buffer> {
    const refusal = worker.refusal();
    if (refusal !== undefined) throw new HsmError(refusal, true);
    if (pending.size() >= PENDING_LIMIT) throw new HsmError('the HSM is busy', true);
    const living = worker.living();
    if (living === undefined) throw new HsmError('the PKCS#11 worker is being started again', true);
    const id = nextId++;
    const data = new Uint8Array(given); // a copy, since its memory moves to the worker
    if (waiting++ === 0) living.ref();
    try {
      const answer = pending.answerTo(id);
      const request: HsmRequest = { id, op, label, data, deadlineMs: Date.now() + CALL_TIMEOUT_MS };
      living.postMessage(request, [data.buffer]);
      return await answer;
    } finally {
      if (--waiting === 0) worker.current()?.unref();
    }
  }

  return {
    report,
    call,
    async close() {
      if (worker.current() !== undefined) await call('close', '').catch(() => {}); // fails if the worker died
      await worker.stop();
    },
  };
}

interface PendingCalls {
  size(): number;
  /** Waits for the answer to a call, or for the timeout. */
  answerTo(id: number): Promise<Buffer>;
  settle(answer: HsmAnswer): void;
  rejectAll(error: HsmError): void;
}

function createPendingCalls(): PendingCalls {
  const calls = new Map<number, { resolve(value: Buffer): void; reject(error: Error): void }>();
  return {
    size: () => calls.size,
    answerTo: (id) =>
      new Promise((resolve, reject) => {
        // After the timeout the call stays here until the worker answers it: so an HSM that
        // hangs holds a limited number.
        const timer = setTimeout(() => reject(new HsmError('the HSM does not answer', true)), CALL_TIMEOUT_MS);
        calls.set(id, {
          resolve(value) {
            clearTimeout(timer);
            resolve(value);
          },
          reject(error) {
            clearTimeout(timer);
            reject(error);
          },
        });
      }),
    settle(answer) {
      const call = calls.get(answer.id);
      calls.delete(answer.id);
      if ('value' in answer) {
        const { buffer, byteOffset, byteLength } = answer.value;
        call?.resolve(Buffer.from(buffer, byteOffset, byteLength));
      } else call?.reject(new HsmError(answer.fault, answer.gone));
    },
    rejectAll(error) {
      for (const call of calls.values()) call.reject(error);
      calls.clear();
    },
  };
}

/** Takes the worker's greeting. `reject` is also called when the worker ends. */
interface Started {
  resolve(report: string): void;
  reject(error: HsmError): void;
}

interface WorkerEvents extends Started {
  /** The token refused the PIN for good. */
  onRefusal(fault: string): void;
  onExit(): void;
}

interface KeptWorker {
  /** Starts the first worker. Returns the token's description, or throws an HsmError. */
  startFirst(): Promise<string>;
  current(): Worker | undefined;
  /**
   * Why no worker opens the token any more: the token refused the PIN (wrong, locked, expired), and
   * another try may lock it. Undefined while it takes the PIN.
   */
  refusal(): string | undefined;
  /**
   * The worker, or a new one if it died, at most twice a second. A new worker connects to
   * the token by itself, so none is started after a final refusal.
   */
  living(): Worker | undefined;
  stop(): Promise<void>;
}

/** Long, because its functions share the state of one worker. */
function keepWorker(
  { module, token, pin }: HsmConfig,
  pending: PendingCalls,
  onEvent: (event: string) => void,
): KeptWorker {
  const data = { module, token, pin: pin.expose() };
  let worker: Worker | undefined;
  let refusal: string | undefined;
  let startedAtMs = 0; // performance.now()
  /** Until then, a refusal goes to the caller of startFirst. */
  let startedOnce = false;
  let stopped = false;

  function start(started: Started): Worker {
    worker = startWorker({ ...data, again: startedAtMs > 0 }, pending, {
      ...started,
      onRefusal(fault) {
        refusal = `${fault}; it is not asked again: give the right PIN and start the platform again`;
        if (startedOnce) onEvent(refusal);
      },
      onExit() {
        worker = undefined;
      },
    });
    startedAtMs = performance.now();
    return worker;
  }

  return {
    current: () => worker,
    refusal: () => refusal,
    async startFirst() {
      let timer: NodeJS.Timeout | undefined;
      try {
        const report = await new Promise<string>((resolve, reject) => {
          const fault = new HsmError(`the PKCS#11 module ${module} does not answer`);
          timer = setTimeout(() => reject(fault), START_TIMEOUT_MS);
          start({ resolve, reject });
        });
        worker?.unref();
        startedOnce = true;
        return report;
      } catch (error) {
        await worker?.terminate();
        throw error;
      } finally {
        clearTimeout(timer);
      }
    },
    living() {
      if (worker !== undefined || stopped || refusal !== undefined) return worker;
      if (performance.now() - startedAtMs < RESTART_EVERY_MS) return undefined;
      const started = start({ resolve: () => {}, reject: () => {} });
      started.unref();
      return started;
    },
    async stop() {
      stopped = true;
      await worker?.terminate();
    },
  };
}

function startWorker(workerData: HsmWorkerData, pending: PendingCalls, events: WorkerEvents): Worker {
  // A worker runs plain Node. Where this file runs from source, the worker is the built one.
  const file = import.meta.url.endsWith('.ts') ? '../../dist/keys/pkcs11-worker.js' : './pkcs11-worker.js';
  const worker = new Worker(new URL(file, import.meta.url), { workerData, execArgv: [] });
  let reason = 'it ended';
  worker.on('message', (message: HsmGreeting | HsmAnswer) => {
    if ('id' in message) pending.settle(message);
    else if ('report' in message) events.resolve(message.report);
    else {
      if (message.final) events.onRefusal(message.fault);
      events.reject(new HsmError(message.fault));
    }
  });
  worker.on('error', (error) => {
    reason = error.message;
  });
  worker.on('exit', () => {
    events.onExit();
    const error = new HsmError(`the PKCS#11 worker failed: ${reason}`, true);
    events.reject(error);
    pending.rejectAll(error); // a worker that dies loses its calls
  });
  return worker;
}
