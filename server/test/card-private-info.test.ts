import assert from 'node:assert/strict';
import { createDecipheriv } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { type CardCalls, startCardCalls, virtual } from './support/card-calls.ts';
import {
  CARD_TO_ACTIVATE,
  OTHER_API_KEY,
  OTHER_MERCHANTS_CARD,
  SANDBOX_SECRET,
  VIRTUAL_CARD,
} from './support/sandbox.ts';
import { merchantOf } from './support/test-platform.ts';

let platform: CardCalls['platform'];
let merchant: CardCalls['merchant'];
let applied: CardCalls['applied'];
let actionsOf: CardCalls['actionsOf'];
let issuerCall: CardCalls['issuerCall'];
before(async () => {
  ({ platform, merchant, applied, actionsOf, issuerCall } = await startCardCalls());
});
after(() => platform.close());

describe('private info', () => {
  const read = (cardNo: string, as = merchant) => as.call('GET', `/card/${cardNo}/private/info`);

  test('is the card’s PAN, CVV and expiry, enciphered, and leaves a record', async () => {
    const cardNo = await applied(virtual('private-1'));
    assert.equal((await read(cardNo)).code, 4005, 'there is none yet');
    const { data: issued } = await issuerCall('/card/issued', { card_no: cardNo, expiry: '3012' });
    const { pan, cvv2 } = issued as { pan: string; cvv2: string };
    const answer = await read(cardNo);
    assert.equal(answer.code, 0);
    const decipher = createDecipheriv('aes-256-ecb', SANDBOX_SECRET, null);
    const clear = Buffer.concat([decipher.update(answer.data as string, 'base64'), decipher.final()]).toString('utf8');
    assert.deepEqual(JSON.parse(clear), {
      card_no: cardNo,
      card_unique_no: 'private-1',
      cvv: cvv2,
      pan,
      exp_year: '2030',
      exp_month: '12',
    });
    assert.deepEqual(await actionsOf(cardNo), ['card_applied', 'card_issued', 'card_private_read']);
  });

  test('is not given before activation, nor to a merchant without the right, nor for cards of others', async () => {
    assert.equal((await read(CARD_TO_ACTIVATE.cardNo)).code, 4005);
    assert.equal((await read(OTHER_MERCHANTS_CARD.cardNo, merchantOf(platform, OTHER_API_KEY))).code, 1013);
    assert.equal((await read(OTHER_MERCHANTS_CARD.cardNo)).text, (await read('C000')).text);
    assert.equal((await read('C000')).code, 4001);
  });
});

describe('a client access token', () => {
  const token = (cardNo: string, as = merchant) => as.call('GET', `/merchant/client/${cardNo}/token`);

  test('is new each time, valid for five minutes, and stored only as a hash', async () => {
    const [one, two] = [await token(VIRTUAL_CARD.cardNo), await token(VIRTUAL_CARD.cardNo)];
    const { client_access_token, expires_in } = one.data as { client_access_token: string; expires_in: number };
    assert.match(client_access_token, /^ct_[\w-]{43}$/);
    assert.equal(expires_in, 300);
    assert.notEqual(one.text, two.text);
    const rows = await platform.db.tuples<[string]>('tokens', 'select client_tokens::text from client_tokens');
    assert.equal(rows.length, 2);
    assert.ok(!rows.flat().join().includes(client_access_token));
  });

  test('is refused in the same cases as private info', async () => {
    assert.equal((await token(CARD_TO_ACTIVATE.cardNo)).code, 4005);
    assert.equal((await token(OTHER_MERCHANTS_CARD.cardNo, merchantOf(platform, OTHER_API_KEY))).code, 1013);
    assert.equal((await token('C000')).code, 4001);
  });
});
