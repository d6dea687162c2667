import { decideVerification, type Verdict } from '../cardholders/decide-verification.ts';
import { listPendingCardholders, type PendingCardholder, shareTokenIdentity } from '../cardholders/store.ts';
import { listPendingApplications, type PendingApplication } from '../cards/application-store.ts';
import { failCard } from '../cards/fail-card.ts';
import { issueCard } from '../cards/issue-card.ts';
import { ApiError } from '../errors.ts';
import { runEvery } from '../run-every.ts';
import type { Services } from '../services.ts';
import { verdictOfToken } from './verdict-of-token.ts';

/*
 * The sandbox has no issuer and no verifier, so it plays them: after a delay it decides on what was applied for, by the same use-cases as the
 * issuer's API. What is to come of it, the developer says at the beginning of the share token (`approve-`, `reject-`, `pending-`) and of the
 * card's unique number (`fail-`, `pending-`; anything else is issued). What is pending waits for the developer to play the issuer.
 */

const EVERY_MS = 200;
const AT_ONCE = 100;

/** Plays until it is stopped. A fault is logged and tried again at the next turn. */
export function playIssuer(services: Services): { stop(): Promise<void> } {
  return runEvery(EVERY_MS, () =>
    playTurn(services).catch((err: unknown) => services.log.error({ err }, 'the sandbox could not play the issuer')),
  );
}

/** Decides on everything whose time has come. */
export async function playTurn(services: Services): Promise<void> {
  const { db, clock, config } = services;
  for (let after: string | undefined; ; ) {
    const cardholders = await listPendingCardholders(db, undefined, after, AT_ONCE);
    for (const one of cardholders) await unlessDecided(services, playVerifier(services, one));
    after = cardholders.at(-1)?.cardholderNo;
    if (cardholders.length < AT_ONCE) break;
  }
  const untilMs = clock() - config.sandboxDelays.issueMs;
  for (let after: string | undefined; ; ) {
    const applications = await listPendingApplications(db, undefined, { after, untilMs, size: AT_ONCE });
    for (const one of applications) await unlessDecided(services, playCardSystem(services, one));
    after = applications.at(-1)?.cardNo;
    if (applications.length < AT_ONCE) break;
  }
}

async function playVerifier(services: Services, one: PendingCardholder): Promise<void> {
  const { keys, clock, config } = services;
  const { cardholderNo, merchantId, status, submittedAtMs } = one;
  const word = verdictOfToken(keys.pan.unwrap(one.shareTokenWrapped, shareTokenIdentity(cardholderNo)).toString('utf8'));
  const age = clock() - submittedAtMs;
  const { verificationMs } = config.sandboxDelays;
  const verdict = {
    cardholderNo,
    submittedAtMs,
    reason: undefined,
    email: undefined,
    personal: { birthDate: undefined, phone: undefined },
  };
  const decide = (more: Partial<Verdict> & Pick<Verdict, 'status'>) =>
    decideVerification(services, [merchantId], { ...verdict, ...more }, 'sandbox');
  if (word === 'pending' || age < verificationMs / 2) return;
  if (age < verificationMs) return status === 'Pending' ? decide({ status: 'In_progress' }) : undefined;
  if (word === 'reject') return decide({ status: 'Rejected', reason: 'The sandbox rejects what begins with reject-' });
  return decide({ status: 'Approved', email: `${cardholderNo.toLowerCase()}@example.com` });
}

async function playCardSystem(services: Services, { cardNo, cardUniqueNo, issuerId, merchantId }: PendingApplication): Promise<void> {
  const scope = { issuerId, merchantIds: [merchantId] };
  if (cardUniqueNo.startsWith('pending-')) return;
  if (cardUniqueNo.startsWith('fail-'))
    return failCard(services, scope, { cardNo, reason: 'The sandbox refuses what begins with fail-' }, 'sandbox');
  await issueCard(services, scope, { cardNo, pan: undefined, expiry: undefined }, 'sandbox');
}

/** Another process, or the developer, may have been faster. Any other fault is this one's alone: those behind it are decided on all the same. */
async function unlessDecided({ log }: Services, deciding: Promise<void>): Promise<void> {
  try {
    await deciding;
  } catch (err) {
    if (!(err instanceof ApiError)) log.error({ err }, 'the sandbox could not decide on an application');
  }
}
