import type { Command } from 'commander';
import { digitsOf, type PersonalDigits, PIN_POLICIES, WEAK_BY } from '../pins/pin-policies.ts';
import { judgeRuns, PIN_DIGITS } from '../pins/pin-policy.ts';
import { print, printTable } from './output.ts';

const SPACE = 10 ** PIN_DIGITS;

const RULES = {
  repeats: 'ABABAB, ABCABC, AABBCC',
  steps: 'one step from digit to digit, or to the next but one: 024680, 142536',
  keypad: 'walks, corners and strokes on the keypad: 125698, 139713, 159357',
  dates: 'DDMMYY, MMDDYY, YYMMDD, YYYYMM, MMYYYY',
  'birth-date': "day and month in either order, or year, of the cardholder's birth",
  phone: "the phone number's last four digits, or six of it in a row",
  'pan-tail': "the PAN's last four digits, or six of it in a row",
  history: 'the last PINs of the card, by their reference values',
} as const;

export function addPolicyCommands(program: Command): void {
  program
    .command('policy')
    .description('PIN policies')
    .command('explain')
    .description('what each policy refuses, and its share of the million PINs; counted, not remembered')
    .option('--birth-date <date>', 'of a cardholder, for example', '1990-05-14')
    .option('--phone <digits>', 'of a cardholder, for example', '13912345678')
    .option('--pan <digits>', 'of a card, for example', '9999990000000014')
    .action((options: { birthDate: string; phone: string; pan: string }) => {
      const rows = explainPolicies({
        birthDate: digitsOf(options.birthDate.replaceAll('-', '')),
        phone: digitsOf(options.phone),
        pan: digitsOf(options.pan),
      });
      printTable(
        ['policy', 'refuses', 'PINs', 'share', 'beyond the rule', 'what'],
        rows.map(({ name, what, refused, beyond }) => [
          name,
          name.startsWith('the rule') ? 'always' : 'if set',
          refused === undefined ? 'the last N' : String(refused),
          refused === undefined ? '-' : `${((refused / SPACE) * 100).toFixed(3)} %`,
          beyond === undefined ? '-' : String(beyond),
          what,
        ]),
      );
      print(
        `\nThe personal ones are counted for one cardholder: born ${options.birthDate}, phone ${options.phone}, PAN ...${options.pan.slice(-4)}.`,
      );
    });
}

export interface Explained {
  name: string;
  what: string;
  /** How many of the million PINs; undefined where that depends on what was set. */
  refused: number | undefined;
  /** Of these, how many the contract's rule lets through. */
  beyond: number | undefined;
}

/** Judges every PIN by every policy. */
export function explainPolicies(about: PersonalDigits): Explained[] {
  const rules = PIN_POLICIES.filter((name) => name !== 'history').map((name) => ({ name, weak: WEAK_BY[name], refused: 0, beyond: 0 }));
  const runs = { arithmetic: 0, keypad: 0 };
  const pin = new Uint8Array(PIN_DIGITS);
  const ascii = new Uint8Array(PIN_DIGITS);
  for (let n = 0; n < SPACE; n++) {
    for (let i = 0, rest = n; i < PIN_DIGITS; i++, rest = Math.floor(rest / 10)) {
      pin[PIN_DIGITS - 1 - i] = rest % 10;
      ascii[PIN_DIGITS - 1 - i] = 0x30 + (rest % 10);
    }
    const run = judgeRuns(ascii, 'arithmetic') !== 0;
    if (run) runs.arithmetic++;
    if (judgeRuns(ascii, 'keypad') !== 0) runs.keypad++;
    for (const rule of rules) {
      if (!rule.weak(pin, about)) continue;
      rule.refused++;
      if (!run) rule.beyond++;
    }
  }
  return [
    { name: 'the rule (arithmetic)', what: 'three equal, rising or falling digits', refused: runs.arithmetic, beyond: undefined },
    { name: 'the rule (keypad)', what: 'the same, and 8-9-0 is a run too', refused: runs.keypad, beyond: undefined },
    ...rules.map(({ name, refused, beyond }) => ({ name, what: RULES[name as keyof typeof RULES], refused, beyond })),
    { name: 'history', what: RULES.history, refused: undefined, beyond: undefined },
  ];
}
