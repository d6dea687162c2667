import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { getCountries } from 'libphonenumber-js/min';
import { type IssuerHost, issuerOf } from './support/issuer.ts';
import { POSTAL_CODES, WITHOUT_POSTAL_CODES } from './support/postal-codes.ts';
import { BIN_NO, CARDHOLDER_NO } from './support/sandbox.ts';
import { type Answer, type Merchant, merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

const ADDRESS = {
  first_name: 'Mary-Jane',
  last_name: "O'Neil",
  phone_code: '86',
  phone: '13800138000',
  postal_code: '518000',
  country: 'CN',
  state: 'Guangdong',
  city: 'Shenzhen',
  address_line1: 'No. 1 Shennan Road',
};

let platform: TestPlatform;
let merchant: Merchant;
let issuer: IssuerHost;
before(async () => {
  platform = await startPlatform();
  merchant = merchantOf(platform);
  issuer = issuerOf(platform);
});
after(() => platform.close());

let applications = 0;
function apply(address: object, cardType = 'Physical'): Promise<Answer> {
  return merchant.call('POST', '/card/apply', {
    card_bin_no: BIN_NO,
    cardholder_no: CARDHOLDER_NO,
    card_unique_no: `address-${applications++}`,
    card_type: cardType,
    address_info: { ...ADDRESS, ...address },
  });
}
async function judged(address: object): Promise<string> {
  const { code, msg } = await apply(address);
  return `${code} ${msg}`;
}
const ACCEPTED = '0 Success';

/** The address as the issuer sees it. */
async function storedAddress(address: object): Promise<Record<string, string>> {
  const answer = await apply(address);
  assert.equal(answer.code, 0, answer.text);
  const { card_no } = answer.data as { card_no: string };
  for (let after = ''; ; ) {
    const { list } = (await issuer.call('GET', `/card/pending${after && `?after=${after}`}`)).data as {
      list: { card_no: string; address_info: Record<string, string> }[];
    };
    const found = list.find((one) => one.card_no === card_no);
    if (found !== undefined) return found.address_info;
    assert.notEqual(list.length, 0, 'the application is in no page of the queue');
    after = (list.at(-1) as { card_no: string }).card_no;
  }
}

describe('a postal code', () => {
  test('is known here for every country that the platform accepts, or the country has none', () => {
    const known = [...POSTAL_CODES.keys(), ...WITHOUT_POSTAL_CODES];
    assert.deepEqual(known.toSorted(), getCountries().toSorted());
    for (const [country, codes] of POSTAL_CODES) assert.ok(codes.length >= 3, country);
  });

  test('that is real is accepted, in every country and in every common spelling', async () => {
    const refused: string[] = [];
    for (const [country, codes] of POSTAL_CODES)
      for (const postalCode of codes) {
        const answer = await apply({ country, postal_code: postalCode }, 'Virtual');
        if (answer.code !== 0) refused.push(`${country} ${postalCode}: ${answer.text}`);
      }
    assert.deepEqual(refused, []);
  });

  test('of a country that has none may be any text that is not blank', async () => {
    for (const country of WITHOUT_POSTAL_CODES) {
      for (const postalCode of ['0000', '00000', 'N/A', 'NONE'])
        assert.equal(await judged({ country, postal_code: postalCode }), ACCEPTED, `${country} ${postalCode}`);
      assert.equal(
        await judged({ country, postal_code: '-' }),
        '1004 address_info.postal_code invalid parameter',
        country,
      );
    }
  });

  const spellings: [country: string, written: string, stored: string][] = [
    ['JP', '1000001', '1000001'],
    ['JP', '１００－０００１', '100-0001'],
    ['JP', '〒100-0001', '100-0001'],
    ['PL', '00001', '00001'],
    ['IN', '110 001', '110 001'],
    ['GB', 'sw1a1aa', 'SW1A1AA'],
    ['GB', ' SW1A 1AA ', 'SW1A 1AA'],
    ['CA', 'k1a0b1', 'K1A0B1'],
    ['CA', 'K1A-0B1', 'K1A-0B1'],
    ['US', '94105 1234', '94105 1234'],
    ['DE', 'D–10115', 'D-10115'],
    ['SE', '114\u00a055', '114 55'],
    ['SG', 'S(018956)', 'S(018956)'],
    ['MX', 'C.P. 02860', 'C.P. 02860'],
    ['BR', 'cep 01310-100', 'CEP 01310-100'],
    ['US', 'NY 10001', 'NY 10001'],
    ['NL', 'nl-1012 js', 'NL-1012 JS'],
  ];
  for (const [country, written, stored] of spellings)
    test(`of ${country} may be written ${JSON.stringify(written)}`, async () => {
      assert.equal((await storedAddress({ country, postal_code: written })).postal_code, stored);
    });

  test('in a form that the country does not use is refused, and the answer blames nothing else', async () => {
    for (const [country, postalCode] of [
      ['CN', '5180'],
      ['US', 'ABCDE'],
      ['US', '941051'],
      ['DE', '1234'],
      ['DE', 'D-1234'],
      ['US', 'NY'],
      ['GB', '12345'],
      ['CA', '123 456'],
      ['JP', '100-001'],
      ['NL', '12 AB'],
    ])
      assert.equal(
        await judged({ country, postal_code: postalCode }),
        "2010 address_info.postal_code The postal code does not match the country's form",
        `${country} ${postalCode}`,
      );
  });
});

describe('a name', () => {
  for (const [written, stored] of [
    ['O’Neil', "O'Neil"],
    ['Smith, Jr.', 'Smith, Jr.'],
    ['Smith & Sons', 'Smith & Sons'],
    ['Smith 3rd', 'Smith 3rd'],
    ['8. Lee', '8. Lee'],
    ['Jean‑Luc', 'Jean-Luc'],
    ['Kumar s/o Rajan', 'Kumar s/o Rajan'],
    ["D'Arcy-Smith", "D'Arcy-Smith"],
    ['Ｌｉ', 'Li'],
    ['X', 'X'],
  ] as const)
    test(`may be ${written}`, async () => {
      assert.equal((await storedAddress({ last_name: written })).last_name, stored);
    });

  for (const written of ['R2D2', '123', 'Mary#', '(Mary)', '7'])
    test(`cannot be ${written}`, async () => {
      assert.equal(await judged({ last_name: written }), '1004 address_info.last_name invalid parameter');
    });
});

test('only the characters of states and cities are checked', async () => {
  for (const [state, city] of [
    ['NY', "Hell's Kitchen"],
    ['B.C.', '100 Mile House'],
    ['Noord-Brabant', "'s-Hertogenbosch"],
    ['Al Ayn', 'Al ’Ayn'],
    ['Trinidad & Tobago', 'San Fernando (South)'],
    ['D.C.', 'Washington, DC'],
  ])
    assert.equal(await judged({ state, city }), ACCEPTED, `${state}, ${city}`);
});

describe('a phone number', () => {
  for (const [phoneCode, written, stored] of [
    ['86', '138 0013 8000', '13800138000'],
    ['86', '138-0013-8000', '13800138000'],
    ['86', '+8613800138000', '13800138000'],
    ['86', '+86 138 0013 8000', '13800138000'],
    ['1', '(415) 555-0123', '4155550123'],
    ['1', '+1.415.555.0123', '4155550123'],
    ['44', '07911 123456', '07911123456'],
    ['49', '0170/1234567', '01701234567'],
    ['86', '１３８００１３８０００', '13800138000'],
  ] as const)
    test(`may be written ${written}`, async () => {
      assert.equal((await storedAddress({ phone_code: phoneCode, phone: written })).phone, stored);
    });

  for (const written of ['12', '+49 170 1234567', '+', '1380013800013800', '138x0013', '++8613800138000x'])
    test(`under 86 cannot be ${written}`, async () => {
      assert.equal(await judged({ phone: written }), '1004 address_info.phone invalid parameter');
    });
});

test('a real address is one application in each of its common spellings', async () => {
  const body = (address: object) => ({
    card_bin_no: BIN_NO,
    cardholder_no: CARDHOLDER_NO,
    card_unique_no: 'spelled',
    card_type: 'Physical',
    address_info: { ...ADDRESS, ...address },
  });
  const first = await merchant.call('POST', '/card/apply', body({}));
  assert.equal(first.code, 0, first.text);
  const again = await merchant.call(
    'POST',
    '/card/apply',
    body({ last_name: 'O’Neil', phone: '+86 138 0013 8000', postal_code: '５１８０００', address_line2: ' ' }),
  );
  assert.equal(again.text, first.text);
});
