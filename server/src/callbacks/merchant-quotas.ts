/** After this many deliveries in a row without an answer a merchant counts as unavailable. */
const UNAVAILABLE_AFTER = 8;
/** How long after a failed delivery an unavailable merchant gets the next one. */
const TRY_AGAIN_MS = 1_000;

export interface MerchantQuotas {
  begin(merchantId: number): void;
  end(merchantId: number): void;
  /**
   * A server answered, whatever it said. Returns whether an unavailable merchant has its
   * whole quota back by this.
   */
  noteAnswer(merchantId: number): boolean;
  /** No server answered. Returns whether the merchant became unavailable by this. */
  noteNoAnswer(merchantId: number): boolean;
  isUnavailable(merchantId: number): boolean;
  /**
   * How many more deliveries each merchant may have. A merchant that is missing may have
   * its whole quota.
   */
  room(): ReadonlyMap<number, number>;
}

interface MerchantState {
  inFlight: number;
  /** The quota, or less while the merchant is unavailable. */
  allowed: number;
  /** Deliveries without an answer since the last answer. */
  unanswered: number;
  tryAgainAtMs: number;
}

/**
 * Limits the deliveries that this process has in flight to each merchant, so that a server
 * that hangs holds up only its own merchant. While a merchant's server is unavailable, this
 * process sends it one callback at a time, a second after the last one failed. So a long
 * queue does not become a storm of attempts for the merchant and the database. When the
 * server answers again, the limit doubles with each answer up to the whole quota. After a
 * failure it starts again at one.
 */
export function createMerchantQuotas(quota: number, nowMs: () => number): MerchantQuotas {
  const merchants = new Map<number, MerchantState>();

  function stateOf(merchantId: number): MerchantState {
    const state = merchants.get(merchantId) ?? { inFlight: 0, allowed: quota, unanswered: 0, tryAgainAtMs: 0 };
    merchants.set(merchantId, state);
    return state;
  }

  return {
    begin(merchantId) {
      stateOf(merchantId).inFlight++;
    },
    end(merchantId) {
      const state = stateOf(merchantId);
      state.inFlight--;
      if (state.inFlight === 0 && state.unanswered === 0 && state.allowed === quota) merchants.delete(merchantId);
    },
    noteAnswer(merchantId) {
      const state = stateOf(merchantId);
      const wasUnavailable = state.allowed < quota;
      state.unanswered = 0;
      state.allowed = Math.min(quota, state.allowed * 2);
      return wasUnavailable && state.allowed === quota;
    },
    noteNoAnswer(merchantId) {
      const state = stateOf(merchantId);
      const wasUnavailable = state.allowed < quota;
      state.unanswered++;
      if (!wasUnavailable && state.unanswered < UNAVAILABLE_AFTER) return false;
      state.allowed = 1;
      state.tryAgainAtMs = nowMs() + TRY_AGAIN_MS;
      return !wasUnavailable;
    },
    isUnavailable: (merchantId) => (merchants.get(merchantId)?.allowed ?? quota) < quota,
    room() {
      const now = nowMs();
      return new Map(
        [...merchants].map(([merchantId, { inFlight, allowed, tryAgainAtMs }]) => {
          const waits = allowed === 1 && now < tryAgainAtMs;
          return [merchantId, waits ? 0 : Math.max(0, allowed - inFlight)];
        }),
      );
    },
  };
}
