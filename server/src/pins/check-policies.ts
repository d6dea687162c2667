import { timingSafeEqual } from 'node:crypto';
import { digitsOf, isWeakBy, type PersonalDigits, type PinPolicy } from '@pinward/contract/pin-policies';
import { ApiError } from '../api-error.ts';
import { unwrapPersonal } from '../cardholders/personal.ts';
import { findPersonal } from '../cardholders/store.ts';
import type { Caller } from '../merchants/caller.ts';
import type { Services } from '../services.ts';
import { pinReferenceValue } from './pin-reference-value.ts';
import { findRecentPins } from './store.ts';

interface Candidate {
  cardNo: string;
  cardholderNo: string;
  /** ASCII digits, both. */
  pin: Uint8Array;
  pan: Uint8Array;
}

/** What the policies say of a PIN that none of them refuses. */
export interface PolicyVerdict {
  /** Policies that warn. */
  warnings: PinPolicy[];
  /**
   * The version of the card's PIN when its history was read. Undefined without the `history`
   * policy.
   */
  judgedVersion: number | undefined;
}

/**
 * Checks a PIN, which meets the contract's rule, against the merchant's own policies. Throws 4016
 * with the first policy that refuses it. Queries the database only for policies in force.
 */
export async function checkPolicies(services: Services, caller: Caller, candidate: Candidate): Promise<PolicyVerdict> {
  const pin = digitsOf(candidate.pin);
  const about = await personalDigits(services, caller, candidate);
  const verdict: PolicyVerdict = { warnings: [], judgedVersion: undefined };
  try {
    for (const [policy, mode] of caller.pinPolicies) {
      const weak =
        policy === 'history' ? await wasUsed(services, caller, candidate, verdict) : isWeakBy(policy, pin, about);
      if (!weak) continue;
      if (mode === 'refuse') throw new ApiError('pinRefused', { policy });
      verdict.warnings.push(policy);
    }
    return verdict;
  } finally {
    for (const digits of [pin, about.pan, about.birthDate, about.phone]) digits?.fill(0);
  }
}

async function personalDigits(
  { db, keys }: Services,
  { merchantId, pinPolicies }: Caller,
  { cardholderNo, pan }: Candidate,
): Promise<PersonalDigits> {
  const about: PersonalDigits = pinPolicies.has('pan-tail') ? { pan: digitsOf(pan) } : {};
  if (!pinPolicies.has('birth-date') && !pinPolicies.has('phone')) return about;
  const wrapped = await findPersonal(db, merchantId, cardholderNo);
  if (wrapped === undefined) return about;
  const { birthDate, phone } = unwrapPersonal(keys, cardholderNo, wrapped);
  return {
    ...about,
    ...(birthDate !== undefined && { birthDate: digitsOf(birthDate.replaceAll('-', '')) }),
    ...(phone !== undefined && { phone: digitsOf(phone) }),
  };
}

/**
 * Whether the PIN is one of the card's last PINs, by their reference values. Compares with all of
 * them. Notes in the verdict at which version of the PIN the history was read.
 */
async function wasUsed(
  { db, keys }: Services,
  caller: Caller,
  { cardNo, pin, pan }: Candidate,
  verdict: PolicyVerdict,
): Promise<boolean> {
  const { merchantId, pinHistory } = caller;
  const recent = await findRecentPins(db, merchantId, cardNo, pinHistory);
  verdict.judgedVersion = recent[0]?.version ?? 0;
  let found = false;
  for (const { prv, salt, keyVersion } of recent) {
    const value = await pinReferenceValue(keys.pinVerify, keyVersion, { merchantId, cardNo, pan, salt, pin });
    found = timingSafeEqual(value, prv) || found;
  }
  return found;
}
