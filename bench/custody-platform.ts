/**
 * The part of bench/custody.ts that needs a running platform: verification, and the health check
 * during a load of PIN sets.
 */
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type autocannon from 'autocannon';
import { encipherPinBlock } from '../server/src/crypto/pin-block.ts';
import { ISSUER, sandboxPan } from '../server/src/sandbox/world.ts';
import { SANDBOX_ZPK } from '../server/test/support/issuer.ts';
import { quantile } from './custody-crypto.ts';
import { EACH, load, type RunningPlatform, setPins, usedCards } from './serve.ts';

const WARM_UP_SECONDS = 2;
/** The PIN that bench/cards.ts sets. */
const PIN = Buffer.from('142536');

function verifyRequest(index: number): autocannon.Request {
  const pinBlock = encipherPinBlock(SANDBOX_ZPK, 4, PIN, Buffer.from(sandboxPan(1_000 + index))).toString('hex');
  return {
    method: 'POST',
    path: '/issuer/v1/pin/verify',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${ISSUER.secret}` },
    body: JSON.stringify({ card_no: usedCards[index], pin_block: pinBlock, format: 4, zone_key: 'sandbox_zpk' }),
  };
}

/** Verifies PIN blocks that match. First sets the PIN of every card. */
export async function measureVerify(
  { url }: RunningPlatform,
  seconds: number,
): Promise<{ perSecond: number; p99: number }> {
  await setPins(url, { amount: usedCards.length });
  const run = (duration: number) =>
    load({ url, requestOf: verifyRequest, expected: '"result":"match"', until: { duration }, ...EACH });
  await run(WARM_UP_SECONDS);
  const { requests, latency } = await run(seconds);
  return { perSecond: requests.average, p99: latency.p99 };
}

/**
 * The p99 of /healthz in milliseconds. `loaded`: PINs are set on all connections at the same time;
 * otherwise the platform is idle.
 */
export async function measureHealth(
  { url }: RunningPlatform,
  seconds: number,
  loaded: boolean,
): Promise<{ p99: number; sets: number }> {
  if (!loaded) return { p99: await probe(url, seconds), sets: 0 };
  await setPins(url, { duration: WARM_UP_SECONDS });
  // The load starts before the probe and ends after it.
  const sets = setPins(url, { duration: seconds + 2 * WARM_UP_SECONDS });
  const [{ requests }, p99] = await Promise.all([sets, sleep(WARM_UP_SECONDS * 500).then(() => probe(url, seconds))]);
  return { p99, sets: requests.average };
}

async function probe(url: string, seconds: number): Promise<number> {
  const command = ['--import', 'tsx', 'bench/health-probe.ts', url, String(seconds)];
  const { stdout } = await promisify(execFile)(process.execPath, command, { maxBuffer: 2 ** 26 });
  return quantile(JSON.parse(stdout) as number[], 0.99);
}
