/*
 * Policies beyond the contract's rule, by merchant: each is off, warns, or refuses. Every rule is made from what makes such PINs
 * easy to guess, none from a list. They judge six digits as numbers 0 to 9; `pinward-server policy explain` counts what each refuses.
 */

export const PIN_POLICIES = ['repeats', 'steps', 'keypad', 'dates', 'birth-date', 'phone', 'pan-tail', 'history'] as const;
export type PinPolicy = (typeof PIN_POLICIES)[number];
export type PolicyMode = 'off' | 'warn' | 'refuse';

/** What is not named is off. */
export type PolicySettings = Partial<Record<PinPolicy, PolicyMode>>;

/** Those that warn or refuse, in the order in which they are judged. */
export type PoliciesInForce = ReadonlyMap<PinPolicy, PolicyMode>;

export function policiesInForce(settings: PolicySettings): PoliciesInForce {
  return new Map(PIN_POLICIES.map((name) => [name, settings[name] ?? 'off'] as const).filter(([, mode]) => mode !== 'off'));
}

/** What the personal rules look at, as digits 0 to 9; absent where nobody supplied it. */
export interface PersonalDigits {
  /** YYYYMMDD. */
  birthDate?: Uint8Array | undefined;
  phone?: Uint8Array | undefined;
  pan?: Uint8Array | undefined;
}

type Rule = (pin: Uint8Array, about: PersonalDigits) => boolean;

/** Whether a policy finds the PIN weak. `history` is not here: it compares reference values (judge-policies.ts). */
export const WEAK_BY: Record<Exclude<PinPolicy, 'history'>, Rule> = {
  repeats: isRepeat,
  steps: isStep,
  keypad: isKeypadShape,
  dates: isDate,
  'birth-date': (pin, { birthDate }) => birthDate !== undefined && holdsBirthDate(pin, birthDate),
  phone: (pin, { phone }) => phone !== undefined && isPartOf(pin, phone),
  'pan-tail': (pin, { pan }) => pan !== undefined && isPartOf(pin, pan),
};

const at = (digits: Uint8Array, i: number): number => digits[i] as number;

/** ABABAB, ABCABC and AABBCC. */
function isRepeat(pin: Uint8Array): boolean {
  const period = (length: number): boolean => pin.every((digit, i) => digit === at(pin, i % length));
  return period(2) || period(3) || [0, 2, 4].every((i) => at(pin, i) === at(pin, i + 1));
}

/** One step, modulo 10, from digit to digit (024680, 963074), or from each digit to the next but one (142536). */
function isStep(pin: Uint8Array): boolean {
  const even = (distance: number): boolean => {
    const step = (at(pin, distance) - at(pin, 0) + 10) % 10;
    for (let i = distance + 1; i < pin.length; i++) if ((at(pin, i) - at(pin, i - distance) + 10) % 10 !== step) return false;
    return true;
  };
  return even(1) || even(2);
}

/** Where a key stands on the telephone keypad (ITU-T E.161): 1 2 3 / 4 5 6 / 7 8 9 / · 0 ·. */
const column = (digit: number): number => (digit === 0 ? 1 : (digit - 1) % 3);
const row = (digit: number): number => (digit === 0 ? 3 : Math.floor((digit - 1) / 3));

/**
 * Drawn rather than chosen: every key beside the one before it (a walk along rows and columns: 125698), every key two away along
 * a row or column (corners: 139713), or two straight strokes of three keys (159357, 258147).
 */
function isKeypadShape(pin: Uint8Array): boolean {
  const moves = Array.from({ length: pin.length - 1 }, (_, i) => [
    column(at(pin, i + 1)) - column(at(pin, i)),
    row(at(pin, i + 1)) - row(at(pin, i)),
  ]) as [number, number][];
  const all = (length: number): boolean => moves.every(([x, y]) => (x === 0 || y === 0) && Math.abs(x) + Math.abs(y) === length);
  const stroke = (first: number): boolean => {
    const [[x, y], [nextX, nextY]] = [moves[first], moves[first + 1]] as [[number, number], [number, number]];
    return (x !== 0 || y !== 0) && x === nextX && y === nextY;
  };
  return all(1) || all(2) || (stroke(0) && stroke(3));
}

/** DDMMYY, MMDDYY and YYMMDD of the years 1950 to 2049, and YYYYMM and MMYYYY of 1900 to 2099. */
function isDate(pin: Uint8Array): boolean {
  const two = (i: number): number => at(pin, i) * 10 + at(pin, i + 1);
  const [a, b, c] = [two(0), two(2), two(4)];
  const century = (year: number): boolean => year === 19 || year === 20;
  const month = (value: number): boolean => value >= 1 && value <= 12;
  return isDay(c, b, a) || isDay(c, a, b) || isDay(a, b, c) || (century(a) && month(c)) || (month(a) && century(b));
}

function isDay(yearOfCentury: number, month: number, day: number): boolean {
  if (month < 1 || month > 12 || day < 1) return false;
  const leap = yearOfCentury % 4 === 0; // 2000 was one, and no other year of 1950 to 2049 ends a century
  return day <= (month === 2 ? (leap ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31);
}

/** Holds day and month, in either order, or the year. */
function holdsBirthDate(pin: Uint8Array, birthDate: Uint8Array): boolean {
  const [year, month, day] = [birthDate.subarray(0, 4), birthDate.subarray(4, 6), birthDate.subarray(6, 8)];
  return holds(pin, year) || holds(pin, Uint8Array.of(...day, ...month)) || holds(pin, Uint8Array.of(...month, ...day));
}

/** Holds the number's last four digits, or is six digits of it in a row. */
function isPartOf(pin: Uint8Array, number: Uint8Array): boolean {
  return (number.length >= 4 && holds(pin, number.subarray(-4))) || holds(number, pin);
}

function holds(digits: Uint8Array, part: Uint8Array): boolean {
  for (let i = 0; i + part.length <= digits.length; i++) if (part.every((digit, j) => digit === at(digits, i + j))) return true;
  return false;
}

/** ASCII digits as numbers; the caller wipes them where they are secret. */
export function digitsOf(text: Uint8Array | string): Uint8Array {
  return Uint8Array.from(typeof text === 'string' ? Buffer.from(text, 'latin1') : text, (byte) => byte & 0xf);
}
