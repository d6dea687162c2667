import { setTimeout as sleep } from 'node:timers/promises';
import { auditPlatform, detailsOf } from '../audit/append.ts';
import { personalIdentity, shareTokenIdentity } from '../cardholders/store.ts';
import { addressIdentity } from '../cards/application-store.ts';
import { panIdentity } from '../cards/store.ts';
import type { Database } from '../db/database.ts';
import { issuerKeyIdentity } from '../issuer/store.ts';
import { secretIdentity } from '../merchants/store.ts';
import { type Keys, wrappedVersion } from './keys.ts';
import {
  countStale,
  countStaleCards,
  type Holder,
  lockStaleCards,
  readStale,
  type StaleCard,
  storeRewrapped,
  storeRewrappedCards,
} from './store.ts';

/** Rows in one transaction: cards are locked for as long, some ten milliseconds. */
const BATCH = 250;
/** Before looking again for what others had locked. */
const PAUSE_MS = 50;

export interface RewrapProgress {
  done: number;
  total: number;
  perSecond: number;
  secondsLeft: number;
}

type HolderToMove = [holder: Holder, version: number, rewrapOne: (key: string[], wrapped: Buffer) => Promise<Buffer>];

/**
 * Moves what can be moved to the active versions: secrets and issuers' keys to the KEK, PANs, their fingerprints, personal data, share tokens and addresses
 * to theirs. PIN reference values cannot be moved without their PINs. Every row carries its version, so that a run that was
 * killed goes on where it was, and PINs are set meanwhile: what is locked is left for the next round, never waited for.
 */
export async function rewrap(db: Database, keys: Keys, now: () => number, report: (progress: RewrapProgress) => void): Promise<number> {
  const holders: HolderToMove[] = [
    ['credentials', keys.kek.version, ([apiKey = ''], wrapped) => underKek(keys, wrapped, secretIdentity(apiKey))],
    [
      'issuer_keys',
      keys.kek.version,
      ([issuerId, kind, label = ''], wrapped) => underKek(keys, wrapped, issuerKeyIdentity(Number(issuerId), kind as 'zpk', label)),
    ],
    ['key_components', keys.kek.version, ([target, share], wrapped) => underKek(keys, wrapped, `component:${target}:${share}`)],
    ['personal', keys.pan.version, async ([cardholderNo = ''], wrapped) => underPanKey(keys, wrapped, personalIdentity(cardholderNo))],
    [
      'share_tokens',
      keys.pan.version,
      async ([cardholderNo = ''], wrapped) => underPanKey(keys, wrapped, shareTokenIdentity(cardholderNo)),
    ],
    ['addresses', keys.pan.version, async ([, cardNo = ''], wrapped) => underPanKey(keys, wrapped, addressIdentity(cardNo))],
  ];
  const versions = { wrap: keys.pan.version, fingerprint: keys.panFingerprint.version };
  let total = await countStaleCards(db, versions.wrap, versions.fingerprint);
  for (const [holder, version] of holders) total += await countStale(db, holder, version);

  const startedAt = performance.now();
  let done = 0;
  const advance = (rows: number): void => {
    done += rows;
    total = Math.max(total, done);
    const perSecond = done / Math.max(0.001, (performance.now() - startedAt) / 1000);
    report({ done, total, perSecond, secondsLeft: (total - done) / perSecond });
  };
  for (const holder of holders) await rewrapHolder(db, holder, advance);
  await rewrapCards(db, keys, versions, advance);
  if (done > 0) await db.transaction((tx) => auditPlatform(tx, now(), 'keys_rewrapped', detailsOf('operator', { rows: done })));
  return done;
}

/** The new wraps are made before anything is locked: the KEK may be in an HSM, and changed credentials hold up all who move the gate. */
async function rewrapHolder(db: Database, [holder, version, rewrapOne]: HolderToMove, advance: (rows: number) => void): Promise<void> {
  while ((await countStale(db, holder, version)) > 0) {
    let after: string[] | undefined;
    for (;;) {
      const stale = await readStale(db, holder, version, after);
      const last = stale.at(-1);
      if (last === undefined) break;
      after = last.key;
      const rows = [];
      for (const row of stale) rows.push({ ...row, moved: await rewrapOne(row.key, row.wrapped) });
      advance(await storeRewrapped(db, holder, rows));
    }
    await sleep(PAUSE_MS);
  }
}

async function rewrapCards(
  db: Database,
  keys: Keys,
  versions: { wrap: number; fingerprint: number },
  advance: (rows: number) => void,
): Promise<void> {
  while ((await countStaleCards(db, versions.wrap, versions.fingerprint)) > 0) {
    let after = { merchantId: 0, cardNo: '' };
    for (;;) {
      const cards = await db.transaction(async (tx) => {
        const stale = await lockStaleCards(tx, versions, after, BATCH);
        if (stale.length > 0)
          await storeRewrappedCards(
            tx,
            stale.map((card) => rewrapCard(keys, versions, card)),
            versions.fingerprint,
          );
        return stale;
      });
      const last = cards.at(-1);
      if (last === undefined) break;
      after = last;
      advance(cards.length);
    }
    await sleep(PAUSE_MS);
  }
}

function rewrapCard(keys: Keys, versions: { wrap: number; fingerprint: number }, { merchantId, cardNo, panWrapped }: StaleCard) {
  const pan = keys.pan.unwrap(panWrapped, panIdentity(cardNo));
  try {
    const current = wrappedVersion(panWrapped) >= versions.wrap;
    return {
      merchantId,
      cardNo,
      panWrapped: current ? panWrapped : keys.pan.wrap(pan, panIdentity(cardNo)),
      panFingerprint: keys.panFingerprint.mac(versions.fingerprint, pan),
    };
  } finally {
    pan.fill(0);
  }
}

async function underKek(keys: Keys, wrapped: Buffer, identity: string): Promise<Buffer> {
  const clear = await keys.kek.unwrap(wrapped, identity);
  try {
    return await keys.kek.wrap(clear, identity);
  } finally {
    clear.fill(0);
  }
}

function underPanKey(keys: Keys, wrapped: Buffer, identity: string): Buffer {
  const clear = keys.pan.unwrap(wrapped, identity);
  try {
    return keys.pan.wrap(clear, identity);
  } finally {
    clear.fill(0);
  }
}
