import { setTimeout as sleep } from 'node:timers/promises';
import type { Services } from '../services.ts';
import { type Delivery, failure, type Outcome } from './deliver.ts';
import { cachedEndpoint, type Endpoint } from './endpoint.ts';
import { DELIVERY_TIMEOUT_MS } from './exchange.ts';
import type { MerchantQuotas } from './merchant-quotas.ts';
import { GIVE_UP_AFTER_MS, nextAttemptMs } from './retry-schedule.ts';
import { type ClaimedEvent, deadLetterOverdue, SETTLE_BATCH, type Settled, type Settlement } from './store.ts';

const SETTLE_AGAIN_MS = 200;
/** Too many requests, and what a gateway answers for a server that is not there. */
const UNAVAILABLE_STATUSES = new Set([429, 502, 503, 504]);

export interface Sending {
  delivery: Delivery;
  quotas: MerchantQuotas;
  /** Aborted when the process stops. */
  stopping: AbortSignal;
  /** Called when a settlement made another event due. */
  onWoken: () => void;
}

/** How long this process has an event. */
export interface Lease {
  /** By `performance.now()`. */
  endMs: number;
  /** Aborted at the end of the lease: what is under way then ends. */
  signal: AbortSignal;
}

/**
 * Creates a function that sends a claimed event and settles it before the lease ends. The
 * function throws if the database took too long; the event then waits for the end of its
 * lease. Long, because its functions share what one sender needs.
 */
export function createEventSender(
  services: Services,
  { delivery, quotas, stopping, onWoken }: Sending,
): (event: ClaimedEvent, lease: Lease) => Promise<void> {
  const { db, clock, log, cache } = services;

  async function send(event: ClaimedEvent, lease: Lease): Promise<void> {
    const { eventId, merchantId, action, attempts, createdAtMs } = event;
    const endpoint = await cachedEndpoint(cache, merchantId);
    if (performance.now() + DELIVERY_TIMEOUT_MS > lease.endMs) throw new Error('the database took too long');
    const { delivered, fault } =
      'fault' in endpoint ? failure(endpoint.fault) : await deliver(endpoint, event, lease.signal);
    const atMs = clock();
    const retryAtMs = delivered ? undefined : nextAttemptMs(attempts, createdAtMs, atMs);
    const settlement = { eventId, attempts, atMs, delivered, retryAtMs, fault };
    const { settled, woke } = await settle(settlement, lease.endMs);
    if (woke) onWoken();
    const merchantNo = 'fault' in endpoint ? undefined : endpoint.merchantNo;
    const line = { eventId, merchantNo, action, attempts };
    if (delivered) log.debug(line, 'callback delivered');
    else if (retryAtMs === undefined && settled) {
      log.warn({ ...line, fault }, 'callback parked');
      if (quotas.isUnavailable(merchantId)) await deadLetterOthers(merchantId, atMs, fault);
    }
  }

  /**
   * Delivers, and notes whether the merchant's server was available. A reply that refuses
   * an event concerns that event alone, and the event's own schedule handles it.
   */
  async function deliver(endpoint: Endpoint, event: ClaimedEvent, signal: AbortSignal): Promise<Outcome> {
    const outcome = await delivery.deliver(endpoint, event, signal);
    const { fault, httpStatus } = outcome;
    const { merchantNo } = endpoint;
    if (httpStatus !== undefined && !UNAVAILABLE_STATUSES.has(httpStatus)) {
      if (quotas.noteAnswer(event.merchantId)) log.info({ merchantNo }, 'a merchant answers callbacks again');
    } else if (quotas.noteNoAnswer(event.merchantId))
      log.warn({ merchantNo, fault }, 'a merchant is away: it is asked by one callback a second until it answers');
    return outcome;
  }

  /**
   * Repeats while the database fails: it may be back before the lease ends, which spares
   * the merchant a repetition.
   */
  async function settle(settlement: Settlement, leaseEndMs: number): Promise<Settled> {
    for (;;) {
      try {
        return await db.batched(SETTLE_BATCH, settlement);
      } catch (error) {
        if (stopping.aborted || performance.now() + SETTLE_AGAIN_MS > leaseEndMs) throw error;
        await sleep(SETTLE_AGAIN_MS);
      }
    }
  }

  /**
   * The merchant's other events of that age would only wait for their turns of one a
   * second, and then be given up.
   */
  async function deadLetterOthers(merchantId: number, nowMs: number, fault: string | undefined): Promise<void> {
    const others = await deadLetterOverdue(db, merchantId, { beforeMs: nowMs - GIVE_UP_AFTER_MS, nowMs, fault });
    if (others > 0) log.warn({ merchantId, others, fault }, 'callbacks parked');
  }

  return send;
}
