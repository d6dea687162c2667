import { auditCard, auditCardholder, auditIssuer, auditMerchant } from '../audit/append.ts';
import { insertCardholder } from '../cardholders/store.ts';
import { insertCard, panIdentity } from '../cards/store.ts';
import { keyCheckValue } from '../crypto/key-check-value.ts';
import { secretHashOf } from '../crypto/secret-hash.ts';
import type { Database } from '../db/database.ts';
import { isLockFault } from '../db/errors.ts';
import type { Queryable } from '../db/queryable.ts';
import { bindIssuer, insertIssuer } from '../issuers/store.ts';
import type { Keys } from '../keys/keys.ts';
import {
  disableStoredCredential,
  insertCredential,
  insertMerchant,
  secretIdentity,
  updateStoredMerchant,
} from '../merchants/store.ts';
import { storePackage } from '../products/create-package.ts';
import type { PackageSheet } from '../products/package-sheet.ts';
import { insertBin } from '../products/store.ts';
import { insertIssuerKey, issuerKeyIdentity } from '../zone-keys/store.ts';
import {
  CARD_BIN,
  cardholders,
  cardPackages,
  cards,
  credentials,
  EXPIRY_YYMM,
  ISSUER,
  merchants,
  type SandboxCard,
} from './world.ts';

/** When the world was made. It is fixed, so that lists look the same on every machine. */
const BORN_MS = Date.UTC(2026, 4, 22);

const RESET_ATTEMPTS = 10;

/** Makes the sandbox world in an empty database. Does nothing if there is a merchant. */
export async function seedSandbox(db: Database, keys: Keys): Promise<void> {
  if (!(await isEmpty(db))) return;
  const packages = await readPackages();
  await db.transaction(async (tx) => {
    // Two processes may start at once. The second one waits here, and then finds merchants.
    await tx.query('lock-merchants', 'lock table merchants in exclusive mode');
    if (await isEmpty(tx)) await makeWorld(tx, keys, packages);
  });
}

/**
 * Reads the packages before tables are locked: the module is slow to load, so it is loaded here.
 */
async function readPackages(): Promise<PackageSheet[]> {
  const { readPackageSheet } = await import('../products/package-sheet.ts');
  return cardPackages.map((sheet) => readPackageSheet(JSON.stringify(sheet)));
}

async function isEmpty(db: Queryable): Promise<boolean> {
  const [row] = await db.query<{ empty: boolean }>(
    'no-merchants',
    'select not exists (select from merchants) as empty',
  );
  return row?.empty ?? false;
}

/**
 * Empties the database and makes the world again, in one transaction: calls meanwhile see
 * the old world or the new one. It locks every table. Calls under way may hold tables in
 * another order; then the transaction gives up its locks and runs again.
 */
export async function resetSandbox(db: Database, keys: Keys): Promise<void> {
  const packages = await readPackages();
  for (let attempt = 1; ; attempt++) {
    try {
      return await replaceWorld(db, keys, packages);
    } catch (error) {
      if (!isLockFault(error) || attempt === RESET_ATTEMPTS) throw error;
    }
  }
}

function replaceWorld(db: Database, keys: Keys, packages: PackageSheet[]): Promise<void> {
  return db.transaction(async (tx) => {
    // Locks the tables in the order of the list. A PIN set locks them in the same order;
    // otherwise the two could deadlock.
    await tx.query(
      'truncate-all',
      `truncate cards, pin_block_counts, pin_history, used_jtis, audit_records, audit_heads, audit_signings, audit_checkpoints,
                callback_events, card_applications, client_tokens, idempotency_keys, card_packages, card_bins,
                cardholders, credentials, issuer_keys, key_components, issuer_merchants, issuers, merchants
       restart identity`,
    );
    await tx.query(
      'reset-platform-chain',
      'update installation set audit_count = 0, audit_at_ms = 0, audit_head = default',
    );
    await makeWorld(tx, keys, packages);
  });
}

async function makeWorld(tx: Queryable, keys: Keys, packages: PackageSheet[]): Promise<void> {
  const idOf = await makeMerchants(tx);
  await makeCredentials(tx, keys, idOf);
  await makeIssuer(tx, keys);
  await makeProducts(tx, packages);
  await makeCardholders(tx, idOf);
  for (const card of cards) await makeCard(tx, keys, idOf(card.merchantNo), card);
}

/** Gives a merchant's id by its number. */
type IdOf = (merchantNo: string) => number;

async function makeMerchants(tx: Queryable): Promise<IdOf> {
  const ids = new Map<string, number>();
  for (const { suspended, ...merchant } of merchants) {
    const { merchantNo, name } = merchant;
    const merchantId = await insertMerchant(tx, { ...merchant, pinRuns: 'arithmetic' });
    ids.set(merchantNo, merchantId);
    if (suspended) await updateStoredMerchant(tx, merchantNo, { status: 'Disabled' });
    const details = { name };
    await auditMerchant(tx, merchantId, { atMs: BORN_MS, action: 'merchant_created', by: 'sandbox', details });
  }
  return (merchantNo) => {
    const id = ids.get(merchantNo);
    if (id === undefined) throw new Error(`the sandbox world has no merchant ${merchantNo}`);
    return id;
  };
}

async function makeCredentials(tx: Queryable, keys: Keys, idOf: IdOf): Promise<void> {
  for (const { merchantNo, apiKey, apiSecret, ipAllowlist, disabled, expired } of credentials) {
    const merchantId = idOf(merchantNo);
    const secretWrapped = await keys.kek.wrap(Buffer.from(apiSecret, 'utf8'), secretIdentity(apiKey));
    const expiresAtMs = expired ? BORN_MS : undefined;
    await insertCredential(tx, { merchantId, apiKey, secretWrapped, ipAllowlist, expiresAtMs });
    if (disabled) await disableStoredCredential(tx, apiKey);
    const details = { api_key: apiKey };
    await auditMerchant(tx, merchantId, { atMs: BORN_MS, action: 'credential_created', by: 'sandbox', details });
  }
}

async function makeIssuer(tx: Queryable, keys: Keys): Promise<void> {
  const { issuerNo, name, secret, ipAllowlist } = ISSUER;
  const secretHash = secretHashOf(secret);
  const issuerId = await insertIssuer(tx, { issuerNo, name, secretHash, clientCert: undefined, ipAllowlist });
  for (const { merchantNo } of merchants) await bindIssuer(tx, issuerId, merchantNo);
  for (const { kind, label, algorithm, bytes } of ISSUER.keys) {
    const key = Buffer.from(bytes, 'hex');
    const keyWrapped = await keys.kek.wrap(key, issuerKeyIdentity({ issuerId, kind, label }));
    const kcv = keyCheckValue(algorithm, key);
    await insertIssuerKey(tx, issuerId, { kind, label, algorithm, kcv, keyWrapped, createdAtMs: BORN_MS });
  }
  const details = { name };
  await auditIssuer(tx, issuerId, { atMs: BORN_MS, action: 'issuer_created', by: 'sandbox', details });
}

async function makeProducts(tx: Queryable, packages: PackageSheet[]): Promise<void> {
  await insertBin(tx, ISSUER.issuerNo, CARD_BIN, BORN_MS);
  for (const sheet of packages) await storePackage(tx, sheet, BORN_MS);
}

async function makeCardholders(tx: Queryable, idOf: IdOf): Promise<void> {
  for (const { merchantNo, cardholderNo } of cardholders) {
    const merchantId = idOf(merchantNo);
    await insertCardholder(tx, {
      merchantId,
      cardholderNo,
      cardholderUniqueNo: `unique-${cardholderNo}`,
      email: `${cardholderNo.toLowerCase()}@example.com`,
      status: 'Approved',
      createdAtMs: BORN_MS,
    });
    const record = { atMs: BORN_MS, action: 'cardholder_created', by: 'sandbox' } as const;
    await auditCardholder(tx, { merchantId, cardholderNo }, record);
  }
}

async function makeCard(tx: Queryable, keys: Keys, merchantId: number, card: SandboxCard): Promise<void> {
  const { cardNo, cardholderNo, cardType, status } = card;
  const pan = Buffer.from(card.pan, 'latin1');
  await insertCard(tx, {
    merchantId,
    cardNo,
    cardUniqueNo: `unique-${cardNo}`,
    cardholderNo,
    cardType,
    status,
    cardName: `Sandbox card ${cardNo.slice(-1)}`,
    organization: CARD_BIN.organization,
    cardBinNo: CARD_BIN.cardBinNo,
    panWrapped: keys.pan.wrap(pan, panIdentity(cardNo)),
    panFingerprint: keys.panFingerprint.mac(keys.panFingerprint.version, pan),
    panFingerprintVersion: keys.panFingerprint.version,
    panLastFour: card.pan.slice(-4),
    expiryYymm: EXPIRY_YYMM,
    cvkVersion: keys.cvv.version,
    createdAtMs: BORN_MS,
  });
  const details = { status, card_type: cardType };
  await auditCard(tx, { merchantId, cardNo }, { atMs: BORN_MS, action: 'card_created', by: 'sandbox', details });
}
