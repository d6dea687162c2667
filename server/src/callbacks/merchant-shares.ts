/** Deliveries in a row that met no server, after which a merchant's counts as away. */
const AWAY_AFTER = 8;
const ASK_AGAIN_MS = 1_000;

/** That a merchant's server went away, or is back and has its whole share again. */
type Change = 'away' | 'back' | undefined;

export interface MerchantShares {
  begin(merchantId: number): void;
  end(merchantId: number): void;
  /** Tells how a delivery went: whether a server was there to answer it, whatever it said. */
  heard(merchantId: number, present: boolean): Change;
  isAway(merchantId: number): boolean;
  /** How many more deliveries each merchant may have, for those that may not have `share`. */
  room(): ReadonlyMap<number, number>;
}

/**
 * What each merchant may have in flight from this process: its share, so that one whose server hangs holds up itself alone. A server that is away is asked by one
 * event, a second after the one before has failed, so that a long queue is no storm of attempts for the merchant and the database. When it
 * answers again its share grows back, twice as much with each answer, and begins anew with a failure.
 */
export function createMerchantShares(share: number, nowMs: () => number): MerchantShares {
  const merchants = new Map<number, { inFlight: number; allowed: number; unmet: number; askAgainAtMs: number }>();

  function of(merchantId: number) {
    const known = merchants.get(merchantId) ?? { inFlight: 0, allowed: share, unmet: 0, askAgainAtMs: 0 };
    merchants.set(merchantId, known);
    return known;
  }

  return {
    begin: (merchantId) => void of(merchantId).inFlight++,
    end(merchantId) {
      const merchant = of(merchantId);
      merchant.inFlight--;
      if (merchant.inFlight === 0 && merchant.unmet === 0 && merchant.allowed === share) merchants.delete(merchantId);
    },
    heard(merchantId, present) {
      const merchant = of(merchantId);
      const wasAway = merchant.allowed < share;
      if (present) {
        merchant.unmet = 0;
        merchant.allowed = Math.min(share, merchant.allowed * 2);
        return wasAway && merchant.allowed === share ? 'back' : undefined;
      }
      merchant.unmet++;
      if (!wasAway && merchant.unmet < AWAY_AFTER) return undefined;
      merchant.allowed = 1;
      merchant.askAgainAtMs = nowMs() + ASK_AGAIN_MS;
      return wasAway ? undefined : 'away';
    },
    isAway: (merchantId) => (merchants.get(merchantId)?.allowed ?? share) < share,
    room() {
      const now = nowMs();
      return new Map(
        [...merchants].map(([merchantId, { inFlight, allowed, askAgainAtMs }]) => {
          const paused = allowed === 1 && now < askAgainAtMs;
          return [merchantId, paused ? 0 : Math.max(0, allowed - inFlight)];
        }),
      );
    },
  };
}
