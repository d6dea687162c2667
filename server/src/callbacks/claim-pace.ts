import { setTimeout as sleep } from 'node:timers/promises';

/** How often a process looks for due events if nothing tells it to look earlier. */
const POLL_EVERY_MS = 200;
/**
 * Between two claims while there is much to send. One claim then fills all the room that
 * was freed meanwhile.
 */
const CLAIM_EVERY_MS = 10;

/**
 * Decides when the next claim is worth a statement: when something may be due and there is
 * room for it.
 */
export interface ClaimPace {
  /** A claim starts. It takes account of everything noted so far. */
  begin(): void;
  /** Something may be due. By itself this ends no wait: room must be noted too. */
  noteDue(): void;
  /** There is room that the last claim did not know of. */
  noteRoom(): void;
  /**
   * Waits until the next claim: shortly if something may be due and there is room, else for
   * the poll interval.
   */
  next(): Promise<void>;
  /** Ends the wait for the poll interval. */
  endPause(): void;
}

export function createClaimPace(): ClaimPace {
  let due = false;
  let room = false;
  let endPause = (): void => {};

  async function pause(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, POLL_EVERY_MS);
      endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  return {
    begin() {
      due = false;
      room = false;
    },
    noteDue() {
      due = true;
    },
    noteRoom() {
      room = true;
      if (due) endPause();
    },
    next: () => (due && room ? sleep(CLAIM_EVERY_MS) : pause()),
    endPause: () => endPause(),
  };
}
