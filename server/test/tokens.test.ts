import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createTokenIssuer } from '../src/merchants/access-token.ts';
import { changeAllowlist } from '../src/merchants/change-allowlist.ts';
import { createCredential } from '../src/merchants/create-credential.ts';
import { createMerchant } from '../src/merchants/create-merchant.ts';
import { disableCredential } from '../src/merchants/disable-credential.ts';
import { secretIdentity } from '../src/merchants/store.ts';
import { updateMerchant } from '../src/merchants/update-merchant.ts';
import { send } from './support/requests.ts';
import { API_KEY, FIRST_CARD } from './support/sandbox.ts';
import { merchantOf, operatorOf, startPlatform, type TestPlatform } from './support/test-platform.ts';
import { readValue } from './support/values.ts';

const DAY_MS = 86_400_000;
const TOKEN_PATH = '/open-api/v1/merchant/token';
/** Any merchant may make this call: code 0 shows that the gate accepted it. */
const LIST = {
  method: 'POST',
  path: '/open-api/v1/card/list',
  body: { start_time: '2026-05-01', end_time: '2026-05-31' },
} as const;

let platform: TestPlatform;
/** Acts as a second process on the same database. */
let second: TestPlatform;
before(async () => {
  platform = await startPlatform();
  second = await startPlatform({}, { databaseUrl: platform.databaseUrl, clock: platform.clock });
});
after(async () => {
  await second.close();
  await platform.close();
});

/** Makes a merchant with one credential. */
async function newMerchant(): Promise<{ merchantNo: string; apiKey: string; secret: string }> {
  const merchantNo = await createMerchant(operatorOf(platform), {
    name: 'Merchant of a test',
    integrationMode: 'AUTHORIZATION',
    pinRuns: 'arithmetic',
    pciEnabled: false,
  });
  return { merchantNo, ...(await newCredential(merchantNo)) };
}

async function newCredential(merchantNo: string): Promise<{ apiKey: string; secret: string }> {
  const { apiKey, apiSecret } = await createCredential(operatorOf(platform), {
    merchantNo,
    ipAllowlist: ['127.0.0.1'],
  });
  return { apiKey, secret: apiSecret.expose() };
}

async function use(apiKey: string, token: string, on = platform, from = '127.0.0.1'): Promise<number> {
  const headers = { 'api-key': apiKey, timestamp: String(platform.clock.now), 'access-token': token };
  return (await send(on, { ...LIST, headers, from })).code;
}

function fetchToken(apiKey: string, on = platform): Promise<string> {
  return merchantOf(on, apiKey).token();
}

/**
 * Waits until both platforms answer `code`. Fails if a call that begins a second or more after the
 * change gets another answer.
 */
async function settlesWithinASecond(code: number, ask: (on: TestPlatform) => Promise<number>): Promise<void> {
  const changedAt = performance.now();
  const sinceChange = () => performance.now() - changedAt;
  await Promise.all(
    [platform, second].map(async (on) => {
      let lastOtherMs = 0;
      for (let askedMs = sinceChange(); (await ask(on)) !== code; askedMs = sinceChange()) {
        lastOtherMs = askedMs;
        assert.ok(lastOtherMs < 1_000, `not ${code} after ${Math.round(lastOtherMs)} ms`);
        await sleep(5);
      }
    }),
  );
  await sleep(1_000 - sinceChange());
  for (const on of [platform, second, platform, second]) assert.equal(await ask(on), code);
}

describe('a token', () => {
  test('expires after exactly 24 hours, as its expired_time says', async () => {
    const own = await startPlatform();
    const headers = { 'api-key': API_KEY, timestamp: String(own.clock.now) };
    const { data } = await send(own, { path: TOKEN_PATH, headers });
    const {
      access_token: token,
      expired_time: expiry,
      ...nothing
    } = data as { access_token: string; expired_time: number };
    assert.equal(expiry, own.clock.now + DAY_MS);
    assert.deepEqual(nothing, {});
    const use = async () => {
      const all = { 'api-key': API_KEY, timestamp: String(own.clock.now), 'access-token': token };
      return (await send(own, { ...LIST, headers: all })).code;
    };
    assert.equal(await use(), 0);
    own.clock.now = expiry - 1;
    assert.equal(await use(), 0);
    own.clock.now = expiry;
    assert.equal(await use(), 1007);
    await own.close();
  });

  test('expires after ACCESS_TOKEN_LIFETIME_SECONDS', async () => {
    const own = await startPlatform({ ACCESS_TOKEN_LIFETIME_SECONDS: '90' });
    const merchant = merchantOf(own);
    const call = async () => (await merchant.call('GET', `/card/${FIRST_CARD.cardNo}/detail`)).code;
    assert.equal(await call(), 0);
    own.clock.now += 89_999;
    assert.equal(await call(), 0);
    own.clock.now += 1;
    assert.equal(await call(), 1007);
    await own.close();
  });

  test('stays valid on every platform when later tokens are fetched', async () => {
    const { apiKey } = await newMerchant();
    const tokens: string[] = [];
    for (let i = 0; i < 150; i++) tokens.push(await fetchToken(apiKey));
    assert.equal(new Set(tokens).size, tokens.length);
    for (const on of [platform, second, platform])
      for (const token of tokens) assert.equal(await use(apiKey, token, on), 0);
  });

  test('is refused with another Api-Key, of another merchant or of the same one', async () => {
    const mine = await newMerchant();
    const alsoMine = await newCredential(mine.merchantNo);
    const other = await newMerchant();
    const token = await fetchToken(mine.apiKey);
    assert.equal(await use(mine.apiKey, token), 0);
    assert.equal(await use(alsoMine.apiKey, token), 1007);
    assert.equal(await use(other.apiKey, token), 1007);
    assert.equal(await use(other.apiKey, await fetchToken(alsoMine.apiKey)), 1007);
  });

  test('is accepted only in the spelling in which it was issued', async () => {
    const { apiKey } = await newMerchant();
    let token = await fetchToken(apiKey);
    while (!/[-_]/.test(token)) token = await fetchToken(apiKey);
    const spellings = [
      ...Array.from(token, (char, at) => token.slice(0, at) + (char === 'A' ? 'B' : 'A') + token.slice(at + 1)),
      token.replaceAll('-', '+').replaceAll('_', '/'),
      Buffer.from(token, 'base64url').toString('hex'),
      token.slice(0, -1),
      token.slice(1),
      `${token}A`,
      `${token}=`,
      `${token}, ${token}`,
      token.toLowerCase(),
      'A'.repeat(token.length),
      '-'.repeat(token.length),
    ];
    for (const spelling of spellings) assert.equal(await use(apiKey, spelling), 1007, spelling);
    assert.equal(await use(apiKey, token), 0);
  });

  test('that is signed under an earlier platform key stays valid until that key is destroyed', () => {
    const subject = {
      credentialId: 1,
      apiKey: 'ak',
      apiSecret: Buffer.alloc(32, 1),
      credentialEpoch: 0,
      merchantEpoch: 0,
    };
    const mac = (of: number, message: Uint8Array) => createHmac('sha256', `key ${of}`).update(message).digest();
    const issuerOf = (...versions: number[]) =>
      createTokenIssuer({ version: versions[0] as number, versions, mac }, subject);
    const token = issuerOf(1).issue(platform.clock.now + 1);
    assert.deepEqual(
      [issuerOf(1), issuerOf(2, 1), issuerOf(3, 2)].map((issuer) => issuer.verify(token, platform.clock.now)),
      [true, true, false],
    );
  });
});

describe('within a second, on both platforms:', () => {
  async function newCaller() {
    const merchant = await newMerchant();
    const token = await fetchToken(merchant.apiKey);
    for (const on of [platform, second]) assert.equal(await use(merchant.apiKey, token, on), 0);
    return { ...merchant, token, ask: (on: TestPlatform) => use(merchant.apiKey, token, on) };
  }

  test('a disabled credential and its tokens answer 1010', async () => {
    const { apiKey, ask } = await newCaller();
    await disableCredential(operatorOf(platform), apiKey);
    await settlesWithinASecond(1010, ask);
  });

  test("a disabled merchant's tokens answer 1022; after it is enabled they answer 1007 and new ones work", async () => {
    const { merchantNo, apiKey, ask } = await newCaller();
    await updateMerchant(operatorOf(platform), merchantNo, { status: 'Disabled' });
    await settlesWithinASecond(1022, ask);
    await updateMerchant(operatorOf(platform), merchantNo, { status: 'Active' });
    await settlesWithinASecond(1007, ask);
    const token = await fetchToken(apiKey);
    for (const on of [platform, second]) assert.equal(await use(apiKey, token, on), 0);
  });

  test('the tokens of a replaced secret answer 1007', async () => {
    const { apiKey, ask } = await newCaller();
    const wrapped = await platform.keys.kek.wrap(Buffer.alloc(32, 'n'), secretIdentity(apiKey));
    await platform.db.tuples('new-secret', 'update credentials set secret_wrapped = $2 where api_key = $1', [
      apiKey,
      wrapped,
    ]);
    await settlesWithinASecond(1007, ask);
    assert.equal(await use(apiKey, await fetchToken(apiKey), second), 0);
  });

  test('an address added to the allowlist gets in, a removed one does not, and tokens stay valid', async () => {
    const { apiKey, token, ask } = await newCaller();
    const askFromAfar = (on: TestPlatform) => use(apiKey, token, on, '198.51.100.7');
    assert.equal(await askFromAfar(platform), 1003);
    await changeAllowlist(operatorOf(platform), apiKey, { add: ['198.51.100.0/24'] });
    await settlesWithinASecond(0, askFromAfar);
    await changeAllowlist(operatorOf(platform), apiKey, { remove: ['127.0.0.1'] });
    await settlesWithinASecond(1003, ask);
    assert.equal(await askFromAfar(second), 0);
  });
});

describe('an API secret in the database', () => {
  test('is in clear in no row of any table, and neither is a token', async () => {
    const { apiKey, secret } = await newMerchant();
    const token = await fetchToken(apiKey);
    assert.equal(await use(apiKey, token), 0);
    const tables = await platform.db.query<{ tablename: string }>(
      'tables',
      `select tablename from pg_tables where schemaname = 'public'`,
    );
    const found = async (text: string): Promise<string[]> => {
      const hits: string[] = [];
      for (const { tablename: table } of tables) {
        const search = `select count(*) from ${table} as row_of_it where row_of_it::text ilike '%' || $1 || '%'`;
        if ((await readValue<number>(platform.db, search, [text])) > 0) hits.push(table);
      }
      return hits;
    };
    assert.deepEqual((await found(apiKey)).sort(), ['audit_records', 'credentials'], 'the search finds an Api-Key');
    for (const text of [token, secret]) {
      assert.deepEqual(await found(text), []);
      assert.deepEqual(await found(Buffer.from(text).toString('hex')), []);
    }
    assert.deepEqual(await found(Buffer.from(token, 'base64url').toString('hex')), []);
  });

  test('does not open in the row of another credential, and the log does not show it', async () => {
    const [one, other] = [await newMerchant(), await newMerchant()];
    await platform.db.tuples(
      'swap',
      `update credentials c set secret_wrapped = o.secret_wrapped from credentials o
        where (c.api_key, o.api_key) in (($1, $2), ($2, $1))`,
      [one.apiKey, other.apiKey],
    );
    const logged = platform.logLines.length;
    for (const { apiKey } of [one, other]) {
      const headers = { 'api-key': apiKey, timestamp: String(platform.clock.now) };
      const answer = await send(platform, { path: TOKEN_PATH, headers });
      assert.deepEqual(JSON.parse(answer.text), { code: 1001, msg: 'System error, please try again later' });
    }
    const log = platform.logLines.slice(logged).join('');
    assert.match(log, /unexpected fault/);
    for (const { secret } of [one, other]) {
      for (const form of ['utf8', 'hex', 'base64'] as const)
        assert.ok(!log.includes(Buffer.from(secret).toString(form)));
    }
  });
});
