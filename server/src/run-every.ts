/** Runs work at an interval, one run at a time: a turn that comes while it is at work is left out. `work` catches its own faults. */
export function runEvery(everyMs: number, work: () => Promise<void>): { stop(): Promise<void> } {
  let working: Promise<void> | undefined;
  const timer = setInterval(() => {
    working ??= work().finally(() => {
      working = undefined;
    });
  }, everyMs);
  timer.unref();
  return {
    /** Starts no more, and waits for what runs. */
    async stop() {
      clearInterval(timer);
      await working;
    },
  };
}
