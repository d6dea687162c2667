/**
 * Runs work at an interval, one run at a time: while a run is going, turns are skipped.
 * `work` must catch its own errors.
 */
export function runEvery(everyMs: number, work: () => Promise<void>): { stop(): Promise<void> } {
  let running: Promise<void> | undefined;
  const timer = setInterval(() => {
    running ??= work().finally(() => {
      running = undefined;
    });
  }, everyMs);
  timer.unref();
  return {
    /** Starts no more runs and waits for the one that is going. */
    async stop() {
      clearInterval(timer);
      await running;
    },
  };
}
