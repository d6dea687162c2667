import assert from 'node:assert/strict';
import { createHmac, createSecretKey } from 'node:crypto';
import { test } from 'node:test';
import { signCallback } from '../src/callbacks/signature.ts';

const SECRET = 'sandbox-api-secret-0123456789abc';
const key = createSecretKey(Buffer.from(SECRET, 'utf8'));
const TIMESTAMP = '1780000000000';

// The text that is signed is spelled out by hand after the API's pages, section 10.1.
const cases: [what: string, data: string, signed: string][] = [
  [
    'a change of status',
    '{"card_no":"C1","before_status":"Activated","after_status":"Frozen","reason":"","time":1780000000000}',
    'after_status=Frozen&appId=ak_1&before_status=Activated&card_no=C1&reason=&time=1780000000000&timestamp=1780000000000',
  ],
  ['a blank body', '', 'appId=ak_1&timestamp=1780000000000'],
  ['a body of white space', ' \n', 'appId=ak_1&timestamp=1780000000000'],
  ['no members', '{}', 'appId=ak_1&timestamp=1780000000000'],
  ['null members, which are left out', '{"a":null,"b":"null"}', 'appId=ak_1&b=null&timestamp=1780000000000'],
  ['empty strings, which stay', '{"a":"","z":""}', 'a=&appId=ak_1&timestamp=1780000000000&z='],
  [
    'numbers, booleans and lists',
    '{"n":1.5,"t":true,"l":[1,"a",null],"m":-0.25}',
    'appId=ak_1&l=[1,"a",null]&m=-0.25&n=1.5&t=true&timestamp=1780000000000',
  ],
  [
    'nested objects in the order in which they came',
    '{"merchant_info":{"merchant_name":"Ä & Co","city":null,"a":{"z":1,"b":[]}}}',
    'appId=ak_1&merchant_info={"merchant_name":"Ä & Co","city":null,"a":{"z":1,"b":[]}}&timestamp=1780000000000',
  ],
  ['text that is not ASCII', '{"reason":"卡片冻结 – é"}', 'appId=ak_1&reason=卡片冻结 – é&timestamp=1780000000000'],
  [
    'escapes, which stand for their characters',
    '{"reason":"a\\"b\\u00e9\\n"}',
    'appId=ak_1&reason=a"bé\n&timestamp=1780000000000',
  ],
  ['nothing escaped', '{"a":"1&b=2","c d":"x%"}', 'a=1&b=2&appId=ak_1&c d=x%&timestamp=1780000000000'],
  ['a member named timestamp, which takes the place of ours', '{"timestamp":5}', 'appId=ak_1&timestamp=5'],
  ['a member named appId', '{"appId":"other"}', 'appId=other&timestamp=1780000000000'],
  [
    'capitals before small letters',
    '{"b":"1","B":"2","_":"3","a":"4"}',
    'B=2&_=3&a=4&appId=ak_1&b=1&timestamp=1780000000000',
  ],
  // UTF-16 puts the surrogates of U+1F600 (D83D) before U+FF01. Code points and UTF-8 do the
  // reverse.
  [
    'names by UTF-16 code units',
    '{"\uff01":"1","\u{1f600}":"2"}',
    'appId=ak_1&timestamp=1780000000000&\u{1f600}=2&\uff01=1',
  ],
  ['a member named __proto__', '{"__proto__":"x"}', '__proto__=x&appId=ak_1&timestamp=1780000000000'],
];

for (const [what, data, signed] of cases) {
  test(`signs ${what}`, () => {
    const expected = createHmac('sha256', SECRET).update(signed, 'utf8').digest('hex');
    assert.equal(signCallback('ak_1', TIMESTAMP, data, key), expected);
    assert.match(expected, /^[0-9a-f]{64}$/);
  });
}

test('gives the same signature as openssl', () => {
  // printf '%s' 'appId=ak_1&card_no=C1&timestamp=1780000000000' | openssl dgst -sha256 -hmac
  // sandbox-api-secret-0123456789abc
  assert.equal(
    signCallback('ak_1', TIMESTAMP, '{"card_no":"C1"}', key),
    'ef5e099151df6bb7921461ab7268e584f4b69b5d1b0ee9fb0630596f7c7356cb',
  );
});

for (const data of ['[]', '"text"', 'null', '{', '5']) {
  test(`signs nothing but an object: ${data}`, () => {
    assert.throws(() => signCallback('ak_1', TIMESTAMP, data, key));
  });
}
