import { errorText } from '@pinward/contract/errors';
import type { Static } from 'typebox';
import Value from 'typebox/value';
import { ImportedCardBody, importedCardOf } from '../api/imported-card.ts';
import { ApiError } from '../api-error.ts';
import type { IssuerScope } from '../audit/actor.ts';
import { importCard } from '../cards/import-card.ts';
import { analyzeCards } from '../cards/store.ts';
import { findIssuerScope } from '../issuers/store.ts';
import { findMerchantId } from '../merchants/store.ts';
import { OperatorError } from '../operator-error.ts';
import { decodeUtf8, findIllFormed } from '../text.ts';
import { type Line, openInput, readLines } from './input.ts';
import { type OperatorPlatform, print } from './output.ts';

/** Lines that are imported at the same time. Their commits share the disk's syncs. */
const CONCURRENCY = 8;
/** A card takes less than 1 kB. A file without newlines must not fill the memory. */
const LINE_LIMIT_BYTES = 64 * 1024;
const REPORT_EVERY_MS = 2_000;
/** Tables are analyzed after this many lines, and then after four times as many each time. */
const FIRST_ANALYZE_LINE = 500;

interface Counts {
  added: number;
  existing: number;
  refused: number;
}

/**
 * Imports cards from a file of JSON lines, or from standard input (`-`). A line that is
 * refused is reported by its number, and the others go on. Each line has a transaction of its
 * own, and a card that exists already is skipped: a run that was killed can run again.
 * Throws an OperatorError at the end if a line was refused.
 */
export async function importCards(platform: OperatorPlatform, file: string, issuerNo: string): Promise<void> {
  const { db } = platform;
  const issuer = await findIssuerScope(db, issuerNo);
  if (issuer === undefined) throw new OperatorError(`there is no issuer ${issuerNo}`);
  const counts: Counts = { added: 0, existing: 0, refused: 0 };
  const importLine = createLineImport(platform, issuer, counts);
  const report = createReport(counts);

  let analyzeLine = FIRST_ANALYZE_LINE;
  let fault: unknown;
  const running = new Set<Promise<void>>();
  for await (const line of readLines(await openInput(file), LINE_LIMIT_BYTES)) {
    if (fault !== undefined) break;
    if (line.number === analyzeLine) {
      await analyzeCards(db);
      analyzeLine *= 4;
    }
    const task = importLine(line)
      .catch((error: unknown) => {
        fault ??= error;
      })
      .finally(() => running.delete(task));
    running.add(task);
    if (running.size >= CONCURRENCY) await Promise.race(running);
    report(line.number);
  }
  await Promise.all(running);
  if (fault !== undefined) throw fault;

  const { added, existing, refused } = counts;
  print(`${added} cards added, ${existing} were there already, ${refused} lines refused`);
  if (refused > 0)
    throw new OperatorError('some lines were refused: correct them and run the file again; the added cards stay');
}

/** Imports one line and counts it. Reports a refused line; throws any other fault. */
function createLineImport(
  { db, keys, now }: OperatorPlatform,
  { issuerId, merchantIds }: IssuerScope,
  counts: Counts,
): (line: Line) => Promise<void> {
  const merchants = new Map<string, number | undefined>();
  const merchantIdOf = async (merchantNo: string): Promise<number> => {
    if (!merchants.has(merchantNo)) merchants.set(merchantNo, await findMerchantId(db, merchantNo));
    const merchantId = merchants.get(merchantNo);
    if (merchantId === undefined || !merchantIds.includes(merchantId))
      throw new BadLine('merchant_no is not a merchant of the issuer');
    return merchantId;
  };

  return async ({ number, bytes }) => {
    if (bytes !== undefined && isBlank(bytes)) return;
    try {
      const body = readLine(bytes);
      const owner = { issuerId, merchantId: await merchantIdOf(body.merchant_no) };
      const { added } = await importCard({ db, keys, clock: now }, owner, importedCardOf(body), 'operator');
      counts[added ? 'added' : 'existing']++;
    } catch (error) {
      if (!(error instanceof BadLine || error instanceof ApiError)) throw error;
      counts.refused++;
      const text = error instanceof BadLine ? error.message : errorText(error.error, 'en_US', error.detail);
      print(`line ${number}: ${text}`);
    }
  };
}

class BadLine extends Error {}

/** Whether a line is empty, or has blanks, carriage returns or a byte order mark alone. */
function isBlank(bytes: Buffer): boolean {
  return bytes.length < 100 && bytes.toString('utf8').trim() === '';
}

/** Lines hold PANs: a fault names the member and never repeats its value. */
function readLine(bytes: Buffer | undefined): Static<typeof ImportedCardBody> {
  if (bytes === undefined) throw new BadLine(`it is longer than ${LINE_LIMIT_BYTES / 1024} kB`);
  const text = decodeUtf8(bytes);
  if (text === undefined) throw new BadLine('it is not text in UTF-8');
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new BadLine('it is not JSON');
  }
  const illFormed = findIllFormed(text, body);
  if (illFormed !== undefined) throw new BadLine(`${illFormed || 'it'} invalid parameter`);
  if (Value.Check(ImportedCardBody, body)) return body;
  const [fault] = Value.Errors(ImportedCardBody, body);
  const missing = (fault?.params as { requiredProperties?: string[] } | undefined)?.requiredProperties?.[0];
  throw new BadLine(`${(missing ?? fault?.instancePath.slice(1)) || 'it'} invalid parameter`);
}

/** Writes the progress to standard error every REPORT_EVERY_MS. */
function createReport(counts: Counts): (lines: number) => void {
  const startedAtMs = performance.now();
  let reportedAtMs = startedAtMs;
  return (lines) => {
    const nowMs = performance.now();
    if (nowMs - reportedAtMs < REPORT_EVERY_MS) return;
    reportedAtMs = nowMs;
    const perSecond = Math.round(lines / ((nowMs - startedAtMs) / 1000));
    process.stderr.write(`${lines} lines, ${counts.added} added, ${counts.refused} refused, ${perSecond} a second\n`);
  };
}
