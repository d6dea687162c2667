import { setTimeout as sleep } from 'node:timers/promises';
import { auditPlatform } from '../audit/append.ts';
import { personalIdentity, shareTokenIdentity } from '../cardholders/store.ts';
import { addressIdentity } from '../cards/application-store.ts';
import { panIdentity } from '../cards/store.ts';
import type { Database } from '../db/database.ts';
import { type Keys, wrappedVersion } from '../keys/keys.ts';
import { secretIdentity } from '../merchants/store.ts';
import { type IssuerKeyName, issuerKeyIdentity } from '../zone-keys/store.ts';
import { componentIdentity } from './component-store.ts';
import {
  countStale,
  countStaleCards,
  type Holder,
  lockStaleCards,
  type PanVersions,
  readStale,
  type StaleCard,
  storeRewrapped,
  storeRewrappedCards,
} from './store.ts';

/** Cards in one transaction. They are locked while it lasts, some ten milliseconds. */
const CARDS_LIMIT = 250;
/** Before the next round, for rows that others had locked. */
const PAUSE_MS = 50;

export interface RewrapProgress {
  done: number;
  total: number;
  perSecond: number;
  secondsLeft: number;
}

/**
 * Moves wrapped values to the active versions of their keys: secrets, issuers' keys and
 * components to the KEK; PANs, personal data, share tokens and addresses to the PAN key;
 * fingerprints to theirs. PIN reference values cannot move without their PINs. Each row
 * names its version, so a run that was killed continues where it stopped. PINs can be set
 * meanwhile: locked rows are left for the next round and never waited for. Returns how many
 * rows moved.
 */
export async function rewrap(
  db: Database,
  keys: Keys,
  now: () => number,
  report: (progress: RewrapProgress) => void,
): Promise<number> {
  const moves = movesOf(keys);
  const versions = { wrap: keys.pan.version, fingerprint: keys.panFingerprint.version };
  let total = await countStaleCards(db, versions);
  for (const { holder, version } of moves) total += await countStale(db, holder, version);

  const startedAtMs = performance.now();
  let done = 0;
  const advance = (rows: number): void => {
    done += rows;
    total = Math.max(total, done);
    const perSecond = done / Math.max(0.001, (performance.now() - startedAtMs) / 1000);
    report({ done, total, perSecond, secondsLeft: (total - done) / perSecond });
  };
  for (const move of moves) await rewrapHolder(db, move, advance);
  await rewrapCards(db, keys, versions, advance);
  const record = { action: 'keys_rewrapped', by: 'operator', details: { rows: done } } as const;
  if (done > 0) await db.transaction((tx) => auditPlatform(tx, { atMs: now(), ...record }));
  return done;
}

/** A column whose values move to a version of a key. */
interface Move {
  holder: Holder;
  version: number;
  rewrapValue(key: string[], wrapped: Buffer): Promise<Buffer>;
}

function movesOf({ kek, pan }: Keys): Move[] {
  const move = (holder: Holder, to: Wrapping, identityOf: (...key: string[]) => string): Move => ({
    holder,
    version: to.version,
    rewrapValue: (key, wrapped) => rewrapUnder(to, wrapped, identityOf(...key)),
  });
  return [
    move('credentials', kek, (apiKey = '') => secretIdentity(apiKey)),
    move('issuer_keys', kek, (issuerId, kind, label = '') =>
      issuerKeyIdentity({ issuerId: Number(issuerId), kind: kind as IssuerKeyName['kind'], label }),
    ),
    move('key_components', kek, (target = '', number) => componentIdentity(target, Number(number))),
    move('personal', pan, (cardholderNo = '') => personalIdentity(cardholderNo)),
    move('share_tokens', pan, (cardholderNo = '') => shareTokenIdentity(cardholderNo)),
    move('addresses', pan, (_merchantId, cardNo = '') => addressIdentity(cardNo)),
  ];
}

type Wrapping = Keys['kek'] | Keys['pan'];

async function rewrapUnder(key: Wrapping, wrapped: Buffer, identity: string): Promise<Buffer> {
  const clear = await key.unwrap(wrapped, identity);
  try {
    return await key.wrap(clear, identity);
  } finally {
    clear.fill(0);
  }
}

/**
 * The new wraps are made before anything is locked. The KEK may be in an HSM, which is
 * slow, and a changed credential blocks every other change that moves the gate's version.
 */
async function rewrapHolder(
  db: Database,
  { holder, version, rewrapValue }: Move,
  advance: (rows: number) => void,
): Promise<void> {
  while ((await countStale(db, holder, version)) > 0) {
    let after: string[] | undefined;
    for (;;) {
      const stale = await readStale(db, holder, version, after);
      const last = stale.at(-1);
      if (last === undefined) break;
      after = last.key;
      const rows = [];
      for (const row of stale) rows.push({ ...row, moved: await rewrapValue(row.key, row.wrapped) });
      advance(await storeRewrapped(db, holder, rows));
    }
    await sleep(PAUSE_MS);
  }
}

async function rewrapCards(
  db: Database,
  keys: Keys,
  versions: PanVersions,
  advance: (rows: number) => void,
): Promise<void> {
  while ((await countStaleCards(db, versions)) > 0) {
    let after = { merchantId: 0, cardNo: '' };
    for (;;) {
      const cards = await db.transaction(async (tx) => {
        const stale = await lockStaleCards(tx, versions, after, CARDS_LIMIT);
        const moved = stale.map((card) => rewrapCard(keys, versions, card));
        if (moved.length > 0) await storeRewrappedCards(tx, moved, versions.fingerprint);
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

function rewrapCard(keys: Keys, versions: PanVersions, card: StaleCard): StaleCard & { panFingerprint: Buffer } {
  const { cardNo, panWrapped } = card;
  const identity = panIdentity(cardNo);
  const pan = keys.pan.unwrap(panWrapped, identity);
  try {
    const isCurrent = wrappedVersion(panWrapped) >= versions.wrap;
    return {
      ...card,
      panWrapped: isCurrent ? panWrapped : keys.pan.wrap(pan, identity),
      panFingerprint: keys.panFingerprint.mac(versions.fingerprint, pan),
    };
  } finally {
    pan.fill(0);
  }
}
