import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDatabase } from '../src/db/database.ts';
import { emptyDatabase } from './support/empty-database.ts';

for (const kind of ['transaction', 'session'] as const) {
  test(`a connection that is cut between two statements of a ${kind} fails the next one, and nothing else`, async (t) => {
    const url = await emptyDatabase(t);
    const db = openDatabase({ url, connections: 2 });
    const admin = openDatabase({ url, connections: 1 });
    await assert.rejects(
      db[kind](async (on) => {
        const [[pid] = [0]] = await on.tuples<[number]>('pid', 'select pg_backend_pid()');
        await admin.tuples('cut', 'select pg_terminate_backend($1)', [pid]);
        await sleep(100); // the cut reaches us while nobody waits for an answer
        await on.query('one', 'select 1');
      }),
    );
    assert.deepEqual(await db.tuples('one', 'select 1'), [[1]]);
    await db.close();
    await admin.close();
  });
}
