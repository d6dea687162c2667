import { randomInt } from 'node:crypto';
import { auditMerchant, detailsOf } from '../audit/append.ts';
import { isAllowlistEntry } from '../auth/ip-allowlist.ts';
import type { Database } from '../db/database.ts';
import type { Keys } from '../keys/keys.ts';
import { PIN_ENVELOPES, type PinEnvelope } from '../pins/pin-envelope.ts';
import type { PinRuns } from '../pins/pin-policy.ts';
import { Secret } from '../secret.ts';
import {
  disableCredential,
  findMerchantId,
  type IntegrationMode,
  insertCredential,
  insertMerchant,
  lockAllowlist,
  type MerchantChange,
  secretIdentity,
  setAllowlist,
  setEnvelopes,
  updateMerchant,
} from './store.ts';

/** What operators do to merchants and credentials. Each change and its audit record are one transaction. */

/** Something that the operator asked for and that cannot be; the text is for the operator. */
export class OperatorError extends Error {
  override readonly name = 'OperatorError';
}

/** Letters and digits without those that are read for one another. */
const ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789ABCDEFGHJKMNPQRSTUVWXYZ';
/** The apiSecret's UTF-8 bytes are an AES key, so an issued one has 32 ASCII characters (docs/adr/0004). */
const SECRET_LENGTH = 32;

export async function createMerchant(
  { db, now }: { db: Database; now: () => number },
  merchant: { merchantNo?: string; name: string; integrationMode: IntegrationMode; pinRuns: PinRuns; pciEnabled: boolean },
): Promise<string> {
  requireName(merchant.name);
  const merchantNo = merchant.merchantNo ?? `M${randomText(12)}`;
  await db.transaction(async (tx) => {
    const merchantId = await insertMerchant(tx, { ...merchant, merchantNo });
    await auditMerchant(tx, merchantId, now(), 'merchant_created', detailsOf('operator', { name: merchant.name }));
  });
  return merchantNo;
}

export async function changeMerchant(
  { db, now }: { db: Database; now: () => number },
  merchantNo: string,
  change: MerchantChange,
): Promise<void> {
  if (change.name !== undefined) requireName(change.name);
  await db.transaction(async (tx) => {
    const merchantId = await updateMerchant(tx, merchantNo, change);
    if (merchantId === undefined) throw new OperatorError(`there is no merchant ${merchantNo}`);
    await auditMerchant(tx, merchantId, now(), 'merchant_updated', detailsOf('operator', { ...change }));
  });
}

export interface NewCredential {
  merchantNo: string;
  apiKey?: string;
  /** Brought along from another platform: 16, 24 or 32 bytes in UTF-8. Undefined: one is made. */
  apiSecret?: Secret<string>;
  expiresAtMs?: number;
  ipAllowlist: string[];
}

/** Makes a credential. The secret is given back this once and stored wrapped. */
export async function createCredential(
  { db, keys, now }: { db: Database; keys: Keys; now: () => number },
  credential: NewCredential,
): Promise<{ apiKey: string; apiSecret: Secret<string> }> {
  requireEntries(credential.ipAllowlist);
  if (credential.apiKey !== undefined && !/^[\x21-\x7e]{1,128}$/.test(credential.apiKey))
    throw new OperatorError('an Api-Key has 1 to 128 visible ASCII characters, as it travels in a header');
  const apiKey = credential.apiKey ?? `ak_${randomText(24)}`;
  const apiSecret = credential.apiSecret ?? new Secret(randomText(SECRET_LENGTH));
  const bytes = Buffer.from(apiSecret.expose(), 'utf8');
  if (![16, 24, 32].includes(bytes.length)) throw new OperatorError('an apiSecret has 16, 24 or 32 bytes, as it is an AES key');
  const secretWrapped = await keys.kek.wrap(bytes, secretIdentity(apiKey));
  bytes.fill(0);
  await db.transaction(async (tx) => {
    const merchantId = await findMerchantId(tx, credential.merchantNo);
    if (merchantId === undefined) throw new OperatorError(`there is no merchant ${credential.merchantNo}`);
    await insertCredential(tx, {
      merchantId,
      apiKey,
      secretWrapped,
      expiresAtMs: credential.expiresAtMs,
      ipAllowlist: credential.ipAllowlist,
    });
    await auditMerchant(
      tx,
      merchantId,
      now(),
      'credential_created',
      detailsOf('operator', { api_key: apiKey, ip_allowlist: credential.ipAllowlist }),
    );
  });
  return { apiKey, apiSecret };
}

/** Ends the credential and all its tokens. It is not enabled again: rotation makes a new one beside it first. */
export async function endCredential({ db, now }: { db: Database; now: () => number }, apiKey: string): Promise<void> {
  await db.transaction(async (tx) => {
    const merchantId = await disableCredential(tx, apiKey);
    if (merchantId === undefined) throw new OperatorError(`there is no credential ${apiKey}`);
    await auditMerchant(tx, merchantId, now(), 'credential_updated', detailsOf('operator', { api_key: apiKey, status: 'Disabled' }));
  });
}

/** Sets how the credential's PINs travel. A default below the minimum would refuse every call that names none. */
export async function changeEnvelopes(
  { db, now }: { db: Database; now: () => number },
  apiKey: string,
  change: { envelope?: PinEnvelope | undefined; minimum?: PinEnvelope | undefined },
): Promise<{ envelope: PinEnvelope; minimum: PinEnvelope }> {
  return db.transaction(async (tx) => {
    const set = await setEnvelopes(tx, apiKey, change.envelope, change.minimum);
    if (set === undefined) throw new OperatorError(`there is no credential ${apiKey}`);
    const { merchantId, envelope, minimum } = set;
    if (PIN_ENVELOPES.indexOf(envelope) < PIN_ENVELOPES.indexOf(minimum))
      throw new OperatorError(`the envelope ${envelope} is weaker than the minimum ${minimum}: set both`);
    const details = detailsOf('operator', { api_key: apiKey, pin_envelope: envelope, pin_envelope_minimum: minimum });
    await auditMerchant(tx, merchantId, now(), 'credential_updated', details);
    return { envelope, minimum };
  });
}

/** Adds entries to the allowlist, or takes them away. Gives the list as it then is. */
export async function changeAllowlist(
  { db, now }: { db: Database; now: () => number },
  apiKey: string,
  entries: string[],
  remove: boolean,
): Promise<string[]> {
  requireEntries(entries);
  return db.transaction(async (tx) => {
    const current = await lockAllowlist(tx, apiKey);
    if (current === undefined) throw new OperatorError(`there is no credential ${apiKey}`);
    const absent = entries.find((entry) => remove && !current.includes(entry));
    if (absent !== undefined)
      throw new OperatorError(`${absent} is not on the allowlist, which holds: ${current.join(', ') || '(nothing)'}`);
    const allowlist = remove ? current.filter((entry) => !entries.includes(entry)) : [...new Set([...current, ...entries])];
    const merchantId = (await setAllowlist(tx, apiKey, allowlist)) as number;
    await auditMerchant(tx, merchantId, now(), 'credential_updated', detailsOf('operator', { api_key: apiKey, ip_allowlist: allowlist }));
    return allowlist;
  });
}

export function requireName(name: string): void {
  if (name.trim() === '') throw new OperatorError('a merchant needs a name');
}

export function requireEntries(entries: string[]): void {
  const fault = entries.find((entry) => !isAllowlistEntry(entry));
  if (fault !== undefined) throw new OperatorError(`${fault} is neither an IP address nor a CIDR block`);
}

export function randomText(length: number): string {
  let text = '';
  for (let i = 0; i < length; i++) text += ALPHABET[randomInt(ALPHABET.length)];
  return text;
}
