import { deleteExpiredKeys } from './api/merchant/idempotency-store.ts';
import { signAuditHeads } from './audit/sign-heads.ts';
import { lastSigning } from './audit/store.ts';
import { deleteDelivered, releaseFarLeases } from './callbacks/store.ts';
import { deleteExpiredClientTokens } from './cards/client-token-store.ts';
import { windowLeftMs } from './clock-window.ts';
import { deleteExpiredJtis, deleteUnneededHistory } from './pins/store.ts';
import { runEvery } from './run-every.ts';
import type { Services } from './services.ts';

const EVERY_MS = 60_000;
const SIGN_EVERY_MS = 86_400_000;
const DELIVERED_KEPT_MS = 7 * 86_400_000;

/**
 * Runs the platform's own upkeep until it is stopped, on every process alike. It deletes
 * expired rows: `jti`s, client tokens, idempotency keys, callbacks that were delivered a
 * week ago, earlier PINs of merchants whose policy no longer looks back. Once a day it signs
 * the heads of the audit chains; of several processes one does. A fault is logged, and the
 * work is tried again a minute later.
 */
export function keepHouse({ db, keys, clock, log }: Services): { stop(): Promise<void> } {
  return runEvery(EVERY_MS, async () => {
    try {
      await deleteExpiredJtis(db, clock());
      await deleteExpiredClientTokens(db, clock());
      await deleteExpiredKeys(db, clock());
      await deleteUnneededHistory(db);
      await deleteDelivered(db, clock() - DELIVERED_KEPT_MS);
      await releaseFarLeases(db, clock());
      const last = await lastSigning(db);
      if (last !== undefined && windowLeftMs(last.atMs, SIGN_EVERY_MS, clock()) > 0) return;
      const chains = await signAuditHeads(db, keys, clock);
      if (chains > 0) log.info({ chains }, 'audit heads signed');
    } catch (err) {
      log.error({ err }, 'housekeeping failed');
    }
  });
}
