import { createSecretKey } from 'node:crypto';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../db/database.ts';
import { shareStatements } from '../db/share.ts';
import type { Keys } from '../keys/keys.ts';
import { secretIdentity } from '../merchants/store.ts';
import type { Services } from '../services.ts';
import { createDelivery, DELIVERY_TIMEOUT_MS, type DeliveryOptions, type Endpoint, failure, type Outcome } from './deliver.ts';
import { createMerchantShares } from './merchant-shares.ts';
import { GIVE_UP_AFTER_MS, nextAttemptMs } from './retry-schedule.ts';
import { type ClaimedEvent, claimEvents, findEndpoint, parkOverdue, type Settled, type Settlement, settleEvents } from './store.ts';

/** Longer than a delivery and its settling take, so that nobody else sends the event meanwhile; a killed process's events wait this long. */
export const LEASE_MS = 30_000;
const POLL_EVERY_MS = 200;
/** Between two claims while there is much to send: what was freed meanwhile is filled by one. */
const CLAIM_EVERY_MS = 10;
/** Of one process. */
const IN_FLIGHT_PER_MERCHANT = 64;
const IN_FLIGHT = 512;
/** In one turn of the event loop, which others wait for. */
const BEGUN_AT_ONCE = 4;
const SETTLED_AT_ONCE = 64;
const SETTLE_LANES = 2;
const SETTLE_AGAIN_MS = 200;
/** Too many requests, and what a gateway says for a server that is not there. */
const ABSENT = new Set([429, 502, 503, 504]);

/**
 * Sends events to merchants, at least once and in the order of each card, in any number of processes on one database. An event is claimed in
 * one statement and settled in another, and nothing is locked while its merchant's server is asked.
 */
export function sendCallbacks(services: Services, options: Partial<DeliveryOptions> = {}): { stop(): Promise<void> } {
  const { db, keys, clock, log, config, gate } = services;
  const delivery = createDelivery({ mode: config.mode, clock, ...options });
  const endpoints = gate.of((merchantId) => openEndpoint(db, keys, Number(merchantId)));
  const settle = shareStatements<Settlement, Settled>({
    lanes: SETTLE_LANES,
    most: SETTLED_AT_ONCE,
    run: (settlements) => settleEvents(db, settlements),
  });

  const loading = new Map<string, Promise<Endpoint | string>>();

  const shares = createMerchantShares(IN_FLIGHT_PER_MERCHANT, () => performance.now());
  const deliveries = new Set<Promise<void>>();
  /** Whether something may be due, and whether there is room for it that the last claim did not know of. */
  let due = false;
  let freed = false;
  let stopping = false;
  let outage = false;
  /** Ends the pause between two claims. */
  let endPause = (): void => {};

  async function claim(): Promise<void> {
    due = false;
    freed = false;
    const leaseEndMs = performance.now() + LEASE_MS;
    try {
      const limits = { leaseMs: LEASE_MS, room: shares.room(), perMerchant: IN_FLIGHT_PER_MERCHANT, free: IN_FLIGHT - deliveries.size };
      const { events, more } = await claimEvents(db, { nowMs: clock(), ...limits });
      outage = false;
      if (more) due = true;
      if (events.length === 0) freed = true; // those behind others were put back, and made way
      for (const [index, event] of events.entries()) {
        if (index > 0 && index % BEGUN_AT_ONCE === 0) await nextTurn();
        begin(event, leaseEndMs);
      }
    } catch (err) {
      if (!outage) log.error({ err }, 'callbacks wait for the database');
      outage = true;
    }
  }

  function begin(event: ClaimedEvent, leaseEndMs: number): void {
    shares.begin(event.merchantId);
    const delivering = send(event, leaseEndMs)
      .catch((err: unknown) => log.error({ err, eventId: event.eventId }, 'a callback was left to the end of its lease'))
      .finally(() => {
        deliveries.delete(delivering);
        shares.end(event.merchantId);
        freed = true;
        if (due) endPause();
      });
    deliveries.add(delivering);
  }

  async function send(event: ClaimedEvent, leaseEndMs: number): Promise<void> {
    const { eventId, action, attempts, putInAtMs } = event;
    const endpoint = await endpointOf(event.merchantId);
    if (performance.now() + 2 * DELIVERY_TIMEOUT_MS > leaseEndMs) throw new Error('the database took too long'); // two, as a kept connection may fail
    const { delivered, fault } = typeof endpoint === 'string' ? failure(endpoint) : await ask(endpoint, event);
    const atMs = clock();
    const retryAtMs = delivered ? undefined : nextAttemptMs(attempts, putInAtMs, atMs);
    const settled = await settleWithin(leaseEndMs, { eventId, attempts, atMs, delivered, retryAtMs, fault });
    if (settled.woke) due = true;
    const line = { eventId, merchantNo: typeof endpoint === 'string' ? undefined : endpoint.merchantNo, action, attempts };
    if (delivered) log.debug(line, 'callback delivered');
    else if (retryAtMs === undefined && settled.settled) {
      log.warn({ ...line, fault }, 'callback parked');
      if (shares.isAway(event.merchantId)) await parkOthers(event.merchantId, atMs, fault);
    }
  }

  /** Delivers, and notes whether a server was there: what it says of an event is that event's matter, and has its own schedule. */
  async function ask(endpoint: Endpoint, event: ClaimedEvent): Promise<Outcome> {
    const outcome = await delivery.deliver(endpoint, event);
    const { fault, httpStatus } = outcome;
    const { merchantNo } = endpoint;
    const change = shares.heard(event.merchantId, httpStatus !== undefined && !ABSENT.has(httpStatus));
    if (change === 'away') log.warn({ merchantNo, fault }, 'a merchant is away: it is asked by one callback a second until it answers');
    if (change === 'back') log.info({ merchantNo }, 'a merchant answers callbacks again');
    return outcome;
  }

  /** What is as old as one that was given up would wait its turn of one a second for nothing. */
  async function parkOthers(merchantId: number, nowMs: number, fault: string | undefined): Promise<void> {
    const others = await parkOverdue(db, merchantId, { beforeMs: nowMs - GIVE_UP_AFTER_MS, nowMs, fault });
    if (others > 0) log.warn({ merchantId, others, fault }, 'callbacks parked');
  }

  /** Where to, or why nowhere, which counts as an attempt. Events that come at once for a merchant that is not in memory share one load. */
  async function endpointOf(merchantId: number): Promise<Endpoint | string> {
    const key = String(merchantId);
    const known = endpoints.known(key);
    if (known !== undefined) return known;
    const opening =
      loading.get(key) ??
      endpoints
        .load(key)
        .then(
          (found) => found ?? 'the merchant has no callback address',
          () => 'the secret that signs could not be read',
        )
        .finally(() => loading.delete(key));
    loading.set(key, opening);
    return opening;
  }

  /** A database that is away may be back before the lease ends, and the merchant is spared a repetition. */
  async function settleWithin(leaseEndMs: number, settlement: Settlement): Promise<Settled> {
    for (;;) {
      try {
        return await settle(settlement);
      } catch (error) {
        if (stopping || performance.now() + SETTLE_AGAIN_MS > leaseEndMs) throw error;
        await sleep(SETTLE_AGAIN_MS);
      }
    }
  }

  async function run(): Promise<void> {
    while (!stopping) {
      if (deliveries.size < IN_FLIGHT) await claim();
      if (stopping) return;
      if (due && freed) {
        await sleep(CLAIM_EVERY_MS);
        continue;
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, POLL_EVERY_MS);
        endPause = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
  const running = run();

  return {
    /** Claims no more, and waits for what is in flight, which takes no longer than a delivery may. */
    async stop() {
      stopping = true;
      endPause();
      await running;
      await Promise.all(deliveries);
      delivery.close();
    },
  };
}

/** A merchant's endpoint, its secret unwrapped outside the JavaScript heap. */
export async function openEndpoint(db: Database, keys: Keys, merchantId: number): Promise<Endpoint | undefined> {
  const found = await findEndpoint(db, merchantId);
  if (found === undefined) return undefined;
  const { secretWrapped, ...endpoint } = found;
  const secret = await keys.kek.unwrap(secretWrapped, secretIdentity(found.apiKey));
  try {
    return { ...endpoint, apiSecret: createSecretKey(secret) };
  } finally {
    secret.fill(0);
  }
}
