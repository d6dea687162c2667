import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import Value from 'typebox/value';
import { importCard } from '../cards/import-card.ts';
import { ImportedCardBody, importedCardOf } from '../cards/imported-card.ts';
import { analyzeCards } from '../cards/store.ts';
import { ApiError, textOf } from '../errors.ts';
import { findIssuerScope } from '../issuer/store.ts';
import { OperatorError } from '../merchants/administer.ts';
import { findMerchantId } from '../merchants/store.ts';
import { type OperatorPlatform, print } from './output.ts';

/** Lines at once: their commits share the disk's syncs. */
const AT_ONCE = 8;
const TELL_EVERY_MS = 2_000;

interface Counts {
  added: number;
  there: number;
  bad: number;
}

/**
 * Streams the file: a line that cannot be taken is named and the others go on. Each line is a transaction of its own, and a card that is
 * there already is passed over: a run that was killed is run again, and goes on where it was.
 */
export async function importCards(platform: OperatorPlatform, file: string, issuerNo: string): Promise<void> {
  const { db } = platform;
  const issuer = await findIssuerScope(db, issuerNo);
  if (issuer === undefined) throw new OperatorError(`there is no issuer ${issuerNo}`);
  const merchants = new Map<string, number | undefined>();
  const merchantOf = async (merchantNo: string): Promise<number> => {
    if (!merchants.has(merchantNo)) merchants.set(merchantNo, await findMerchantId(db, merchantNo));
    const merchantId = merchants.get(merchantNo);
    if (merchantId === undefined || !issuer.merchantIds.includes(merchantId)) throw new BadLine('merchant_no is none of the issuer');
    return merchantId;
  };

  const counts: Counts = { added: 0, there: 0, bad: 0 };
  const startedAt = performance.now();
  let toldAt = startedAt;
  let number = 0;
  let analyzeAt = 500;
  const running = new Set<Promise<void>>();
  let fault: unknown;
  const take = async (line: string, at: number): Promise<void> => {
    try {
      const body = readLine(line);
      const services = { db, keys: platform.keys, clock: platform.now };
      const { added } = await importCard(services, issuer.issuerId, await merchantOf(body.merchant_no), importedCardOf(body), 'operator');
      counts[added ? 'added' : 'there']++;
    } catch (error) {
      if (!(error instanceof BadLine || error instanceof ApiError)) throw error;
      counts.bad++;
      print(`line ${at}: ${error instanceof ApiError ? textOf(error.error, 'en_US', error) : error.message}`);
    }
  };

  for await (const line of createInterface({ input: file === '-' ? process.stdin : createReadStream(file), crlfDelay: Infinity })) {
    if (fault !== undefined) break;
    number++;
    if (number === analyzeAt) {
      await analyzeCards(db);
      analyzeAt *= 4;
    }
    if (line.trim() === '') continue;
    const one = take(line.replace(/^\uFEFF/, ''), number)
      .catch((error: unknown) => {
        fault ??= error;
      })
      .finally(() => running.delete(one));
    running.add(one);
    if (running.size >= AT_ONCE) await Promise.race(running);
    if (performance.now() - toldAt < TELL_EVERY_MS) continue;
    toldAt = performance.now();
    const perSecond = Math.round(number / ((toldAt - startedAt) / 1000));
    process.stderr.write(`${number} lines, ${counts.added} added, ${counts.bad} refused, ${perSecond} a second\n`);
  }
  await Promise.all(running);
  if (fault !== undefined) throw fault;
  print(`${counts.added} cards added, ${counts.there} were there already, ${counts.bad} lines refused`);
  if (counts.bad > 0) throw new OperatorError('some lines were refused; mend them and run the file again: what is there stays as it is');
}

class BadLine extends Error {}

/** A line's fault is told by its member, never by what stands there: lines hold PANs. */
function readLine(line: string) {
  let body: unknown;
  try {
    body = JSON.parse(line);
  } catch {
    throw new BadLine('it is no JSON');
  }
  if (Value.Check(ImportedCardBody, body)) return body;
  const [fault] = Value.Errors(ImportedCardBody, body);
  const missing = (fault?.params as { requiredProperties?: string[] } | undefined)?.requiredProperties?.[0];
  throw new BadLine(`${missing ?? fault?.instancePath.slice(1) ?? 'it'} invalid parameter`);
}
