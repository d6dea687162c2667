import { ApiError } from '../api-error.ts';
import { decideVerification, type Verdict } from '../cardholders/decide-verification.ts';
import { unwrapShareToken } from '../cardholders/share-token.ts';
import { listPendingCardholders, type PendingCardholder } from '../cardholders/store.ts';
import { listPendingApplications, type PendingApplication } from '../cards/application-store.ts';
import { failCard } from '../cards/fail-card.ts';
import { issueCard } from '../cards/issue-card.ts';
import { runEvery } from '../run-every.ts';
import type { Services } from '../services.ts';
import { simulatedVerdict } from './simulated-verifier.ts';

/*
 * The sandbox has no issuer and no verifier, so it simulates both: after a delay it decides
 * on applications, by the same use-cases as the issuer's API. The developer chooses the
 * outcome by the beginning of the share token (`approve-`, `reject-`, `pending-`) and of the
 * card's unique number (`fail-`, `pending-`; all others are issued). `pending-` leaves the
 * decision to the developer, who makes it through the issuer's API.
 */

const EVERY_MS = 200;
const PAGE_SIZE = 100;

/** Decides on applications until it is stopped. After a fault the next turn tries again. */
export function simulateIssuer(services: Services): { stop(): Promise<void> } {
  return runEvery(EVERY_MS, () =>
    simulateTurn(services).catch((err: unknown) =>
      services.log.error({ err }, 'the sandbox could not play the issuer'),
    ),
  );
}

/** Decides on every application that is due. */
export async function simulateTurn(services: Services): Promise<void> {
  const { db, clock, config } = services;
  for (let after: string | undefined; ; ) {
    const cardholders = await listPendingCardholders(db, undefined, after, PAGE_SIZE);
    for (const cardholder of cardholders) await ignoreRefusal(services, verify(services, cardholder));
    after = cardholders.at(-1)?.cardholderNo;
    if (cardholders.length < PAGE_SIZE) break;
  }
  const untilMs = clock() - config.sandboxDelays.issueMs;
  for (let after: string | undefined; ; ) {
    const applications = await listPendingApplications(db, undefined, { after, untilMs, size: PAGE_SIZE });
    for (const application of applications) await ignoreRefusal(services, issue(services, application));
    after = applications.at(-1)?.cardNo;
    if (applications.length < PAGE_SIZE) break;
  }
}

/** The verifier: `In_progress` after half of the delay, the verdict after all of it. */
async function verify(services: Services, cardholder: PendingCardholder): Promise<void> {
  const { keys, clock, config } = services;
  const { cardholderNo, merchantId, status, submittedAtMs } = cardholder;
  const outcome = simulatedVerdict(unwrapShareToken(keys, cardholderNo, cardholder.shareTokenWrapped));
  const ageMs = clock() - submittedAtMs;
  const { verificationMs } = config.sandboxDelays;
  if (outcome === 'pending' || ageMs < verificationMs / 2) return;
  const decide = (verdict: Pick<Verdict, 'status'> & Partial<Verdict>): Promise<void> => {
    const base = { cardholderNo, submittedAtMs, reason: undefined, email: undefined };
    const personal = { birthDate: undefined, phone: undefined };
    return decideVerification(services, [merchantId], { ...base, personal, ...verdict }, 'sandbox');
  };
  if (ageMs < verificationMs) return status === 'Pending' ? decide({ status: 'In_progress' }) : undefined;
  if (outcome === 'reject')
    return decide({ status: 'Rejected', reason: 'The sandbox rejects share tokens that begin with reject-' });
  return decide({ status: 'Approved', email: `${cardholderNo.toLowerCase()}@example.com` });
}

/** The issuer's card system. */
async function issue(services: Services, application: PendingApplication): Promise<void> {
  const { cardNo, cardUniqueNo, issuerId, merchantId } = application;
  const scope = { issuerId, merchantIds: [merchantId] };
  if (cardUniqueNo.startsWith('pending-')) return;
  if (cardUniqueNo.startsWith('fail-')) {
    const reason = 'The sandbox refuses cards whose unique number begins with fail-';
    return failCard(services, scope, { cardNo, reason }, 'sandbox');
  }
  await issueCard(services, scope, { cardNo, pan: undefined, expiry: undefined }, 'sandbox');
}

/**
 * Waits for a decision. A refusal means that another process or the developer decided first.
 * Any other fault is logged, so that the applications behind this one are decided on too.
 */
async function ignoreRefusal({ log }: Services, deciding: Promise<void>): Promise<void> {
  try {
    await deciding;
  } catch (err) {
    if (!(err instanceof ApiError)) log.error({ err }, 'the sandbox could not decide on an application');
  }
}
