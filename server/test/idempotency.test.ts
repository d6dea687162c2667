import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteExpiredKeys } from '../src/api/merchant/idempotency-store.ts';
import {
  BIN_NO,
  CARD_TO_ACTIVATE,
  CARDHOLDER_NO,
  FIRST_CARD,
  OTHER_API_KEY,
  OTHER_MERCHANTS_CARD,
  pinBody,
  seal,
} from './support/sandbox.ts';
import { intactChain } from './support/stored-pin.ts';
import {
  type Answer,
  type Headers,
  type Merchant,
  merchantOf,
  startPlatform,
  type TestPlatform,
} from './support/test-platform.ts';

const DAY_MS = 86_400_000;
const LOCKED_MS = 30_000;
const CARD = FIRST_CARD.cardNo;
const UPDATE = '/card/status/update';
const FROZEN = { card_no: CARD, status: 'Frozen' };
const SUCCESS = '{"code":0,"msg":"Success","data":{"result":true}}';

let platform: TestPlatform;
let merchant: Merchant;
beforeEach(async () => {
  await platform?.close();
  platform = await startPlatform();
  merchant = merchantOf(platform);
});
after(() => platform.close());

function post(
  key: string | undefined,
  path = UPDATE,
  body: unknown = FROZEN,
  by = merchant,
  headers: Headers = {},
): Promise<Answer> {
  return by.call('POST', path, body, { 'content-type': 'application/json', 'idempotency-key': key, ...headers });
}

function isRepeat({ headers }: Answer): boolean {
  return headers['idempotent-replayed'] === 'true';
}

async function keptKeys(): Promise<string[]> {
  return (await platform.db.tuples<[string]>('kept-keys', 'select key from idempotency_keys order by key')).flat();
}

async function changesOf(cardNo = CARD): Promise<string[]> {
  return (await intactChain(platform.db, cardNo))
    .map(({ action }) => action)
    .filter((action) => action !== 'card_created');
}

/**
 * Keeps everybody else from changing the card until `work` is done; a request waits for it for at
 * most 1 s.
 */
function whileCardIsHeld(work: () => Promise<void>): Promise<void> {
  return platform.db.transaction(async (tx) => {
    await tx.tuples('hold', 'select from cards where card_no = $1 for update', [CARD]);
    await work();
  });
}

/** Waits until so many requests wait for the card's lock. */
async function waiting(requests: number): Promise<void> {
  const count = `select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
  while (((await platform.db.tuples<[number]>('waiting', count))[0]?.[0] ?? 0) < requests) await sleep(5);
}

/** What a process leaves that dies before it has stored an answer. */
async function killBeforeAnswer(key: string): Promise<void> {
  const locked = `answer = null, locked_until = created_at + interval '30 seconds'`;
  await platform.db.tuples('kill', `update idempotency_keys set ${locked} where key = $1`, [key]);
}

describe('a request with an Idempotency-Key', () => {
  test('gets the same answer again, byte for byte, and changes nothing twice', async () => {
    const first = await post('k');
    const again = await post('k');
    assert.deepEqual([first.text, isRepeat(first)], [SUCCESS, false]);
    assert.deepEqual([again.text, isRepeat(again), again.httpStatus], [SUCCESS, true, 200]);
    assert.equal(again.headers['content-type'], first.headers['content-type']);
    assert.notEqual(again.headers['x-request-id'], first.headers['x-request-id']);
    assert.equal((await post(undefined)).code, 4005);
    assert.deepEqual(await changesOf(), ['card_frozen']);
  });

  test('is the same request with its members in any order', async () => {
    await post('k');
    assert.ok(isRepeat(await post('k', UPDATE, `{ "status": "Frozen", "card_no": "${CARD}" }`)));
    await post('nested', UPDATE, { ...FROZEN, more: { a: [{ c: 1, d: null }], '2': {} } });
    assert.ok(isRepeat(await post('nested', UPDATE, { more: { '2': {}, a: [{ d: null, c: 1 }] }, ...FROZEN })));
  });

  test('counts as another request with other content or for another call, and is refused with 1023', async () => {
    await post('k');
    const others: [string, unknown][] = [
      [UPDATE, { ...FROZEN, status: 'Activated' }],
      [UPDATE, { ...FROZEN, more: null }],
      ['/card/support/bins', FROZEN],
    ];
    for (const [path, body] of others) {
      const answer = await post('k', path, body);
      assert.equal(answer.text, '{"code":1023,"msg":"Idempotency-Key was used with another request"}');
      assert.ok(!isRepeat(answer));
    }
    assert.equal(
      (await post('k', '/card/support/bins', {}, merchant, { language: 'zh_CN' })).msg,
      'Idempotency-Key 已用于其他请求',
    );
    await post('lists', UPDATE, { ...FROZEN, more: [1, 2] });
    assert.equal((await post('lists', UPDATE, { ...FROZEN, more: [2, 1] })).code, 1023);
    assert.ok(isRepeat(await post('k')));
  });

  test('counts as another request with another Language or Timezone', async () => {
    const range = { start_time: '2026-05-22', end_time: '2026-05-22' };
    const list = (headers: Headers) => post('k', '/card/list', range, merchant, headers);
    const first = await list({});
    assert.equal(first.code, 0);
    for (const same of [
      { language: 'en_US' },
      { language: 'de_DE' },
      { timezone: 'UTC+8' },
      { timezone: '' },
      { accept: '*/*', 'user-agent': 'x' },
    ])
      assert.equal(isRepeat(await list(same)), true, JSON.stringify(same));
    for (const other of [{ language: 'zh_CN' }, { timezone: 'UTC' }, { timezone: 'UTC-8' }])
      assert.equal((await list(other)).code, 1023, JSON.stringify(other));
    const inChinese = await post('k-zh', '/card/list', range, merchant, { language: 'zh_CN' });
    assert.equal(inChinese.msg, '成功');
    assert.equal((await post('k-zh', '/card/list', range)).code, 1023);
  });

  test('belongs to its credential: the same key of another credential is another key', async () => {
    await post('k');
    const other = await post(
      'k',
      UPDATE,
      { card_no: OTHER_MERCHANTS_CARD.cardNo, status: 'Frozen' },
      merchantOf(platform, OTHER_API_KEY),
    );
    assert.deepEqual([other.code, isRepeat(other)], [0, false]);
    assert.deepEqual(await keptKeys(), ['k', 'k']);
  });

  test('that was refused gets the same refusal again, also after the state has changed', async () => {
    const unfreeze = { card_no: CARD, status: 'Activated' };
    const refused = await post('k', UPDATE, unfreeze, merchant, { language: 'zh_CN' });
    assert.equal(refused.code, 4005);
    await post(undefined);
    const again = await post('k', UPDATE, unfreeze, merchant, { language: 'zh_CN' });
    assert.deepEqual([again.text, isRepeat(again)], [refused.text, true]);
    assert.deepEqual(await changesOf(), ['card_frozen']);
  });

  test('is logged with the code of its answer', async () => {
    await post('k', UPDATE, { card_no: 'C000000000000', status: 'Frozen' });
    await post('k', UPDATE, { card_no: 'C000000000000', status: 'Frozen' });
    const codes = platform.logLines.map((line) => JSON.parse(line) as { route?: string; code?: number });
    assert.deepEqual(
      codes.filter(({ route }) => route?.endsWith(UPDATE)).map(({ code }) => code),
      [4001, 4001],
    );
  });

  test('is forgotten after 24 hours', async () => {
    await post('k');
    platform.clock.now += DAY_MS - 1;
    assert.ok(isRepeat(await post('k')));
    platform.clock.now += 1;
    const fresh = await post('k', UPDATE, { ...FROZEN, status: 'Activated' }, merchantOf(platform)); // the old token has expired
    assert.deepEqual([fresh.code, isRepeat(fresh)], [0, false]);
    assert.deepEqual(await changesOf(), ['card_frozen', 'card_unfrozen']);
  });

  test('is stored only if gate and schema accept it', async () => {
    assert.equal((await post('k', UPDATE, FROZEN, merchant, { timestamp: '1' })).code, 1005);
    assert.equal((await post('k', UPDATE, { card_no: CARD })).code, 1004);
    assert.deepEqual(await keptKeys(), []);
    assert.equal((await post('k')).code, 0);
  });

  test('may be repeated at another process', async () => {
    await post('k');
    const second = await startPlatform({}, { databaseUrl: platform.databaseUrl, clock: platform.clock });
    const again = await post('k', UPDATE, FROZEN, merchantOf(second));
    await second.close();
    assert.deepEqual([again.text, isRepeat(again)], [SUCCESS, true]);
  });
});

describe('an Idempotency-Key', () => {
  for (const [what, key] of [
    ['is empty', ''],
    ['is of 256 characters', 'k'.repeat(256)],
    ['holds a blank', 'a b'],
    ['holds a character that is no ASCII', 'schlüssel'],
    ['holds a control character', 'a\tb'],
  ] as const) {
    test(`that ${what} is refused with 1004`, async () => {
      assert.equal((await post(key)).text, '{"code":1004,"msg":"Idempotency-Key invalid parameter"}');
      assert.deepEqual([await keptKeys(), await changesOf()], [[], []]);
    });
  }

  test('may have 255 characters, and any visible character', async () => {
    const visible = Array.from({ length: 94 }, (_, i) => String.fromCharCode(0x21 + i)).join('');
    for (const key of ['k'.repeat(255), visible]) {
      await post(key);
      assert.ok(isRepeat(await post(key)));
    }
  });

  test('counts for every POST that the document gives it to, and for no other', async () => {
    const time = { start_time: '2026-05-01', end_time: '2026-06-01' };
    const bodies: Record<string, object> = {
      '/cardholder/apply': { cardholder_unique_no: 'u1', sumsub_share_token: 'approve-1' },
      '/cardholder/list': time,
      '/card/support/bins': {},
      '/card/package/list': {},
      '/card/list': time,
      '/card/apply': {
        cardholder_no: CARDHOLDER_NO,
        card_unique_no: 'u2',
        card_type: 'Virtual',
        card_bin_no: BIN_NO,
      },
      '/card/active': {
        cardholder_no: CARDHOLDER_NO,
        card_no: CARD_TO_ACTIVATE.cardNo,
        cvv: seal('685'),
        card_last_no: '0030',
      },
      [UPDATE]: FROZEN,
    };
    interface Operation {
      parameters?: { name: string }[];
    }
    const { paths } = (await platform.app.inject('/openapi.json')).json<{
      paths: Record<string, Record<string, Operation>>;
    }>();
    const documented = Object.entries(paths).filter(([, operations]) =>
      Object.entries(operations).some(([method, { parameters = [] }]) => {
        const takesKey = parameters.some(({ name }) => name === 'Idempotency-Key');
        assert.ok(!takesKey || method === 'post');
        return takesKey;
      }),
    );
    assert.deepEqual(documented.map(([path]) => path.replace('/open-api/v1', '')).sort(), Object.keys(bodies).sort());
    for (const [path, body] of Object.entries(bodies)) {
      const first = await post(path, path, body);
      const again = await post(path, path, body);
      assert.notEqual(first.code, 1004, `${path} ${first.msg}`);
      assert.deepEqual([again.text, isRepeat(again)], [first.text, true], path);
    }
  });

  test('is ignored by card/pin/set and by a GET', async () => {
    for (const pin of ['142536', '253647']) assert.equal((await post('a b', '/card/pin/set', pinBody(pin))).code, 0);
    assert.equal((await merchant.call('GET', `/card/${CARD}/detail`, undefined, { 'idempotency-key': 'a b' })).code, 0);
    assert.deepEqual(await keptKeys(), []);
  });

  test('costs two statements, and none where it is absent', async () => {
    const { db } = platform;
    const { query } = db;
    const own = ['begin-run', 'find-run', 'keep-answer', 'drop-run'];
    let names: string[] = [];
    db.query = (name, ...rest) => {
      if (own.includes(name)) names.push(name);
      return query(name, ...rest);
    };
    const statements = async (key?: string): Promise<string[]> => {
      names = [];
      assert.equal((await post(key, '/card/support/bins', {})).code, 0);
      return names;
    };
    assert.deepEqual(await statements(), []);
    assert.deepEqual(await statements('k'), ['begin-run', 'keep-answer']);
    assert.deepEqual(await statements('k'), ['begin-run', 'find-run']);
  });
});

describe('while a request is being served', () => {
  test('the same request answers 1024, and later gets the answer of the first', async () => {
    let first: Promise<Answer> | undefined;
    await whileCardIsHeld(async () => {
      first = post('k');
      await waiting(1);
      const early = await post('k');
      assert.equal(early.text, '{"code":1024,"msg":"A request with this Idempotency-Key is being processed"}');
      assert.deepEqual([early.headers['retry-after'], isRepeat(early)], ['1', false]);
      assert.equal((await post('k', '/card/support/bins', {})).code, 1023);
    });
    assert.equal((await first)?.code, 0);
    assert.ok(isRepeat(await post('k')));
    assert.deepEqual(await changesOf(), ['card_frozen']);
  });

  test('with two at once, also on two processes, one is served and one answers 1024', async () => {
    const second = await startPlatform({}, { databaseUrl: platform.databaseUrl, clock: platform.clock });
    const there = merchantOf(second);
    await Promise.all([merchant, there].map((by) => by.call('GET', `/card/${CARD}/detail`))); // both have a token
    for (const others of [merchant, there]) {
      const key = `k${others === there}`;
      let both: Promise<Answer[]> | undefined;
      await whileCardIsHeld(async () => {
        const calls = [post(key), post(key, UPDATE, FROZEN, others)];
        both = Promise.all(calls);
        assert.equal((await Promise.race(calls)).code, 1024);
      });
      assert.deepEqual((await both)?.map(({ code }) => code).sort(), [0, 1024]);
      await post(undefined, UPDATE, { ...FROZEN, status: 'Activated' });
    }
    await second.close();
    assert.deepEqual(await changesOf(), ['card_frozen', 'card_unfrozen', 'card_frozen', 'card_unfrozen']);
  });

  test('with twenty at once one changes the card', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => post('k')));
    assert.deepEqual(
      [...new Set(answers.map(({ code }) => code))].filter((code) => code !== 1024),
      [0],
    );
    assert.equal(answers.filter((answer) => answer.code === 0 && !isRepeat(answer)).length, 1);
    assert.deepEqual(await changesOf(), ['card_frozen']);
  });

  test('its caller may disconnect: a repetition gets the answer, and a close waits for it', async () => {
    await platform.app.listen({ host: '127.0.0.1', port: 0 });
    const { port } = platform.app.server.address() as AddressInfo;
    const headers = {
      'api-key': merchant.apiKey,
      'access-token': await merchant.token(),
      timestamp: String(platform.clock.now),
    };
    const sent = httpRequest({
      host: '127.0.0.1',
      port,
      method: 'POST',
      path: `/open-api/v1${UPDATE}`,
      headers: { ...headers, 'content-type': 'application/json', 'idempotency-key': 'k' },
    });
    sent.on('error', () => {});
    let closed: Promise<void> | undefined;
    await whileCardIsHeld(async () => {
      sent.end(JSON.stringify(FROZEN));
      await waiting(1);
      await new Promise((resolve) => sent.on('close', resolve).destroy());
      await sleep(50); // until the platform knows
      closed = platform.app.close();
      await sleep(50);
    });
    await closed;
    const kept = await platform.db.tuples('kept', 'select key, answer from idempotency_keys');
    assert.deepEqual(kept, [['k', SUCCESS]]);
    const next = await startPlatform({}, { databaseUrl: platform.databaseUrl, clock: platform.clock });
    assert.ok(isRepeat(await post('k', UPDATE, FROZEN, merchantOf(next))));
    await next.close();
  });
});

describe('the same request may be tried again', () => {
  test('after 1001, which is not kept', async () => {
    await whileCardIsHeld(async () => {
      assert.equal((await post('k')).code, 1001); // the lock was not to be had within 1 s
      assert.deepEqual(await keptKeys(), []);
    });
    const again = await post('k');
    assert.deepEqual([again.code, isRepeat(again)], [0, false]);
  });

  test('after 1009, which is not kept', async () => {
    const activation = { card_no: CARD_TO_ACTIVATE.cardNo, cardholder_no: CARDHOLDER_NO, card_last_no: '0030' };
    for (let i = 0; i < 5; i++) await post(`wrong-${i}`, '/card/active', { ...activation, cvv: seal('000') });
    const right = { ...activation, cvv: seal('685') };
    assert.equal((await post('k', '/card/active', right)).code, 1009);
    assert.deepEqual(await keptKeys(), ['wrong-0', 'wrong-1', 'wrong-2', 'wrong-3', 'wrong-4']);
    platform.clock.now += DAY_MS;
    assert.equal((await post('k', '/card/active', right, merchantOf(platform))).code, 0);
  });

  test('30 s after the process that served it was killed', async () => {
    await post('k');
    await platform.db.script(`update cards set status = 'Activated' where card_no = '${CARD}'`);
    await killBeforeAnswer('k');
    platform.clock.now += LOCKED_MS - 1;
    assert.equal((await post('k')).code, 1024);
    platform.clock.now += 1;
    assert.equal((await post('k', UPDATE, { ...FROZEN, status: 'Delete' })).code, 1023);
    const again = await post('k');
    assert.deepEqual([again.code, isRepeat(again)], [0, false]);
    assert.ok(isRepeat(await post('k')));
  });

  test("30 s after a process was killed between the change and its answer, and meets the call's own rules", async () => {
    await post('k');
    await killBeforeAnswer('k');
    platform.clock.now += LOCKED_MS;
    const again = await post('k');
    assert.deepEqual([again.code, isRepeat(again)], [4005, false]);
    assert.equal((await post('k')).text, again.text);
    assert.deepEqual(await changesOf(), ['card_frozen']);
  });

  test('30 s after it began, even if it is still being served: the later answer is kept', async () => {
    let answers: Promise<Answer[]> | undefined;
    await whileCardIsHeld(async () => {
      const first = post('k');
      await waiting(1);
      platform.clock.now += LOCKED_MS;
      answers = Promise.all([first, post('k')]);
      await waiting(2);
    });
    assert.deepEqual(
      (await answers)?.map(({ code }) => code),
      [0, 4005],
    );
    assert.equal((await post('k')).code, 4005);
    assert.deepEqual(await changesOf(), ['card_frozen']);
  });

  test('30 s after an answer that could not be stored; the caller got it, and the log says so', async () => {
    const { db } = platform;
    const { query } = db;
    db.query = (name, ...rest) => (name === 'keep-answer' ? Promise.reject(new Error('away')) : query(name, ...rest));
    assert.equal((await post('k')).text, SUCCESS);
    assert.ok(
      platform.logLines.some(
        (line) => line.includes('outcome of a request with a key not stored') && line.includes('away'),
      ),
    );
    db.query = query;
    assert.equal((await post('k')).code, 1024);
    platform.clock.now += LOCKED_MS;
    assert.equal((await post('k')).code, 4005);
  });
});

test('a body with thousands of nested levels is refused with 1004', async () => {
  const nested = `{"card_no":"${CARD}","status":"Frozen","more":${'['.repeat(7_000)}${']'.repeat(7_000)}}`;
  assert.equal((await post('k', UPDATE, nested)).text, '{"code":1004,"msg":"Invalid request parameter"}');
  assert.deepEqual([await keptKeys(), await changesOf()], [[], []]);
});

test('housekeeping deletes all answers that are older than 24 hours, and nothing else', async () => {
  await platform.db.script(
    `insert into idempotency_keys (credential_id, key, request_hash, answer, created_at)
     select 1, 'old-' || n, sha256('x'), '{"code":0}', to_timestamp(${platform.clock.now} / 1000.0) from generate_series(1, 2500) n`,
  );
  platform.clock.now += 1;
  await post('young');
  platform.clock.now += DAY_MS - 1;
  await deleteExpiredKeys(platform.db, platform.clock.now);
  assert.deepEqual(await keptKeys(), ['young']);
});
