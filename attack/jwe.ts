import { randomUUID } from 'node:crypto';
import type { JWK } from 'jose';
import { remoteMerchant, validPin } from '../server/test/support/calls.ts';
import { sealJwe } from '../server/test/support/envelopes.ts';
import { FIRST_CARD, wireNamesOf } from '../server/test/support/sandbox.ts';
import { type Attack, createClient, createRandom, type Random, startSandbox } from './sandbox.ts';

const MUTATIONS = 2_500;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

export const jwe: Attack = {
  name: 'jwe',
  promise: `${MUTATIONS} altered JWEs all answer 4016`,
  async run(scope, { seed }) {
    const { servers } = await startSandbox(scope, 1);
    const { url } = servers[0]!;
    const random = createRandom(seed);
    const send = createClient(scope, 16);
    const merchant = remoteMerchant(url);
    const { keys } = (await (await fetch(`${url}/.well-known/jwks.json`)).json()) as { keys: JWK[] };
    const seal = () =>
      sealJwe(keys[0] as JWK, {
        pin: validPin(random.below(1_000)),
        card_no: FIRST_CARD.cardNo,
        iat: Math.floor(Date.now() / 1000),
        jti: randomUUID(),
      });
    const set = async (pin: string): Promise<string> => {
      const headers = { ...(await merchant.headers()), 'Pin-Envelope': 'jwe' };
      const body = JSON.stringify({ ...wireNamesOf(FIRST_CARD), pin });
      const { status, code } = await send(`${url}/open-api/v1/card/pin/set`, 'POST', headers, body);
      return `${status} ${code}`;
    };
    const untouched = await set(await seal());
    if (untouched !== '200 0') throw new Error(`a JWE that nobody altered answers ${untouched}`);
    const answers = new Map<string, number>();
    for (let begun = 0; begun < MUTATIONS; begun += 50)
      for (const answer of await Promise.all(Array.from({ length: 50 }, async () => set(mutate(await seal(), random)))))
        answers.set(answer, (answers.get(answer) ?? 0) + 1);
    const found = [...answers].map(([answer, count]) => `${count} answered ${answer}`).join(', ');
    return { held: answers.size === 1 && answers.has('200 4016'), found };
  },
};

/** Alters one thing. What results is another text than the one that was given. */
function mutate(compact: string, random: Random): string {
  const parts = compact.split('.');
  const at = random.below(parts.length);
  const part = parts[at] as string;
  const place = random.below(part.length);
  const other = ALPHABET.replace(part[place] as string, '');
  const altered = random.pick([
    () => part.slice(0, place) + random.pick([...other]) + part.slice(place + 1),
    () => part.slice(0, place) + part.slice(place + 1),
    () => part.slice(0, place) + random.pick([...ALPHABET]) + part.slice(place),
    () => part.slice(0, place),
    () => '',
    () => `${part}=`,
    () => part + part,
    () => (at === 0 ? headerOf(part, random) : part.slice(1)),
  ])();
  const result = parts.with(at, altered).join('.');
  // A letter put before its like gives the same text.
  return result === compact ? mutate(compact, random) : result;
}

function headerOf(part: string, random: Random): string {
  const header = JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>;
  const change = random.pick([
    { alg: 'none' },
    { alg: 'dir' },
    { alg: 'RSA-OAEP' },
    { alg: 'PBES2-HS256+A128KW', p2c: 1e9, p2s: 'AAAA' },
    { enc: 'A128CBC-HS256' },
    { zip: 'DEF' },
    { crit: ['x'], x: 1 },
    { kid: '' },
    { kid: 'other' },
    { epk: {} },
    { apu: 'AAAA' },
  ]);
  return Buffer.from(JSON.stringify({ ...header, ...change })).toString('base64url');
}
