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
import { merchantOf, startPlatform, type TestPlatform } from './support/test-platform.ts';

const DAY_MS = 86_400_000;
const TOKEN_PATH = '/open-api/v1/merchant/token';
/** No merchant of these tests has cards, so a call that the gate lets through lists none. */
const LIST = {
  method: 'POST',
  path: '/open-api/v1/card/list',
  body: { start_time: '2026-05-01', end_time: '2026-05-31' },
} as const;

let platform: TestPlatform;
/** A second process on the same database, as far as the gate can tell. */
let second: TestPlatform;
before(async () => {
  platform = await startPlatform();
  second = await startPlatform({}, { databaseUrl: platform.databaseUrl, clock: platform.clock });
});
after(async () => {
  await second.close();
  await platform.close();
});

function operator() {
  return { db: platform.db, keys: platform.keys, now: () => platform.clock.now };
}

/** A merchant with one credential of its own. */
async function newMerchant(): Promise<{ merchantNo: string; apiKey: string; secret: string }> {
  const merchantNo = await createMerchant(operator(), {
    name: 'Merchant of a test',
    integrationMode: 'AUTHORIZATION',
    pinRuns: 'arithmetic',
    pciEnabled: false,
  });
  return { merchantNo, ...(await newCredential(merchantNo)) };
}

async function newCredential(merchantNo: string): Promise<{ apiKey: string; secret: string }> {
  const { apiKey, apiSecret } = await createCredential(operator(), { merchantNo, ipAllowlist: ['127.0.0.1'] });
  return { apiKey, secret: apiSecret.expose() };
}

async function use(apiKey: string, token: string, on = platform, from = '127.0.0.1'): Promise<number> {
  const headers = { 'api-key': apiKey, timestamp: String(platform.clock.now), 'access-token': token };
  return (await send(on, { ...LIST, headers, from })).code;
}

function fetchToken(apiKey: string, on = platform): Promise<string> {
  return merchantOf(on, apiKey).token();
}

/** Both platforms come to answer `code`: no call that begins a second or more after the change has another answer. */
async function settlesWithinASecond(code: number, ask: (on: TestPlatform) => Promise<number>): Promise<void> {
  const changedAt = performance.now();
  const sinceChange = () => performance.now() - changedAt;
  await Promise.all(
    [platform, second].map(async (on) => {
      let lastOtherMs = 0;
      for (let askedMs = sinceChange(); (await ask(on)) !== code; askedMs = sinceChange()) {
        lastOtherMs = askedMs;
        assert.ok(lastOtherMs < 1_000, `another answer than ${code} after ${Math.round(lastOtherMs)} ms`);
        await sleep(5);
      }
    }),
  );
  await sleep(1_000 - sinceChange());
  for (const on of [platform, second, platform, second]) assert.equal(await ask(on), code);
}

describe('a token', () => {
  test('lives 24 hours to the millisecond, and says so', async () => {
    const own = await startPlatform();
    const headers = { 'api-key': 'sandbox_api_key', timestamp: String(own.clock.now) };
    const { data } = await send(own, { path: TOKEN_PATH, headers });
    const {
      access_token: token,
      expired_time: expiry,
      ...nothing
    } = data as { access_token: string; expired_time: number };
    assert.equal(expiry, own.clock.now + DAY_MS);
    assert.deepEqual(nothing, {});
    const use = async () => {
      const all = { 'api-key': 'sandbox_api_key', timestamp: String(own.clock.now), 'access-token': token };
      return (await send(own, { ...LIST, headers: all })).code;
    };
    assert.equal(await use(), 0);
    own.clock.now = expiry - 1;
    assert.equal(await use(), 0);
    own.clock.now = expiry;
    assert.equal(await use(), 1007);
    await own.close();
  });

  test('lives as long as ACCESS_TOKEN_LIFETIME_SECONDS says', async () => {
    const own = await startPlatform({ ACCESS_TOKEN_LIFETIME_SECONDS: '90' });
    const merchant = merchantOf(own);
    const call = async () => (await merchant.call('GET', '/card/C202605220001/detail')).code;
    assert.equal(await call(), 0);
    own.clock.now += 89_999;
    assert.equal(await call(), 0);
    own.clock.now += 1;
    assert.equal(await call(), 1007);
    await own.close();
  });

  test('lives on beside those that are fetched after it, on every platform', async () => {
    const { apiKey } = await newMerchant();
    const tokens: string[] = [];
    for (let i = 0; i < 150; i++) tokens.push(await fetchToken(apiKey));
    assert.equal(new Set(tokens).size, tokens.length);
    for (const on of [platform, second, platform])
      for (const token of tokens) assert.equal(await use(apiKey, token, on), 0);
  });

  test("serves no other Api-Key: neither another merchant's nor another of the same merchant", async () => {
    const mine = await newMerchant();
    const alsoMine = await newCredential(mine.merchantNo);
    const other = await newMerchant();
    const token = await fetchToken(mine.apiKey);
    assert.equal(await use(mine.apiKey, token), 0);
    assert.equal(await use(alsoMine.apiKey, token), 1007);
    assert.equal(await use(other.apiKey, token), 1007);
    assert.equal(await use(other.apiKey, await fetchToken(alsoMine.apiKey)), 1007);
  });

  test('serves in the one spelling in which it was issued', async () => {
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

  test('that was signed under an earlier key of the platform counts until that key is destroyed', () => {
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

describe('within a second, on two platforms at once,', () => {
  async function newCaller() {
    const merchant = await newMerchant();
    const token = await fetchToken(merchant.apiKey);
    for (const on of [platform, second]) assert.equal(await use(merchant.apiKey, token, on), 0);
    return { ...merchant, token, ask: (on: TestPlatform) => use(merchant.apiKey, token, on) };
  }

  test('a disabled credential and its tokens are out', async () => {
    const { apiKey, ask } = await newCaller();
    await disableCredential(operator(), apiKey);
    await settlesWithinASecond(1010, ask);
  });

  test('the tokens of a disabled merchant are out, and stay out when it is enabled again, while new ones serve', async () => {
    const { merchantNo, apiKey, ask } = await newCaller();
    await updateMerchant(operator(), merchantNo, { status: 'Disabled' });
    await settlesWithinASecond(1022, ask);
    await updateMerchant(operator(), merchantNo, { status: 'Active' });
    await settlesWithinASecond(1007, ask);
    const token = await fetchToken(apiKey);
    for (const on of [platform, second]) assert.equal(await use(apiKey, token, on), 0);
  });

  test('a new secret ends the tokens that were fetched under the old one', async () => {
    const { apiKey, ask } = await newCaller();
    const wrapped = await platform.keys.kek.wrap(Buffer.alloc(32, 'n'), secretIdentity(apiKey));
    await platform.db.tuples('new-secret', 'update credentials set secret_wrapped = $2 where api_key = $1', [
      apiKey,
      wrapped,
    ]);
    await settlesWithinASecond(1007, ask);
    assert.equal(await use(apiKey, await fetchToken(apiKey), second), 0);
  });

  test('a wider allowlist lets in, a narrower one shuts out, and tokens live on through both', async () => {
    const { apiKey, token, ask } = await newCaller();
    const askFromAfar = (on: TestPlatform) => use(apiKey, token, on, '198.51.100.7');
    assert.equal(await askFromAfar(platform), 1003);
    await changeAllowlist(operator(), apiKey, { add: ['198.51.100.0/24'] });
    await settlesWithinASecond(0, askFromAfar);
    await changeAllowlist(operator(), apiKey, { remove: ['127.0.0.1'] });
    await settlesWithinASecond(1003, ask);
    assert.equal(await askFromAfar(second), 0);
  });
});

describe('whoever reads the database', () => {
  test('finds no token and no secret in any row of any table', async () => {
    const { apiKey, secret } = await newMerchant();
    const token = await fetchToken(apiKey);
    assert.equal(await use(apiKey, token), 0);
    const tables = await platform.db.tuples<[string]>(
      'tables',
      `select tablename from pg_tables where schemaname = 'public'`,
    );
    const found = async (text: string): Promise<string[]> => {
      const hits: string[] = [];
      for (const [table] of tables) {
        const search = `select count(*) from ${table} as row_of_it where row_of_it::text ilike '%' || $1 || '%'`;
        const [[count] = [0]] = await platform.db.tuples<[number]>(`search ${table}`, search, [text]);
        if (count > 0) hits.push(table);
      }
      return hits;
    };
    assert.deepEqual((await found(apiKey)).sort(), ['audit_records', 'credentials'], 'the search finds what is there');
    for (const text of [token, secret]) {
      assert.deepEqual(await found(text), []);
      assert.deepEqual(await found(Buffer.from(text).toString('hex')), []);
    }
    assert.deepEqual(await found(Buffer.from(token, 'base64url').toString('hex')), []);
  });

  test('gains nothing by moving a wrapped secret to another row: it does not open, and the log says nothing of it', async () => {
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
