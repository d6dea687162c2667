import { signAuditHeads } from './audit/sign-heads.ts';
import { lastSigning } from './audit/store.ts';
import { forgetDelivered } from './callbacks/store.ts';
import { forgetClientTokens } from './cards/store.ts';
import { forgetAnswers } from './http/idempotency-store.ts';
import { forgetHistories, forgetUsedJtis } from './pins/store.ts';
import { runEvery } from './run-every.ts';
import type { Services } from './services.ts';

const EVERY_MS = 60_000;
const SIGN_EVERY_MS = 86_400_000;
const DELIVERED_KEPT_MS = 7 * 86_400_000;

/**
 * What a platform does by itself, on every process alike: forgets what has had its time (one-use numbers, tokens, kept answers, callbacks that were
 * delivered a week ago, the earlier PINs of merchants whose policy looks back no more), and once a day signs the heads of the audit chains
 * (of several processes one does). A fault is logged and tried again the next minute.
 */
export function keepHouse({ db, keys, clock, log }: Services): { stop(): Promise<void> } {
  async function work(): Promise<void> {
    try {
      await forgetUsedJtis(db, clock());
      await forgetClientTokens(db, clock());
      await forgetAnswers(db, clock());
      await forgetHistories(db);
      await forgetDelivered(db, clock() - DELIVERED_KEPT_MS);
      const last = await lastSigning(db);
      if (last !== undefined && clock() - last.atMs < SIGN_EVERY_MS) return;
      const chains = await signAuditHeads(db, keys, clock);
      if (chains > 0) log.info({ chains }, 'audit heads signed');
    } catch (err) {
      log.error({ err }, 'housekeeping failed');
    }
  }

  return runEvery(EVERY_MS, work);
}
