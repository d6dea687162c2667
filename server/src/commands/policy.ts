import {
  digitsOf,
  isWeakBy,
  type PersonalDigits,
  PIN_POLICIES,
  PIN_POLICY_NAMES,
} from '@pinward/contract/pin-policies';
import { judgeRuns, PIN_DIGITS } from '@pinward/contract/pin-rule';
import type { Command } from 'commander';
import { print, printTable } from './output.ts';

/** All PINs of six digits. */
const PINS = 10 ** PIN_DIGITS;

export function addPolicyCommands(program: Command): void {
  program
    .command('policy')
    .description('PIN policies')
    .command('explain')
    .description('count how many of the million PINs each policy refuses')
    .option('--birth-date <date>', "an example of a cardholder's birth date", '1990-05-14')
    .option('--phone <digits>', "an example of a cardholder's phone number", '13912345678')
    .option('--pan <digits>', "an example of a card's PAN", '9999990000000014')
    .action(explain);
}

function explain({ birthDate, phone, pan }: { birthDate: string; phone: string; pan: string }): void {
  const counts = explainPolicies({
    birthDate: digitsOf(birthDate.replaceAll('-', '')),
    phone: digitsOf(phone),
    pan: digitsOf(pan),
  });
  printTable(
    ['policy', 'refuses', 'PINs', 'share', 'beyond the rule', 'what'],
    counts.map(({ name, when, finds, refused, beyondRule }) => [
      name,
      when,
      refused ?? 'the last N',
      refused === undefined ? '-' : `${((refused / PINS) * 100).toFixed(3)} %`,
      beyondRule ?? '-',
      finds,
    ]),
  );
  const example = `born ${birthDate}, phone ${phone}, PAN ...${pan.slice(-4)}`;
  print(`\nThe personal policies are counted for one cardholder: ${example}.`);
}

export interface PolicyCount {
  name: string;
  /** When it refuses: always, or if the operator sets it for a merchant. */
  when: 'always' | 'if set';
  finds: string;
  /** How many of the million PINs; undefined if that depends on the card's earlier PINs. */
  refused?: number;
  /** How many of these the contract's rule accepts. */
  beyondRule?: number;
}

/** Judges every PIN by the contract's rule, in both readings, and by every policy. */
export function explainPolicies(about: PersonalDigits): PolicyCount[] {
  const countable = PIN_POLICY_NAMES.filter((name) => 'isWeak' in PIN_POLICIES[name]);
  const policies = new Map(countable.map((name) => [name, { refused: 0, beyondRule: 0 }]));
  const runs = { arithmetic: 0, keypad: 0 };
  const digits = new Uint8Array(PIN_DIGITS);
  const ascii = new Uint8Array(PIN_DIGITS);
  for (let pin = 0; pin < PINS; pin++) {
    for (let i = PIN_DIGITS - 1, rest = pin; i >= 0; i--, rest = Math.floor(rest / 10)) {
      digits[i] = rest % 10;
      ascii[i] = 0x30 + (rest % 10);
    }
    const refusedByRule = judgeRuns(ascii, 'arithmetic') !== 0;
    if (refusedByRule) runs.arithmetic++;
    if (judgeRuns(ascii, 'keypad') !== 0) runs.keypad++;
    for (const [name, count] of policies) {
      if (!isWeakBy(name, digits, about)) continue;
      count.refused++;
      if (!refusedByRule) count.beyondRule++;
    }
  }
  return [
    {
      name: 'the rule (arithmetic)',
      when: 'always',
      finds: 'three equal, rising or falling digits',
      refused: runs.arithmetic,
    },
    { name: 'the rule (keypad)', when: 'always', finds: 'the same, and 8-9-0 is a run too', refused: runs.keypad },
    ...PIN_POLICY_NAMES.map((name): PolicyCount => {
      const { finds } = PIN_POLICIES[name];
      return { name, when: 'if set', finds, ...policies.get(name) };
    }),
  ];
}
