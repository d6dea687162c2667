import assert from 'node:assert/strict';
import { issuerOf } from './issuer.ts';
import { BIN_NO, CARDHOLDER_NO, CREDIT_API_KEY } from './sandbox.ts';
import { intactChain } from './stored-pin.ts';
import { type Answer, merchantOf, startPlatform } from './test-platform.ts';

export const ADDRESS = {
  first_name: 'Mary-Jane',
  last_name: "O'Neil",
  phone_code: '86',
  phone: '13800138000',
  postal_code: '518000',
  country: 'CN',
  state: 'Guangdong',
  city: 'Shenzhen',
  address_line1: 'No. 1 Shennan Road, Futian #2/3',
};

/** The body of an application for a virtual card. */
export const virtual = (uniqueNo: string, more = {}) => ({
  card_bin_no: BIN_NO,
  cardholder_no: CARDHOLDER_NO,
  card_unique_no: uniqueNo,
  card_type: 'Virtual',
  ...more,
});
/** The body of an application for a physical card. */
export const physical = (uniqueNo: string, more = {}) =>
  virtual(uniqueNo, { card_type: 'Physical', address_info: ADDRESS, ...more });

export type CardCalls = Awaited<ReturnType<typeof startCardCalls>>;

/** Starts a platform, and gives the calls by which merchants and the issuer make cards on it. */
export async function startCardCalls() {
  const platform = await startPlatform();
  const merchant = merchantOf(platform);
  const issuer = issuerOf(platform);
  const apply = (body: object): Promise<Answer> => merchant.call('POST', '/card/apply', body);
  return {
    platform,
    merchant,
    creditMerchant: merchantOf(platform, CREDIT_API_KEY),
    issuer,
    apply,
    /** Applies, and gives the number of the card. */
    async applied(body: object): Promise<string> {
      const answer = await apply(body);
      assert.equal(answer.code, 0, answer.text);
      return (answer.data as { card_no: string }).card_no;
    },
    detail: async (cardNo: string, as = merchant) =>
      (await as.call('GET', `/card/${cardNo}/detail`)).data as Record<string, unknown>,
    actionsOf: async (cardNo: string) => (await intactChain(platform.db, cardNo)).map(({ action }) => action),
    issuerCall: (path: string, body: object) => issuer.call('POST', path, body),
  };
}
