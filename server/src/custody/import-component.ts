import { auditIssuer, auditPlatform } from '../audit/append.ts';
import type { Config } from '../config.ts';
import { xorInto } from '../crypto/cmac.ts';
import { isPair, KEY_BYTES, type KeyAlgorithm, keyCheckValue } from '../crypto/key-check-value.ts';
import { isPublishedKey } from '../crypto/published-keys.ts';
import type { Database } from '../db/database.ts';
import { isDuplicate } from '../db/errors.ts';
import type { Queryable } from '../db/queryable.ts';
import { findIssuerScope } from '../issuers/store.ts';
import type { KekSource } from '../keys/kek.ts';
import { type ExpiryOrder, PURPOSES, type Purpose } from '../keys/key-file.ts';
import type { Keys } from '../keys/keys.ts';
import { OperatorError } from '../operator-error.ts';
import type { Secret } from '../secret.ts';
import { type IssuerKey, type IssuerKeyName, insertIssuerKey, issuerKeyIdentity } from '../zone-keys/store.ts';
import type { KeyPlace } from './change-key-file.ts';
import {
  componentIdentity,
  deleteComponents,
  insertComponent,
  lockComponents,
  type StoredComponent,
} from './component-store.ts';
import { rotateKey } from './rotate-key.ts';

/** A key that arrives in components: of one of the platform's purposes, or of an issuer. */
export type ComponentTarget =
  | { purpose: Purpose; activeInMs: number; expiryOrder?: ExpiryOrder | undefined }
  | { issuerNo: string; kind: IssuerKey['kind']; label: string; algorithm: KeyAlgorithm };

interface ComponentImport {
  target: ComponentTarget;
  /** Which component this is, from 1. */
  number: number;
  /** How many components the key has. */
  count: number;
  hex: Secret<string>;
  /** The component's check value, if the custodian gave it. */
  kcv: string | undefined;
}

interface ImportedComponent {
  /** The component's check value. */
  kcv: string;
  /** Numbers of the components that are still missing. */
  missing: number[];
  /** The whole key, once no component is missing. `version` if it is one of the platform's. */
  key: { kcv: string; version?: number } | undefined;
}

/**
 * Takes the component of one custodian. It is stored, wrapped, until the last one arrives.
 * Then the key is put together and its components are deleted. Errors: OperatorError; then
 * nothing of this component is kept.
 */
export async function importComponent(
  place: KeyPlace & { keys: Keys; config: Pick<Config, 'mode'> },
  given: ComponentImport,
): Promise<ImportedComponent> {
  const { target, number, count } = given;
  const { db, keys, source, now } = place;
  const algorithm = algorithmOf(target, source);
  const name = nameOf(target);
  const bytes = readComponent(given, algorithm);
  try {
    const kcv = checkValueOf(algorithm, bytes, given.kcv);
    const wrapped = await keys.kek.wrap(bytes, componentIdentity(name, number));
    const component = { number, count, algorithm, kcv, wrapped };
    const atMs = now();
    const missing = await db.transaction(async (tx) => {
      const issuerKey = await issuerKeyOf(tx, target);
      const left = await addComponent(tx, keys, { name, component, bytes, atMs });
      if (left.length === 0 && place.config.mode === 'production' && isPublishedKey(bytes))
        throw new OperatorError(
          `the key is published (KCV ${keyCheckValue(algorithm, bytes)}), and so not for production; ` +
            'nothing of this share was kept',
        );
      const details = { target: name, share: number, shares: count, kcv };
      const record = { atMs, action: 'key_component_imported', by: 'operator', details } as const;
      await (issuerKey === undefined ? auditPlatform(tx, record) : auditIssuer(tx, issuerKey.issuerId, record));
      if (issuerKey !== undefined && left.length === 0) {
        await deleteComponents(tx, name);
        await storeIssuerKey(tx, keys, issuerKey, { bytes, atMs });
      }
      return left;
    });
    if (missing.length > 0) return { kcv, missing, key: undefined };
    const whole = keyCheckValue(algorithm, bytes);
    if (!('purpose' in target)) return { kcv, missing, key: { kcv: whole } };
    const { purpose, activeInMs, expiryOrder } = target;
    const { version } = await rotateKey(place, purpose, { activeInMs, bytes, expiryOrder });
    // Deleted last: if the process ends before this, the last custodian brings the
    // component again.
    await discardComponents(place, name);
    return { kcv, missing, key: { kcv: whole, version } };
  } catch (error) {
    throw isDuplicate(error, 'issuer_keys_pkey')
      ? new OperatorError('a key of this label is or was there; nothing was kept')
      : error;
  } finally {
    bytes.fill(0);
  }
}

/** Deletes the components of an unfinished key. Returns how many there were. */
export async function discardComponents({ db }: { db: Database }, name: string): Promise<number> {
  return db.transaction((tx) => deleteComponents(tx, name));
}

/** The name under which components are stored; operators see it too. */
function nameOf(target: ComponentTarget): string {
  return 'purpose' in target ? target.purpose : `${target.kind} ${target.label} of ${target.issuerNo}`;
}

function algorithmOf(target: ComponentTarget, source: KekSource): KeyAlgorithm {
  if (!('purpose' in target)) return target.algorithm;
  const { purpose } = target;
  const algorithm = PURPOSES[purpose];
  if (isPair(algorithm)) throw new OperatorError(`${purpose} is a key pair; only secret keys come by components`);
  if (purpose === 'pin-verify' && source.kind === 'hsm')
    throw new OperatorError('with an HSM the PIN verify key is made in it');
  return algorithm;
}

function readComponent({ number, count, hex }: ComponentImport, algorithm: KeyAlgorithm): Buffer {
  if (number < 1 || number > count || count < 2 || count > 9)
    throw new OperatorError('a key has 2 to 9 shares, numbered from 1');
  const text = hex.expose();
  const digits = 2 * KEY_BYTES[algorithm];
  if (!/^[0-9A-Fa-f]+$/.test(text) || text.length !== digits)
    throw new OperatorError(`a share of ${algorithm} has ${digits} hex digits`);
  return Buffer.from(text, 'hex');
}

function checkValueOf(algorithm: KeyAlgorithm, bytes: Buffer, expected: string | undefined): string {
  const kcv = keyCheckValue(algorithm, bytes);
  if (expected !== undefined && expected.toUpperCase() !== kcv)
    throw new OperatorError(`the share's check value is ${kcv}, not ${expected.toUpperCase()}; nothing was kept`);
  return kcv;
}

type NamedIssuerKey = IssuerKeyName & { algorithm: KeyAlgorithm };

/** The key of an issuer that the target names. Undefined for a key of the platform. */
async function issuerKeyOf(tx: Queryable, target: ComponentTarget): Promise<NamedIssuerKey | undefined> {
  if ('purpose' in target) return undefined;
  const { issuerNo, kind, label, algorithm } = target;
  const issuer = await findIssuerScope(tx, issuerNo);
  if (issuer === undefined) throw new OperatorError(`there is no issuer ${issuerNo}`);
  return { issuerId: issuer.issuerId, kind, label, algorithm };
}

async function storeIssuerKey(
  tx: Queryable,
  keys: Keys,
  key: NamedIssuerKey,
  { bytes, atMs }: { bytes: Buffer; atMs: number },
): Promise<void> {
  const { issuerId, kind, label, algorithm } = key;
  const kcv = keyCheckValue(algorithm, bytes);
  const keyWrapped = await keys.kek.wrap(bytes, issuerKeyIdentity(key));
  await insertIssuerKey(tx, issuerId, { kind, label, algorithm, kcv, keyWrapped, createdAtMs: atMs });
  const details = { kind, label, algorithm, kcv, from: 'components' };
  await auditIssuer(tx, issuerId, { atMs, action: 'zone_key_imported', by: 'operator', details });
}

interface AddedComponent {
  name: string;
  component: StoredComponent;
  /** Its clear bytes. They become the whole key with the last component. */
  bytes: Buffer;
  atMs: number;
}

/**
 * Stores the component and returns the numbers that are still missing. With the last one
 * nothing is stored, and the other components are XORed into `bytes`.
 */
async function addComponent(
  tx: Queryable,
  keys: Keys,
  { name, component, bytes, atMs }: AddedComponent,
): Promise<number[]> {
  const { number, count, algorithm } = component;
  const others = await lockComponents(tx, name);
  const [first] = others;
  if (first !== undefined && (first.count !== count || first.algorithm !== algorithm))
    throw new OperatorError(`${name} is being put together from ${first.count} shares of ${first.algorithm}`);
  const present = new Set(others.map((other) => other.number));
  if (present.has(number)) throw new OperatorError(`share ${number} of ${name} is there already`);
  present.add(number);
  const missing = Array.from({ length: count }, (_, i) => i + 1).filter((other) => !present.has(other));
  if (missing.length > 0) {
    await insertComponent(tx, name, component, atMs);
    return missing;
  }
  for (const other of others) {
    const otherBytes = await keys.kek.unwrap(other.wrapped, componentIdentity(name, other.number));
    xorInto(bytes, otherBytes);
    otherBytes.fill(0);
  }
  return missing;
}
