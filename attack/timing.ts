import { remoteMerchant, validPin } from '../server/test/support/calls.ts';
import { FIRST_CARD, OTHER_MERCHANTS_CARD, seal, wireNamesOf } from '../server/test/support/sandbox.ts';
import { type Attack, createClient, createRandom, startSandbox } from './sandbox.ts';

const LIMIT = 0.02;
/**
 * Of each refusal in a round. Rounds go on until the medians agree, as noise needs more samples.
 */
const SAMPLES = 1_500;
const ROUNDS = 6;
const WARM_UP = 300;

const ABSENT = { cardNo: 'C999999999999', cardholderNo: FIRST_CARD.cardholderNo };
const ELSEWHERE = { cardNo: FIRST_CARD.cardNo, cardholderNo: OTHER_MERCHANTS_CARD.cardholderNo };

/** Refusals that a caller must not tell apart, by the code that all of a group answer. */
const GROUPS: { code: number; bodies: Record<string, object> }[] = [
  {
    code: 4001,
    bodies: {
      'no card': { ...wireNamesOf(ABSENT), pin: seal(validPin(1)) },
      "another merchant's card": { ...wireNamesOf(OTHER_MERCHANTS_CARD), pin: seal(validPin(1)) },
      "another cardholder's card": { ...wireNamesOf(ELSEWHERE), pin: seal(validPin(1)) },
    },
  },
  {
    code: 4016,
    bodies: {
      'a run': { ...wireNamesOf(FIRST_CARD), pin: seal('123456') },
      'five digits': { ...wireNamesOf(FIRST_CARD), pin: seal('13524') },
      letters: { ...wireNamesOf(FIRST_CARD), pin: seal('a3b2c4') },
      'another key': { ...wireNamesOf(FIRST_CARD), pin: seal(validPin(1), 'x'.repeat(32)) },
    },
  },
];

export const timing: Attack = {
  name: 'timing',
  promise: `medians of the refusals on one path differ by less than ${LIMIT * 100} %`,
  async run(scope, { seed }) {
    const { servers } = await startSandbox(scope, 1);
    const random = createRandom(seed);
    const merchant = remoteMerchant(servers[0]!.url);
    const send = createClient(scope, 1);
    const refuse = async (code: number, body: string): Promise<number> => {
      const headers = await merchant.headers();
      const beganAtMs = performance.now();
      const answer = await send(`${servers[0]!.url}/open-api/v1/card/pin/set`, 'POST', headers, body);
      const tookMs = performance.now() - beganAtMs;
      if (answer.code !== code) throw new Error(`answered ${answer.code} instead of ${code}`);
      return tookMs;
    };
    const found: string[] = [];
    let held = true;
    for (const { code, bodies } of GROUPS) {
      const texts = Object.values(bodies).map((body) => JSON.stringify(body));
      const samples = texts.map((): number[] => []);
      for (let i = 0; i < WARM_UP; i++) for (const text of texts) await refuse(code, text);
      let spread = Number.POSITIVE_INFINITY;
      for (let round = 0; round < ROUNDS && spread >= LIMIT; round++) {
        for (let i = 0; i < SAMPLES; i++)
          for (const which of shuffled(texts.length, random.below))
            samples[which]!.push(await refuse(code, texts[which] as string));
        const medians = samples.map(medianOf);
        spread = Math.max(...medians) / Math.min(...medians) - 1;
      }
      const each = Object.keys(bodies).map((name, i) => `${name} ${medianOf(samples[i]!).toFixed(3)} ms`);
      found.push(`${code} by ${(spread * 100).toFixed(1)} % of ${samples[0]!.length} (${each.join(', ')})`);
      held &&= spread < LIMIT;
    }
    return { held, found: found.join('; ') };
  },
};

/** In another order each time, so that no refusal always comes after the same one. */
function shuffled(length: number, below: (limit: number) => number): number[] {
  const order = Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = below(i + 1);
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}

function medianOf(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number;
}
