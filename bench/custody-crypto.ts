/**
 * The part of bench/custody.ts that needs no server: envelopes, PIN reference values, and whether
 * the time of a refusal reveals its reason.
 */
import {
  createCipheriv,
  createSecretKey,
  type KeyObject,
  randomBytes,
  randomInt,
  randomUUID,
  timingSafeEqual,
} from 'node:crypto';
import { join } from 'node:path';
import { PIN_ENVELOPES, type PinEnvelope } from '@pinward/contract/pin-envelope';
import { isAcceptablePin, PIN_DIGITS } from '@pinward/contract/pin-rule';
import { panIdentity } from '../server/src/cards/store.ts';
import { sealEcb } from '../server/src/crypto/ecb-envelope.ts';
import { randomBytesPooled } from '../server/src/crypto/random.ts';
import type { KekSource } from '../server/src/keys/kek.ts';
import { type Keys, keysOf } from '../server/src/keys/keys.ts';
import { createKeyFile } from '../server/src/keys/make-key-file.ts';
import { openKeyFile } from '../server/src/keys/open-key-file.ts';
import { openPinEnvelope, type SealedPin } from '../server/src/pins/pin-envelope.ts';
import { pinReferenceValue } from '../server/src/pins/pin-reference-value.ts';
import { MAIN_CREDENTIAL, sandboxPan } from '../server/src/sandbox/world.ts';
import { sealBound, sealJwe } from '../server/test/support/envelopes.ts';

export const IN_FLIGHT = 64;
const SUBJECTS = 512;
const BLOCK_BYTES = 16;
const MERCHANT_ID = 1;
const apiSecret = createSecretKey(Buffer.from(MAIN_CREDENTIAL.apiSecret));

type Operation = (i: number) => Promise<void>;

export async function makeKeys(folder: string, name: string, source: KekSource): Promise<Keys> {
  const path = join(folder, `${name}.json`);
  await createKeyFile(path, source, new Date());
  return keysOf(await openKeyFile(path, source), Date.now);
}

export const median = (values: ArrayLike<number>): number => quantile(values, 0.5);

export function quantile(values: ArrayLike<number>, share: number): number {
  return Float64Array.from(values).sort()[Math.floor(values.length * share)] ?? Number.NaN;
}

/** The median time of one operation in microseconds, one at a time. */
async function medianUs(operation: Operation, amount: number): Promise<number> {
  for (let i = 0; i < amount / 2; i++) await operation(i); // warm-up: the JIT compiler
  const times = new Float64Array(amount);
  for (let i = 0; i < amount; i++) {
    const from = process.hrtime.bigint();
    await operation(i);
    times[i] = Number(process.hrtime.bigint() - from) / 1_000;
  }
  return median(times);
}

/** Microseconds per operation with `lanes` in flight: total time / number of operations. */
async function usInFlight(operation: Operation, amount: number, lanes: number): Promise<number> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < amount) await operation(next++);
  };
  const from = performance.now();
  await Promise.all(Array.from({ length: lanes }, lane));
  return ((performance.now() - from) * 1_000) / amount;
}

/** A random PIN that the PIN rule accepts. */
function goodPin(): string {
  for (;;) {
    const pin = String(randomInt(10 ** PIN_DIGITS)).padStart(PIN_DIGITS, '0');
    if (isAcceptablePin(paddedBlock(pin), 'arithmetic')) return pin;
  }
}

function paddedBlock(
  digits: string,
  padding = Buffer.alloc(BLOCK_BYTES - PIN_DIGITS, BLOCK_BYTES - PIN_DIGITS),
): Buffer {
  return Buffer.concat([Buffer.from(digits, 'latin1'), padding]);
}

/** Each envelope is for another card and has another PIN. */
async function sealedPins(envelope: PinEnvelope, keys: Keys, nowMs: number): Promise<SealedPin[]> {
  const [key] = keys.jwe;
  if (key === undefined) throw new Error('no JWE key');
  const seal = async (digits: string, cardNo: string, cardholderNo: string, timestamp: string): Promise<string> => {
    if (envelope === 'ecb') return sealEcb(apiSecret, digits);
    if (envelope === 'bound') return sealBound(digits, timestamp, { cardNo, cardholderNo });
    const claims = { pin: digits, card_no: cardNo, iat: Math.floor(nowMs / 1_000), jti: randomUUID() };
    return sealJwe({ ...key.publicJwk, kid: key.kid }, claims);
  };
  return Promise.all(
    Array.from({ length: SUBJECTS }, async (_, i) => {
      const place = { cardNo: `BENCH${i}`, cardholderNo: 'U202605220001', timestamp: String(nowMs + i) };
      return { envelope, ...place, pin: await seal(goodPin(), place.cardNo, place.cardholderNo, place.timestamp) };
    }),
  );
}

export interface EnvelopeResult {
  envelope: PinEnvelope;
  openUs: number;
  inFlightUs: number;
  setUs: number;
}

/**
 * Measures opening an envelope (one at a time, and in flight) and all the cryptography of a PIN
 * set: opening, the PIN rule, the PAN, the salt, the reference value.
 */
export async function measureEnvelopes(keys: Keys): Promise<EnvelopeResult[]> {
  const nowMs = Date.now();
  const results: EnvelopeResult[] = [];
  const wrapped = Array.from({ length: SUBJECTS }, (_, i) =>
    keys.pan.wrap(Buffer.from(sandboxPan(1_000 + i)), panIdentity(`BENCH${i}`)),
  );
  for (const envelope of PIN_ENVELOPES) {
    const sealed = await sealedPins(envelope, keys, nowMs);
    const open = async (i: number): Promise<{ block: Buffer; cardNo: string; at: number }> => {
      const at = i % SUBJECTS;
      const one = sealed[at] as SealedPin;
      const { block, formFault } = await openPinEnvelope(apiSecret, keys.jwe, one, nowMs);
      if (formFault !== 0) throw new Error(`the ${envelope} envelope did not open`);
      return { block, cardNo: one.cardNo, at };
    };
    const openOnly: Operation = async (i) => void (await open(i));
    const set: Operation = async (i) => {
      const { block, cardNo, at } = await open(i);
      if (!isAcceptablePin(block, 'arithmetic')) throw new Error('a good PIN was refused');
      const pan = keys.pan.unwrap(wrapped[at] as Buffer, panIdentity(cardNo));
      await pinReferenceValue(keys.pinVerify, keys.pinVerify.version, {
        merchantId: MERCHANT_ID,
        cardNo,
        pan,
        salt: randomBytesPooled(BLOCK_BYTES), // the same generator as in setPin
        pin: block.subarray(0, PIN_DIGITS),
      });
    };
    const amount = envelope === 'jwe' ? 6_000 : 60_000;
    results.push({
      envelope,
      openUs: await medianUs(openOnly, amount),
      inFlightUs: await usInFlight(openOnly, amount, IN_FLIGHT),
      setUs: await medianUs(set, amount),
    });
  }
  return results;
}

/**
 * Operations per second, one at a time and in flight. One operation computes a PIN reference value
 * and compares it with the stored one.
 */
export async function measurePrv(keys: Keys, amount: number): Promise<{ lone: number; inFlight: number }> {
  const { pinVerify } = keys;
  const subjects = Array.from({ length: SUBJECTS }, (_, i) => ({
    merchantId: MERCHANT_ID,
    cardNo: `BENCH${i}`,
    pan: Buffer.from(sandboxPan(1_000 + i)),
    salt: randomBytes(BLOCK_BYTES),
    pin: Buffer.from(goodPin()),
  }));
  const prvOf = (i: number): Promise<Buffer> =>
    pinReferenceValue(pinVerify, pinVerify.version, subjects[i % SUBJECTS] as (typeof subjects)[number]);
  const stored: Buffer[] = [];
  for (let i = 0; i < SUBJECTS; i++) stored.push(await prvOf(i));
  const check: Operation = async (i) => {
    if (!timingSafeEqual(await prvOf(i), stored[i % SUBJECTS] as Buffer))
      throw new Error('a reference value differs from the stored one');
  };
  await usInFlight(check, amount / 2, IN_FLIGHT);
  return {
    lone: 1e6 / (await usInFlight(check, amount, 1)),
    inFlight: 1e6 / (await usInFlight(check, amount, IN_FLIGHT)),
  };
}

const CLASSES = ['padding fault', 'digit fault', 'refused PIN'] as const;
type FaultClass = (typeof CLASSES)[number];
/** Calls per sample. One call alone takes hardly longer than reading the clock. */
const BATCH = 16;
/**
 * Samples above this quantile are cut. A garbage collection or another process made them slow, so
 * they say nothing about the class.
 */
const CROP_AT = 0.95;

function faultyEnvelope(fault: FaultClass, key: KeyObject): string {
  const good = goodPin();
  const at = randomInt(PIN_DIGITS);
  const run = randomInt(8);
  const clear = {
    'padding fault': () => paddedBlock(good, randomBytes(BLOCK_BYTES - PIN_DIGITS)),
    'digit fault': () =>
      paddedBlock(`${good.slice(0, at)}${String.fromCharCode(0x41 + randomInt(26))}${good.slice(at + 1)}`),
    'refused PIN': () => paddedBlock(`${run}${run + 1}${run + 2}${good.slice(3)}`),
  }[fault]();
  const cipher = createCipheriv('aes-256-ecb', key, null).setAutoPadding(false);
  return Buffer.concat([cipher.update(clear), cipher.final()]).toString('base64');
}

export interface TimingResult {
  pair: string;
  samples: number;
  t: number;
  croppedT: number;
}

/** Welch's t for the times of each pair of refusals. The samples are taken in random order. */
export async function measureTiming(batches: number): Promise<TimingResult[]> {
  const envelopes = CLASSES.map((fault) => Array.from({ length: SUBJECTS }, () => faultyEnvelope(fault, apiSecret)));
  const times: number[][] = CLASSES.map(() => []);
  const warmUp = batches / 10;
  for (let batch = -warmUp; batch < batches; batch++) {
    const chosen = randomInt(CLASSES.length);
    const first = randomInt(SUBJECTS);
    const sealed = Array.from({ length: BATCH }, (_, i) => ({
      envelope: 'ecb' as const,
      pin: envelopes[chosen]?.[(first + i) % SUBJECTS] as string,
      cardNo: 'BENCH0',
      cardholderNo: 'U202605220001',
      timestamp: '0',
    }));
    let accepted = 0;
    const from = process.hrtime.bigint();
    for (const one of sealed) {
      const { block } = await openPinEnvelope(apiSecret, [], one, 0);
      if (isAcceptablePin(block, 'arithmetic')) accepted++;
    }
    const tookNs = Number(process.hrtime.bigint() - from);
    if (accepted > 0) throw new Error(`a ${CLASSES[chosen]} was accepted`);
    if (batch >= 0) times[chosen]?.push(tookNs);
  }
  const crop = quantile(times.flat(), CROP_AT);
  const pairs = [
    [0, 1],
    [0, 2],
    [1, 2],
  ] as const;
  return pairs.map(([one, other]) => {
    const [a, b] = [times[one] ?? [], times[other] ?? []];
    const below = (values: number[]): number[] => values.filter((value) => value <= crop);
    return {
      pair: `${CLASSES[one]} / ${CLASSES[other]}`,
      samples: a.length + b.length,
      t: welch(a, b),
      croppedT: welch(below(a), below(b)),
    };
  });
}

function welch(a: number[], b: number[]): number {
  const of = (values: number[]): { mean: number; error: number } => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
    return { mean, error: variance / values.length };
  };
  const [x, y] = [of(a), of(b)];
  return (x.mean - y.mean) / Math.sqrt(x.error + y.error);
}
