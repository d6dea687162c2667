import { encipherPinBlock } from '../server/src/crypto/pin-block.ts';
import { ISSUER, sandboxPan } from '../server/src/sandbox/world.ts';
import { remoteMerchant, validPin } from '../server/test/support/calls.ts';
import { SANDBOX_ZPK } from '../server/test/support/issuer.ts';
import { addCards } from '../server/test/support/more-cards.ts';
import { ZONE_KEY } from '../server/test/support/sandbox.ts';
import { type Attack, createClient, startSandbox } from './sandbox.ts';

const CARDS = 40;
const GUESSES = 200;
const TRIES = 3;
/** The first PAN that `addCards` gives. */
const FIRST_PAN = 1_000;

export const guesses: Attack = {
  name: 'guesses',
  promise: `${GUESSES} wrong PINs at once on each of ${CARDS} cards, over two processes, count ${TRIES} tries a card`,
  async run(scope) {
    const { servers, platform } = await startSandbox(scope, 2);
    const cards = await addCards(platform, CARDS);
    const merchant = remoteMerchant(servers[0]!.url);
    const right = validPin(0);
    for (const card of cards) await merchant.setPin(right, card);
    const send = createClient(scope, GUESSES / 2);
    const guess = (number: number, card: number, pin: string) => {
      const pan = Buffer.from(sandboxPan(FIRST_PAN + card));
      const block = encipherPinBlock(SANDBOX_ZPK, 4, Buffer.from(pin), pan).toString('hex');
      const body = { card_no: cards[card]!.cardNo, pin_block: block, format: 4, zone_key: ZONE_KEY };
      const url = `${servers[number % 2]!.url}/issuer/v1/pin/verify`;
      const headers = { Authorization: `Bearer ${ISSUER.secret}`, 'Content-Type': 'application/json' };
      return send(url, 'POST', headers, JSON.stringify(body));
    };
    const faults: string[] = [];
    await Promise.all(
      cards.map(async ({ cardNo }, card) => {
        const answers = await Promise.all(
          Array.from({ length: GUESSES }, (_, number) => guess(number, card, validPin(1 + number))),
        );
        const results = answers.map(({ data, code }) => data.result ?? `code ${code}`);
        const told = results.filter((result) => result === 'mismatch').length;
        const others = new Set(results.filter((result) => result !== 'mismatch' && result !== 'blocked'));
        if (told !== TRIES || others.size > 0) faults.push(`${cardNo} told ${told} mismatches, ${[...others]}`);
        const last = (await guess(0, card, right)).data.result;
        if (last !== 'blocked') faults.push(`${cardNo} answers ${last} to the right PIN`);
      }),
    );
    for (const { subject, count } of await platform.db.query<{ subject: string; count: number }>(
      'count-mismatches',
      `select subject, count(*) as count from audit_records
        where action = 'pin_verified' and details::json->>'result' = 'mismatch' group by subject`,
    ))
      if (count !== TRIES) faults.push(`${subject} has ${count} records of a mismatch`);
    return { held: faults.length === 0, found: faults[0] ?? `${CARDS * GUESSES} guesses, ${TRIES} tries a card` };
  },
};
