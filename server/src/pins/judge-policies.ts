import { timingSafeEqual } from 'node:crypto';
import type { Caller } from '../auth/callers.ts';
import { personalIdentity } from '../cardholders/store.ts';
import { ApiError } from '../errors.ts';
import type { Services } from '../services.ts';
import { digitsOf, type PersonalDigits, type PinPolicy, WEAK_BY } from './pin-policies.ts';
import { pinReferenceValue } from './pin-reference-value.ts';

interface Candidate {
  cardNo: string;
  cardholderNo: string;
  /** ASCII digits, both. */
  pin: Uint8Array;
  pan: Uint8Array;
}

/**
 * Judges a PIN that meets the contract's rule by the merchant's own policies. Throws 4016 with the first policy that refuses;
 * gives those that warn. Asks the database only for what a policy in force looks at.
 */
export async function judgePolicies(services: Services, caller: Caller, candidate: Candidate): Promise<PinPolicy[]> {
  const pin = digitsOf(candidate.pin);
  const about = await personalDigits(services, caller, candidate);
  try {
    const warnings: PinPolicy[] = [];
    for (const [name, mode] of caller.pinPolicies) {
      const weak = name === 'history' ? await wasUsed(services, caller, candidate) : WEAK_BY[name](pin, about);
      if (!weak) continue;
      if (mode === 'refuse') throw new ApiError('pinRefused', { policy: name });
      warnings.push(name);
    }
    return warnings;
  } finally {
    for (const digits of [pin, about.pan, about.birthDate, about.phone]) digits?.fill(0);
  }
}

async function personalDigits(
  { pins, keys }: Services,
  { merchantId, pinPolicies }: Caller,
  { cardholderNo, pan }: Candidate,
): Promise<PersonalDigits> {
  const about: PersonalDigits = pinPolicies.has('pan-tail') ? { pan: digitsOf(pan) } : {};
  if (!pinPolicies.has('birth-date') && !pinPolicies.has('phone')) return about;
  const wrapped = await pins.findPersonal(merchantId, cardholderNo);
  if (wrapped === undefined) return about;
  const clear = keys.pan.unwrap(wrapped, personalIdentity(cardholderNo));
  const { birth_date, phone } = JSON.parse(clear.toString('utf8')) as { birth_date?: string; phone?: string };
  clear.fill(0);
  return {
    ...about,
    ...(birth_date !== undefined && { birthDate: digitsOf(birth_date.replaceAll('-', '')) }),
    ...(phone !== undefined && { phone: digitsOf(phone) }),
  };
}

/** Whether it is one of the card's last PINs, by their reference values; all are compared. */
async function wasUsed({ pins, keys }: Services, caller: Caller, { cardNo, pin, pan }: Candidate): Promise<boolean> {
  let found = false;
  for (const { prv, salt, keyVersion } of await pins.findRecent(caller.merchantId, cardNo, caller.pinHistory)) {
    const value = await pinReferenceValue(keys.pinVerify, keyVersion, { merchantId: caller.merchantId, cardNo, pan, salt, pin });
    found = timingSafeEqual(value, prv) || found;
  }
  return found;
}
