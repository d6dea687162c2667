/** Deliveries in a row that nothing answered, after which a merchant's server counts as away. */
const AWAY_AFTER = 8;
const ASK_AGAIN_MS = 1_000;

/** What a delivery tells of the merchant's server: that it went away, or came back. */
type Change = 'away' | 'back' | undefined;

export interface MerchantShares {
  begin(merchantId: number): void;
  end(merchantId: number): void;
  /** Whether the merchant's server took a delivery for one: any answer of 2xx, whatever it says of the event. */
  heard(merchantId: number, answered: boolean): Change;
  /** How much of its share each merchant has no use of now. */
  taken(): ReadonlyMap<number, number>;
}

/**
 * What each merchant may have in flight from this process: its share, so that one whose server hangs holds up itself alone. While its server is away
 * it is asked by one event, a second after the one before, so that a long queue is no storm of attempts for the merchant, the database and the log.
 */
export function createMerchantShares(share: number, nowMs = (): number => performance.now()): MerchantShares {
  const merchants = new Map<number, { inFlight: number; unanswered: number; askAgainAtMs: number }>();

  function of(merchantId: number) {
    const known = merchants.get(merchantId) ?? { inFlight: 0, unanswered: 0, askAgainAtMs: 0 };
    merchants.set(merchantId, known);
    return known;
  }

  return {
    begin: (merchantId) => void of(merchantId).inFlight++,
    end(merchantId) {
      const merchant = of(merchantId);
      merchant.inFlight--;
      if (merchant.inFlight === 0 && merchant.unanswered === 0) merchants.delete(merchantId);
    },
    heard(merchantId, answered) {
      const merchant = of(merchantId);
      const before = merchant.unanswered;
      merchant.unanswered = answered ? 0 : before + 1;
      if (answered) return before >= AWAY_AFTER ? 'back' : undefined;
      merchant.askAgainAtMs = nowMs() + ASK_AGAIN_MS;
      return merchant.unanswered === AWAY_AFTER ? 'away' : undefined;
    },
    taken() {
      const now = nowMs();
      return new Map(
        [...merchants].map(([merchantId, { inFlight, unanswered, askAgainAtMs }]) => {
          if (unanswered < AWAY_AFTER) return [merchantId, inFlight];
          return [merchantId, inFlight > 0 || now < askAgainAtMs ? share : share - 1];
        }),
      );
    },
  };
}
