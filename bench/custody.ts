/**
 * Measures what protects PINs: opening envelopes, PIN reference values, verification end to end,
 * whether an HSM blocks the event loop, and whether the time of a refusal reveals its reason.
 * Prints tables and writes bench/CUSTODY.md. HSM rows need SoftHSM2; without it they say "skipped".
 *
 *   npm run bench:custody
 *   BENCH_SECONDS=2 BENCH_SAMPLES=20000 npm run bench:custody     a quick look
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openHsm } from '../server/src/keys/pkcs11.ts';
import { Secret } from '../server/src/secret.ts';
import { noHsm, type SoftHsm, softHsm } from '../server/test/support/soft-hsm.ts';
import {
  type EnvelopeResult,
  IN_FLIGHT,
  makeKeys,
  measureEnvelopes,
  measurePrv,
  measureTiming,
} from './custody-crypto.ts';
import { measureHealth, measureVerify } from './custody-platform.ts';
import { machineAndDate, tableOf } from './figures.ts';
import { CONNECTIONS, type RunningPlatform, servePlatform } from './serve.ts';

const SECONDS = Number(process.env.BENCH_SECONDS ?? 8);
const SAMPLES = Number(process.env.BENCH_SAMPLES ?? 200_000);
const SET_BAR_US = 30;
const JWE_BAR_US = 500;
const SKIPPED = 'skipped';

interface Section {
  title: string;
  /** What the figures mean, for a reader who has only the result file. */
  about: string;
  rows: string[][];
}

const scratch = mkdtempSync(join(tmpdir(), 'pinward-custody-'));
chmodSync(scratch, 0o711); // run by root, PostgreSQL has its own user, who must reach the folders below
const hsm = noHsm === false ? softHsm() : undefined;

try {
  const software = await makeKeys(scratch, 'software', { kind: 'key', key: new Secret(randomBytes(32)) });
  console.log('envelopes, reference values, timing');
  const envelopes = await measureEnvelopes(software);
  const sections = [envelopeSection(envelopes), await prvSection(software), await timingSection()];
  console.log('a running platform');
  sections.splice(2, 0, ...(await platformSections()));
  report(sections, judge(envelopes));
} finally {
  hsm?.close();
  rmSync(scratch, { recursive: true, force: true });
}

function envelopeSection(results: EnvelopeResult[]): Section {
  const rows = results.map(({ envelope, openUs, inFlightUs, setUs }) => [
    envelope,
    us(openUs),
    perSecond(1e6 / openUs),
    us(inFlightUs),
    us(setUs),
  ]);
  return {
    title: 'Envelopes',
    about:
      'Time to open one envelope, on a sealed key file. "open" is the median, one at a time; "per second" is its ' +
      `inverse. With ${IN_FLIGHT} in flight it is the total time / number of operations. "whole set" is the median ` +
      'of all the cryptography of one PIN set: opening, the PIN rule, unwrapping the PAN, the salt, the reference ' +
      'value.',
    rows: [['', 'open', 'per second', `open, ${IN_FLIGHT} in flight`, 'whole set'], ...rows],
  };
}

function judge(results: EnvelopeResult[]): string[] {
  return results.map(({ envelope, setUs, inFlightUs }) => {
    const [what, value, bar] =
      envelope === 'jwe'
        ? [`open with ${IN_FLIGHT} in flight`, inFlightUs, JWE_BAR_US]
        : ['cryptography of one set', setUs, SET_BAR_US];
    return `${value < bar ? 'met   ' : 'MISSED'}  ${envelope}: ${what} ${us(value)} (bar: below ${bar} us)`;
  });
}

async function prvSection(software: Awaited<ReturnType<typeof makeKeys>>): Promise<Section> {
  const row = (name: string, { lone, inFlight }: { lone: number; inFlight: number }) => [
    name,
    perSecond(lone),
    perSecond(inFlight),
  ];
  const rows = [row('sealed key file', await measurePrv(software, 100_000))];
  rows.push(
    hsm === undefined
      ? ['SoftHSM over PKCS#11', SKIPPED, SKIPPED]
      : row('SoftHSM over PKCS#11', await measureHsmPrv(hsm)),
  );
  return {
    title: 'PIN reference values',
    about:
      'Operations per second. Each computes a reference value and compares it with the stored one. SoftHSM is a ' +
      'software token in place of an HSM: its figures show the cost of calling PKCS#11, not the speed of an HSM.',
    rows: [['', 'one at a time', `${IN_FLIGHT} in flight`], ...rows],
  };
}

async function measureHsmPrv({ config }: SoftHsm): Promise<{ lone: number; inFlight: number }> {
  const token = await openHsm(config);
  try {
    return await measurePrv(await makeKeys(scratch, 'hsm', { kind: 'hsm', hsm: token }), 20_000);
  } finally {
    // servePlatform opens the token next, and a process can initialize a PKCS#11 module only once
    // until it closes it.
    await token.close();
  }
}

async function timingSection(): Promise<Section> {
  const results = await measureTiming(SAMPLES);
  return {
    title: 'Time of a refusal',
    about:
      "Welch's t for the time to open and check `ecb` envelopes of two classes. The samples come in random order, 16 " +
      'calls each. The last column leaves out the slowest 5 % of all classes together, because other processes and ' +
      'garbage collections made them slow. |t| < 4.5 is the usual threshold (TVLA). There is no bar for these figures.',
    rows: [
      ['', 'samples', 't', 't, slowest 5 % cut'],
      ...results.map(({ pair, samples, t, croppedT }) => [pair, String(samples), t.toFixed(2), croppedT.toFixed(2)]),
    ],
  };
}

async function platformSections(): Promise<Section[]> {
  const verify: string[][] = [];
  const health: string[][] = [];
  await withPlatform('software', {}, async (platform) => {
    const { perSecond: rate, p99 } = await measureVerify(platform, SECONDS);
    verify.push(['sealed key file', perSecond(rate), `${p99} ms`]);
    health.push(await healthRow('idle, sealed key file', platform, false));
    health.push(await healthRow('under load, sealed key file', platform, true));
  });
  if (hsm === undefined) {
    health.push(['under load, SoftHSM', SKIPPED, SKIPPED]);
  } else {
    await withPlatform('softhsm', hsm.env, async (platform) => {
      health.push(await healthRow('idle, SoftHSM', platform, false));
      health.push(await healthRow('under load, SoftHSM', platform, true));
    });
  }
  return [
    {
      title: 'Verification',
      about:
        `POST /issuer/v1/pin/verify over ${CONNECTIONS} connections for ${SECONDS} s, with matching PIN blocks of ` +
        'format 4. Every answer was checked: it is a match.',
      rows: [['', 'per second', 'p99'], ...verify],
    },
    {
      title: 'The event loop with an HSM',
      about:
        `The p99 of GET /healthz. A separate process sends these requests for ${SECONDS} s, while ${CONNECTIONS} ` +
        'connections set PINs as fast as the platform answers. If a call to the token blocked the event loop, ' +
        'this p99 would be high.',
      rows: [['', 'p99 of /healthz', 'sets per second'], ...health],
    },
  ];
}

async function withPlatform(
  name: string,
  env: Record<string, string>,
  use: (platform: RunningPlatform) => Promise<void>,
): Promise<void> {
  const platform = await servePlatform(scratch, name, env);
  await use(platform).finally(() => platform.stop());
}

async function healthRow(name: string, platform: RunningPlatform, loaded: boolean): Promise<string[]> {
  const { p99, sets } = await measureHealth(platform, SECONDS, loaded);
  return [name, `${p99.toFixed(2)} ms`, loaded ? perSecond(sets) : '-'];
}

function us(value: number): string {
  return `${value.toFixed(1)} us`;
}

function perSecond(value: number): string {
  return value.toFixed(0);
}

function report(sections: Section[], bars: string[]): void {
  const skipped = noHsm === false ? [] : [`The HSM rows were skipped: ${noHsm}.`];
  const printed = [...sections.map(({ title, rows }) => `${title}\n${tableOf(rows)}`), ...skipped, bars.join('\n')];
  console.log(`\n${printed.join('\n\n')}\n`);
  const text = [
    '# Custody',
    `${machineAndDate()}. Load generator, platform and database share the cores, so compare figures only ` +
      'within this file. Written by `npm run bench:custody`.',
    ...skipped,
    ...sections.map(({ title, about, rows }) => `## ${title}\n\n${about}\n\n${tableOf(rows)}`),
    `## Bars\n\n\`\`\`\n${bars.join('\n')}\n\`\`\``,
  ];
  writeFileSync(new URL('CUSTODY.md', import.meta.url), `${text.join('\n\n')}\n`);
}
