import { judgeDigits } from '../crypto/ecb-envelope.ts';

/** How digits follow one another: by arithmetic, or as on a keypad, where 0 stands after 9 and so 8-9-0 is a run too. */
export type PinRuns = 'arithmetic' | 'keypad';

export const PIN_DIGITS = 6;

/**
 * Judges a clear block as a PIN: padding, digits and runs, always all of them and byte by byte to the end, so that
 * neither the answer nor the number of steps tells which was wrong.
 */
export function isAcceptablePin(block: ArrayLike<number>, runs: PinRuns): boolean {
  return (judgeDigits(block, PIN_DIGITS) | judgeRuns(block, runs)) === 0;
}

/**
 * 0 unless three adjacent digits are equal, rise by one or fall by one. Refuses 95,272 of the 1,000,000 PINs under
 * `arithmetic` and 102,422 under `keypad`, which adds 8-9-0 and 0-9-8 to the same rule.
 */
export function judgeRuns(digits: ArrayLike<number>, runs: PinRuns): number {
  const zeroAfterNine = runs === 'keypad' ? 10 : 0;
  let fault = 0;
  for (let i = 0; i + 2 < PIN_DIGITS; i++) {
    const a = (digits[i] as number) - 0x30;
    const b = (digits[i + 1] as number) - 0x30;
    const c = (digits[i + 2] as number) - 0x30;
    fault |= isRun(a, b, c);
    fault |= isRun(a + isZero(a) * zeroAfterNine, b + isZero(b) * zeroAfterNine, c + isZero(c) * zeroAfterNine);
  }
  return fault;
}

/** 1 for three equal, rising or falling numbers, else 0, without a branch. */
function isRun(a: number, b: number, c: number): number {
  const step = b - a;
  return isZero(step ^ (c - b)) & (isZero(step) | isZero(step - 1) | isZero(step + 1));
}

function isZero(value: number): number {
  return ((value | -value) >>> 31) ^ 1;
}
