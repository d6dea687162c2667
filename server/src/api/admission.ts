/*
 * Decides which request is served now and which one waits. Addresses take turns, so a flood from
 * one address costs the others little. In one turn of the event loop, requests are started for
 * TURN_MS. Then the loop reads its sockets and the answers of the database.
 */

const TURN_MS = 2;
/** Requests in service at once. */
const SERVING_LIMIT = 512;
const LIGHT_PER_TURN = 16;
/** Requests that wait: of one address, and of all. Beyond it they are refused at once. */
const WAITING_PER_ADDRESS = 1_024;
const WAITING_LIMIT = 8_192;
/** A request that waited this long is refused. */
const WAITING_TIMEOUT_MS = 2_000;

interface Candidate {
  /** Whether it costs little. A few such requests are served in each turn, however many wait. */
  light: boolean;
  /** The address that takes turns with others. Read only if the candidate must wait. */
  address(): string;
  /** Starts to serve it. `release` must be called once for it, when it is served. */
  start(): void;
  /** Refuses it, since the process is overloaded. */
  refuse(): void;
}

export interface Admission {
  admit(candidate: Candidate): void;
  release(): void;
  /** Refuses requests that waited too long. Call it about once a second. */
  expire(): void;
  /** How many are being served and how many wait. */
  counts(): { serving: number; waiting: number };
}

interface Waiting {
  candidate: Candidate;
  sinceMs: number;
}

/** Long, because its functions share the queues and the turn. */
export function createAdmission(): Admission {
  /** By address, in the order of their turns: an address that had its turn goes to the end. */
  const queues = new Map<string, Waiting[]>();
  let waiting = 0;
  let serving = 0;
  /** Whether the next turn of the event loop is asked for. */
  let scheduled = false;
  let turnEndsMs = 0;
  let lightLeft = LIGHT_PER_TURN;

  function mayStart(): boolean {
    if (serving >= SERVING_LIMIT) return false;
    const nowMs = performance.now();
    if (!scheduled) {
      turnEndsMs = nowMs + TURN_MS;
      scheduleTurn();
    }
    return nowMs < turnEndsMs;
  }

  function scheduleTurn(): void {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      lightLeft = LIGHT_PER_TURN;
      while (waiting > 0 && mayStart()) start(takeNext());
    });
  }

  function takeNext(): Candidate {
    const [address, queue] = queues.entries().next().value as [string, Waiting[]];
    const { candidate } = queue.shift() as Waiting;
    waiting--;
    queues.delete(address);
    if (queue.length > 0) queues.set(address, queue);
    return candidate;
  }

  function start(candidate: Candidate): void {
    serving++;
    candidate.start();
  }

  return {
    admit(candidate) {
      if (waiting === 0 && mayStart()) return start(candidate);
      if (candidate.light && lightLeft > 0) {
        lightLeft--;
        scheduleTurn();
        return start(candidate);
      }
      const address = candidate.address();
      const queue = queues.get(address) ?? [];
      if (queue.length >= WAITING_PER_ADDRESS || waiting >= WAITING_LIMIT) return candidate.refuse();
      queue.push({ candidate, sinceMs: performance.now() });
      queues.set(address, queue);
      waiting++;
    },
    release() {
      serving--;
      if (waiting > 0) scheduleTurn();
    },
    expire() {
      const latestMs = performance.now() - WAITING_TIMEOUT_MS;
      for (const [address, queue] of queues) {
        const kept = queue.findIndex(({ sinceMs }) => sinceMs > latestMs);
        const expired = queue.splice(0, kept === -1 ? queue.length : kept);
        if (queue.length === 0) queues.delete(address);
        waiting -= expired.length;
        for (const { candidate } of expired) candidate.refuse();
      }
    },
    counts: () => ({ serving, waiting }),
  };
}
