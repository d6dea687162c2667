import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CARD_TO_ACTIVATE, CARDHOLDER_NO, pinBody, seal } from './support/sandbox.ts';
import { intactChain, storedPin } from './support/stored-pin.ts';
import { type Merchant, merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

let platform: TestPlatform;
let merchant: Merchant;
before(async () => {
  platform = await startPlatform();
  merchant = merchantOf(platform);
});
after(() => platform.close());

const card = { card_no: CARD_TO_ACTIVATE.cardNo, cardholder_no: CARDHOLDER_NO };

async function status(): Promise<string> {
  const { data } = await merchant.call('GET', `/card/${card.card_no}/detail`);
  return (data as { status: string }).status;
}

async function setPin(pin: string): Promise<number> {
  return (await merchant.call('POST', '/card/pin/set', pinBody(pin, card))).code;
}

async function update(to: string): Promise<number> {
  return (await merchant.call('POST', '/card/status/update', { card_no: card.card_no, status: to })).code;
}

/** Whether it is this PIN that the card's holder can use. */
async function hasPin(pin: string): Promise<boolean> {
  return (await storedPin(platform, card.card_no))?.is(pin) ?? false;
}

test('one card is activated, given a PIN, frozen, unfrozen, given another PIN and deleted', async () => {
  assert.equal(await status(), 'ToActivate');
  assert.equal(await setPin('142536'), 4005, 'it gets no PIN before it is activated');

  const activate = (cvv: string, lastFour: string) =>
    merchant.call('POST', '/card/active', { ...card, cvv: seal(cvv), card_last_no: lastFour });
  assert.equal((await activate('000', '0030')).code, 4003, 'who does not know its CVV cannot activate it');
  assert.equal((await activate('685', '0030')).code, 0);
  assert.equal(await status(), 'Activated');

  assert.equal(await setPin('123456'), 4016, 'a PIN that anyone would guess is refused');
  assert.equal(await hasPin('142536'), false);
  assert.equal(await setPin('142536'), 0);
  assert.equal(await hasPin('142536'), true);

  assert.equal(await update('Frozen'), 0);
  assert.equal(await status(), 'Frozen');
  assert.equal(await setPin('902847'), 4005);
  assert.equal(await hasPin('142536'), true, 'frozen, it keeps the PIN that it had');

  assert.equal(await update('Activated'), 0);
  assert.equal(await status(), 'Activated');
  assert.equal(await hasPin('142536'), true, 'and so it does when it has thawed');
  assert.equal(await setPin('902847'), 0);
  assert.deepEqual([await hasPin('902847'), await hasPin('142536')], [true, false]);

  assert.equal(await update('Delete'), 0);
  assert.equal(await status(), 'Delete');
  assert.equal(await setPin('142536'), 4005);
  assert.equal(await update('Activated'), 4005, 'what is deleted stays so');

  const trail = await intactChain(platform.db, card.card_no);
  assert.deepEqual(
    trail.map(({ action }) => action),
    [
      'card_created',
      'card_activation_failed',
      'card_activated',
      'pin_set',
      'card_frozen',
      'card_unfrozen',
      'pin_set',
      'card_deleted',
    ],
  );
});
