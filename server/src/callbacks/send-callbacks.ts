import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Services } from '../services.ts';
import { createClaimPace } from './claim-pace.ts';
import { createDelivery, type DeliveryOptions } from './deliver.ts';
import { createMerchantQuotas } from './merchant-quotas.ts';
import { createEventSender, type Lease } from './send-event.ts';
import { type ClaimedEvent, claimEvents } from './store.ts';

/**
 * Longer than a delivery and its settlement take, so that no other process sends the event
 * meanwhile. The events of a killed process wait this long.
 */
export const LEASE_MS = 30_000;
/** Deliveries in flight from this process to one merchant, and to all. */
const IN_FLIGHT_PER_MERCHANT = 64;
const IN_FLIGHT_LIMIT = 512;
/**
 * Deliveries that start in one turn of the event loop; everything else in the process waits
 * for the turn's end.
 */
const STARTS_PER_TURN = 4;

/**
 * Sends events to merchants, at least once and in order for each card, in any number of processes
 * on one database. One statement claims an event and another one settles it. Nothing is locked
 * while the merchant's server is called. Long, because its functions share the state of one sender.
 */
export function sendCallbacks(
  services: Services,
  { leaseMs = LEASE_MS, ...options }: Partial<DeliveryOptions> & { leaseMs?: number } = {},
): { stop(): Promise<void> } {
  const { db, clock, log, config } = services;
  const delivery = createDelivery({ mode: config.mode, clock, ...options });
  const quotas = createMerchantQuotas(IN_FLIGHT_PER_MERCHANT, () => performance.now());
  const pace = createClaimPace();
  const stopping = new AbortController();
  const { signal } = stopping;
  const send = createEventSender(services, { delivery, quotas, stopping: signal, onWoken: pace.noteDue });
  const deliveries = new Set<Promise<void>>();
  let outage = false;

  async function run(): Promise<void> {
    while (!signal.aborted) {
      if (deliveries.size < IN_FLIGHT_LIMIT) await claim();
      if (!signal.aborted) await pace.next();
    }
  }

  async function claim(): Promise<void> {
    pace.begin();
    const leaseEndMs = performance.now() + leaseMs;
    try {
      const { events, more } = await claimEvents(db, {
        nowMs: clock(),
        leaseMs,
        room: quotas.room(),
        perMerchant: IN_FLIGHT_PER_MERCHANT,
        free: IN_FLIGHT_LIMIT - deliveries.size,
      });
      outage = false;
      if (more) pace.noteDue();
      if (events.length === 0) pace.noteRoom(); // the blocked events were put back and no longer hide others
      for (const [index, event] of events.entries()) {
        if (index > 0 && index % STARTS_PER_TURN === 0) await nextTurn();
        start(event, leaseEndMs);
      }
    } catch (err) {
      if (!outage) log.error({ err }, 'callbacks wait for the database');
      outage = true;
    }
  }

  function start(event: ClaimedEvent, leaseEndMs: number): void {
    const { eventId, merchantId } = event;
    quotas.begin(merchantId);
    const sending = withinLease(leaseEndMs, (lease) => send(event, lease))
      .catch((err: unknown) => log.error({ err, eventId }, 'a callback was left to the end of its lease'))
      .finally(() => {
        deliveries.delete(sending);
        quotas.end(merchantId);
        pace.noteRoom();
      });
    deliveries.add(sending);
  }

  const running = run();
  return {
    /**
     * Claims no more, and waits for the deliveries in flight, which take no longer than a
     * delivery may, whatever the merchants' servers do.
     */
    async stop() {
      stopping.abort();
      pace.endPause();
      await running;
      await Promise.all(deliveries);
      delivery.close();
    },
  };
}

/**
 * Runs the work on an event, and fails at the end of its lease if the work has not ended.
 * So no fault of the other side, of the database or of this program keeps a place in flight.
 */
async function withinLease(endMs: number, work: (lease: Lease) => Promise<void>): Promise<void> {
  const ending = new AbortController();
  let watchdog: NodeJS.Timeout | undefined;
  const end = new Promise<never>((_, reject) => {
    watchdog = setTimeout(() => {
      reject(new Error('the callback outlived its lease'));
      ending.abort();
    }, endMs - performance.now());
  });
  try {
    await Promise.race([work({ endMs, signal: ending.signal }), end]);
  } finally {
    clearTimeout(watchdog);
  }
}
