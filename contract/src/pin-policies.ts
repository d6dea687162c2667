import { PIN_DIGITS } from './pin-rule.ts';
import type { Language } from './vocabulary.ts';

/*
 * PIN policies beyond the contract's rule. An operator sets each of them for a merchant: off, warn
 * or refuse. Each policy is a rule for a pattern that makes PINs easy to guess; none is a list of
 * PINs. They take six digits as numbers 0 to 9. `pinward-server policy explain` counts how many
 * PINs each policy refuses.
 */

/**
 * What the personal policies compare with, as digits 0 to 9. A member that is unknown is absent.
 */
export interface PersonalDigits {
  /** YYYYMMDD. */
  birthDate?: Uint8Array | undefined;
  phone?: Uint8Array | undefined;
  pan?: Uint8Array | undefined;
}

interface PolicyEntry {
  /** Whether the policy finds the PIN weak. Absent for `history`, where digits are not enough. */
  isWeak?: (pin: Uint8Array, about: PersonalDigits) => boolean;
  /** For operators: the PINs that the policy finds. */
  finds: string;
  /** Follows the text of 4016 when the policy refuses. */
  refusal: Record<Language, string>;
}

/** In the order of the checks. */
export const PIN_POLICIES = {
  repeats: {
    isWeak: isRepeat,
    finds: 'ABABAB, ABCABC, AABBCC',
    refusal: { en_US: 'it repeats itself', zh_CN: '存在重复规律' },
  },
  steps: {
    isWeak: isStep,
    finds: 'the same step from digit to digit, or to every second digit: 024680, 142536',
    refusal: { en_US: 'its digits follow one another in even steps', zh_CN: '数字等差排列' },
  },
  keypad: {
    isWeak: isKeypadShape,
    finds: 'walks, corners and strokes on the keypad: 125698, 139713, 159357',
    refusal: { en_US: 'it is a shape on the keypad', zh_CN: '为键盘图形' },
  },
  dates: {
    isWeak: isDate,
    finds: 'DDMMYY, MMDDYY, YYMMDD, YYYYMM, MMYYYY',
    refusal: { en_US: 'it is a date', zh_CN: '为日期' },
  },
  'birth-date': {
    isWeak: (pin, { birthDate }) => birthDate !== undefined && holdsBirthDate(pin, birthDate),
    finds: "day and month in either order, or year, of the cardholder's birth",
    refusal: { en_US: "it holds the cardholder's birth date", zh_CN: '包含持卡人生日' },
  },
  phone: {
    isWeak: (pin, { phone }) => phone !== undefined && isPartOf(pin, phone),
    finds: "the phone number's last four digits, or six of it in a row",
    refusal: { en_US: "it is part of the cardholder's phone number", zh_CN: '包含持卡人手机号' },
  },
  'pan-tail': {
    isWeak: (pin, { pan }) => pan !== undefined && isPartOf(pin, pan),
    finds: "the PAN's last four digits, or six of it in a row",
    refusal: { en_US: 'it is part of the card number', zh_CN: '包含卡号' },
  },
  history: {
    finds: 'the last PINs of the card, by their reference values',
    refusal: { en_US: 'it was used before', zh_CN: '近期已使用过' },
  },
} as const satisfies Record<string, PolicyEntry>;

export type PinPolicy = keyof typeof PIN_POLICIES;

export const PIN_POLICY_NAMES = Object.keys(PIN_POLICIES) as PinPolicy[];

export const POLICY_MODES = ['off', 'warn', 'refuse'] as const;
export type PolicyMode = (typeof POLICY_MODES)[number];

/** A policy that is not named is off. */
export type PolicySettings = Partial<Record<PinPolicy, PolicyMode>>;

/** The policies that warn or refuse, in the order of the checks. */
export type PoliciesInForce = ReadonlyMap<PinPolicy, PolicyMode>;

export function policiesInForce(settings: PolicySettings): PoliciesInForce {
  const modes = PIN_POLICY_NAMES.map((name) => [name, settings[name] ?? 'off'] as const);
  return new Map(modes.filter(([, mode]) => mode !== 'off'));
}

/**
 * Whether a policy finds the digits weak. Always false for `history`: it compares reference values.
 */
export function isWeakBy(policy: PinPolicy, pin: Uint8Array, about: PersonalDigits): boolean {
  const entry: PolicyEntry = PIN_POLICIES[policy];
  return entry.isWeak?.(pin, about) ?? false;
}

/** ASCII digits as numbers 0 to 9. If they are secret, the caller wipes them. */
export function digitsOf(ascii: Uint8Array | string): Uint8Array {
  if (typeof ascii === 'string') return Uint8Array.from(ascii, (character) => character.charCodeAt(0) & 0xf);
  return Uint8Array.from(ascii, (byte) => byte & 0xf);
}

function at(digits: Uint8Array, i: number): number {
  return digits[i] as number;
}

/** ABABAB, ABCABC and AABBCC. */
function isRepeat(pin: Uint8Array): boolean {
  const hasPeriod = (length: number): boolean => pin.every((digit, i) => digit === at(pin, i % length));
  return hasPeriod(2) || hasPeriod(3) || [0, 2, 4].every((i) => at(pin, i) === at(pin, i + 1));
}

/**
 * The same step, modulo 10, from each digit to the next (024680, 963074) or second next (142536).
 */
function isStep(pin: Uint8Array): boolean {
  const isEven = (distance: number): boolean => {
    const step = stepTo(distance);
    for (let i = distance + 1; i < PIN_DIGITS; i++) if (stepTo(i) !== step) return false;
    return true;

    function stepTo(i: number): number {
      return (at(pin, i) - at(pin, i - distance) + 10) % 10;
    }
  };
  return isEven(1) || isEven(2);
}

/** The place of a key on the telephone keypad (ITU-T E.161): 1 2 3 / 4 5 6 / 7 8 9 / · 0 ·. */
const columnOf = (digit: number): number => (digit === 0 ? 1 : (digit - 1) % 3);
const rowOf = (digit: number): number => (digit === 0 ? 3 : Math.floor((digit - 1) / 3));

/**
 * PINs that draw a shape on the keypad. Either every key is next to the one before (a walk:
 * 125698), or every key is two away in the same row or column (corners: 139713), or the PIN is two
 * straight strokes of three keys (159357, 258147).
 */
function isKeypadShape(pin: Uint8Array): boolean {
  const moves = Array.from({ length: PIN_DIGITS - 1 }, (_, i): [x: number, y: number] => [
    columnOf(at(pin, i + 1)) - columnOf(at(pin, i)),
    rowOf(at(pin, i + 1)) - rowOf(at(pin, i)),
  ]);
  const allOf = (length: number): boolean =>
    moves.every(([x, y]) => (x === 0 || y === 0) && Math.abs(x) + Math.abs(y) === length);
  const isStroke = (first: number): boolean => {
    const [[x, y], [nextX, nextY]] = [moves[first], moves[first + 1]] as [[number, number], [number, number]];
    return (x !== 0 || y !== 0) && x === nextX && y === nextY;
  };
  return allOf(1) || allOf(2) || (isStroke(0) && isStroke(3));
}

/** DDMMYY, MMDDYY and YYMMDD of the years 1950 to 2049, and YYYYMM and MMYYYY of 1900 to 2099. */
function isDate(pin: Uint8Array): boolean {
  const pair = (i: number): number => at(pin, i) * 10 + at(pin, i + 1);
  const [a, b, c] = [pair(0), pair(2), pair(4)];
  const isCentury = (value: number): boolean => value === 19 || value === 20;
  const isMonth = (value: number): boolean => value >= 1 && value <= 12;
  return (
    isDay(c, b, a) || isDay(c, a, b) || isDay(a, b, c) || (isCentury(a) && isMonth(c)) || (isMonth(a) && isCentury(b))
  );
}

function isDay(yearOfCentury: number, month: number, day: number): boolean {
  if (month < 1 || month > 12 || day < 1) return false;
  const leap = yearOfCentury % 4 === 0; // 2000 was one, and 1950 to 2049 has no other year that ends in 00
  return day <= (month === 2 ? (leap ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31);
}

/** Whether the PIN contains day and month, in either order, or the year. */
function holdsBirthDate(pin: Uint8Array, birthDate: Uint8Array): boolean {
  const [year, month, day] = [birthDate.subarray(0, 4), birthDate.subarray(4, 6), birthDate.subarray(6, 8)];
  return holds(pin, year) || holds(pin, Uint8Array.of(...day, ...month)) || holds(pin, Uint8Array.of(...month, ...day));
}

/** Whether the PIN contains the number's last four digits, or is six digits of it in a row. */
function isPartOf(pin: Uint8Array, number: Uint8Array): boolean {
  return (number.length >= 4 && holds(pin, number.subarray(-4))) || holds(number, pin);
}

function holds(digits: Uint8Array, part: Uint8Array): boolean {
  for (let i = 0; i + part.length <= digits.length; i++)
    if (part.every((digit, j) => digit === at(digits, i + j))) return true;
  return false;
}
