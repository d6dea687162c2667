import { createSecretKey } from 'node:crypto';
import { encipherPinBlock, type PinBlockFormat, type PinKey } from '../../src/crypto/pin-block.ts';
import { cards, ISSUER } from '../../src/sandbox/world.ts';
import { FIRST_CARD, ZONE_KEY } from './sandbox.ts';
import { type Answer, answerOf, type Headers, type TestPlatform } from './test-platform.ts';

export const SANDBOX_ZPK: PinKey = {
  algorithm: 'AES-256',
  key: createSecretKey(Buffer.from(ISSUER.keys[0].bytes, 'hex')),
};

/** An issuer's host, with the calls that tests need. */
export interface IssuerHost {
  call(method: 'DELETE' | 'GET' | 'POST', path: string, body?: object | string, headers?: Headers): Promise<Answer>;
  /** Sends the PIN as the card network does: in a format 4 block under the sandbox's zone key. */
  verify(pin: string, cardNo?: string): Promise<Answer>;
}

export function issuerOf({ app }: Pick<TestPlatform, 'app'>, secret: string = ISSUER.secret): IssuerHost {
  const host: IssuerHost = {
    async call(method, path, body, headers = {}) {
      const all: Headers = { authorization: `Bearer ${secret}`, ...headers };
      const sent = Object.fromEntries(
        Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined),
      );
      return answerOf(
        await app.inject({
          method,
          url: `/issuer/v1${path}`,
          headers: sent,
          ...(body !== undefined && { payload: body }),
        }),
      );
    },
    verify: (pin, cardNo = FIRST_CARD.cardNo) =>
      host.call('POST', '/pin/verify', {
        card_no: cardNo,
        pin_block: pinBlock(pin, cardNo),
        format: 4,
        zone_key: ZONE_KEY,
      }),
  };
  return host;
}

/** The PAN of a card of the sandbox. */
export function panOf(cardNo: string): string {
  return cards.find((card) => card.cardNo === cardNo)?.pan as string;
}

/** A PIN block in hex. The default is format 4 for the first card, under the sandbox's zone key. */
export function pinBlock(
  pin: string,
  cardNo = FIRST_CARD.cardNo,
  key = SANDBOX_ZPK,
  format: PinBlockFormat = 4,
): string {
  return encipherPinBlock(key, format, Buffer.from(pin, 'latin1'), Buffer.from(panOf(cardNo), 'latin1')).toString(
    'hex',
  );
}
