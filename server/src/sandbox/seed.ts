import { auditCard, auditCardholder, auditIssuer, auditMerchant, detailsOf } from '../audit/append.ts';
import { insertCardholder } from '../cardholders/store.ts';
import { insertCard, panIdentity } from '../cards/store.ts';
import { keyCheckValue } from '../crypto/key-check-value.ts';
import { type Database, isLockFault, type Queryable } from '../db/database.ts';
import { secretHashOf } from '../issuer/authenticate.ts';
import { bindIssuer, insertIssuer, insertIssuerKey, issuerKeyIdentity } from '../issuer/store.ts';
import type { Keys } from '../keys/keys.ts';
import { disableCredential, insertCredential, insertMerchant, secretIdentity, updateMerchant } from '../merchants/store.ts';
import { storePackage } from '../products/administer.ts';
import { insertBin } from '../products/store.ts';
import { CARD_BIN, cardholders, cardPackages, cards, credentials, EXPIRY_YYMM, ISSUER, merchants } from './world.ts';

/** The sandbox world's own birthday, so that lists look the same on every machine. */
const BORN_MS = Date.UTC(2026, 4, 22);

/** Makes the sandbox world in an empty database; in any other it does nothing. */
export async function seedSandbox(db: Database, keys: Keys): Promise<void> {
  if (!(await isEmpty(db))) return;
  await db.transaction(async (tx) => {
    await tx.query('lock-merchants', 'lock table merchants in exclusive mode'); // two that start at once
    if (await isEmpty(tx)) await makeWorld(tx, keys);
  });
}

async function isEmpty(db: Queryable): Promise<boolean> {
  const [row] = await db.query<[boolean]>('no-merchants', 'select not exists (select from merchants)');
  return row?.[0] ?? false;
}

const RESET_TRIES = 10;

/**
 * Empties the database and makes the world anew, in one transaction: who asks meanwhile sees the old or the new. It takes every table for itself,
 * which calls under way may hold in another order; then it lets go and tries again.
 */
export async function resetSandbox(db: Database, keys: Keys): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await emptyAndMake(db, keys);
    } catch (error) {
      if (!isLockFault(error) || tries === RESET_TRIES) throw error;
    }
  }
}

function emptyAndMake(db: Database, keys: Keys): Promise<void> {
  return db.transaction(async (tx) => {
    // Locked in the order in which a PIN set locks them: in any other the two could wait for each other.
    await tx.query(
      'truncate-all',
      `truncate cards, pin_history, used_jtis, audit_records, audit_heads, audit_signings, audit_checkpoints, callback_events,
                card_applications, client_tokens, idempotency_keys, card_packages, card_bins, cardholders,
                credentials, issuer_keys, key_components, issuer_merchants, issuers, merchants restart identity`,
    );
    await tx.query('reset-platform-chain', 'update installation set audit_count = 0, audit_head = default');
    await makeWorld(tx, keys);
  });
}

async function makeWorld(tx: Queryable, keys: Keys): Promise<void> {
  const merchantIds = new Map<string, number>();
  const merchantIdOf = (merchantNo: string): number => merchantIds.get(merchantNo) as number;
  for (const { merchantNo, name, integrationMode, pciEnabled, suspended } of merchants) {
    const merchantId = await insertMerchant(tx, {
      merchantNo,
      name,
      integrationMode,
      pinRuns: 'arithmetic',
      pciEnabled,
    });
    merchantIds.set(merchantNo, merchantId);
    if (suspended) await updateMerchant(tx, merchantNo, { status: 'Disabled' });
    await auditMerchant(tx, merchantId, BORN_MS, 'merchant_created', detailsOf('sandbox', { name }));
  }
  for (const { merchantNo, apiKey, apiSecret, ipAllowlist, disabled, expired } of credentials) {
    const merchantId = merchantIdOf(merchantNo);
    const secretWrapped = await keys.kek.wrap(Buffer.from(apiSecret, 'utf8'), secretIdentity(apiKey));
    await insertCredential(tx, { merchantId, apiKey, secretWrapped, ipAllowlist, expiresAtMs: expired ? BORN_MS : undefined });
    if (disabled) await disableCredential(tx, apiKey);
    await auditMerchant(tx, merchantId, BORN_MS, 'credential_created', detailsOf('sandbox', { api_key: apiKey }));
  }
  const issuerId = await insertIssuer(tx, { ...ISSUER, secretHash: secretHashOf(ISSUER.secret), clientCert: undefined });
  for (const { merchantNo } of merchants) await bindIssuer(tx, issuerId, merchantNo);
  for (const { kind, label, algorithm, bytes } of ISSUER.keys) {
    const key = Buffer.from(bytes, 'hex');
    const keyWrapped = await keys.kek.wrap(key, issuerKeyIdentity(issuerId, kind, label));
    const kcv = keyCheckValue(algorithm, key);
    await insertIssuerKey(tx, issuerId, { kind, label, algorithm, kcv, keyWrapped, createdAtMs: BORN_MS });
  }
  await auditIssuer(tx, issuerId, BORN_MS, 'issuer_created', detailsOf('sandbox', { name: ISSUER.name }));
  await insertBin(tx, ISSUER.issuerNo, CARD_BIN, BORN_MS);
  const { readPackageFile } = await import('../products/product-file.ts'); // loaded once, where commands run often
  for (const sheet of cardPackages) await storePackage(tx, readPackageFile(JSON.stringify(sheet)), BORN_MS);
  for (const { merchantNo, cardholderNo } of cardholders) {
    await insertCardholder(tx, {
      merchantId: merchantIdOf(merchantNo),
      cardholderNo,
      cardholderUniqueNo: `unique-${cardholderNo}`,
      email: `${cardholderNo.toLowerCase()}@example.com`,
      status: 'Approved',
      createdAtMs: BORN_MS,
    });
    await auditCardholder(tx, merchantIdOf(merchantNo), cardholderNo, BORN_MS, 'cardholder_created', detailsOf('sandbox'));
  }
  for (const { merchantNo, pan, ...card } of cards) {
    const merchantId = merchantIdOf(merchantNo);
    await insertCard(tx, {
      ...card,
      merchantId,
      cardUniqueNo: `unique-${card.cardNo}`,
      cardName: `Sandbox card ${card.cardNo.slice(-1)}`,
      organization: CARD_BIN.organization,
      cardBinNo: CARD_BIN.cardBinNo,
      panWrapped: keys.pan.wrap(Buffer.from(pan, 'latin1'), panIdentity(card.cardNo)),
      panFingerprint: keys.panFingerprint.mac(keys.panFingerprint.version, Buffer.from(pan, 'latin1')),
      panFingerprintVersion: keys.panFingerprint.version,
      cvkVersion: keys.cvv.version,
      panLastFour: pan.slice(-4),
      expiryYymm: EXPIRY_YYMM,
      createdAtMs: BORN_MS,
    });
    await auditCard(
      tx,
      merchantId,
      card.cardNo,
      BORN_MS,
      'card_created',
      detailsOf('sandbox', { status: card.status, card_type: card.cardType }),
    );
  }
}
