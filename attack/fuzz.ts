import { connect } from 'node:net';
import { ISSUER } from '../server/src/sandbox/world.ts';
import { remoteMerchant } from '../server/test/support/calls.ts';
import * as sandboxNames from '../server/test/support/sandbox.ts';
import { alterBytes, type Operation, operationsOf, valueFor } from './generate.ts';
import { type Attack, createClient, createRandom, type HttpAnswer, type Random, startSandbox } from './sandbox.ts';

const AT_ONCE = 32;
/** One request in so many is altered byte by byte and written to a raw connection. */
const RAW_EVERY = 10;
const RAW_LIMIT_MS = 400;
/** A token is fetched again after so many requests, since Timestamp grows old. */
const HEADERS_LAST = 500;

/** Numbers and keys of the sandbox, and PINs that are enciphered well. */
const KNOWN: string[] = [
  ...Object.values(sandboxNames).flatMap((value) => (typeof value === 'string' ? [value] : [])),
  ...Object.values(sandboxNames).flatMap((value) => (typeof value === 'object' ? Object.values(value) : [])),
  sandboxNames.seal('142536'),
  sandboxNames.seal('111111'),
  ...['2026-05-01', '2026-06-01', '1990-01-01', 'US', '94105', '1', '4155552671', 'a@example.com', 'approve-1'],
];

interface Given {
  method: string;
  target: string;
  headers: Record<string, string>;
  body: string | undefined;
}

export const fuzz: Attack = {
  name: 'fuzz',
  promise: 'generated and altered requests get no 5xx (but 503 with 1009), no 1001, and no process dies',
  async run(scope, { requests, seed }) {
    const { servers } = await startSandbox(scope, 1);
    const server = servers[0]!;
    const random = createRandom(seed);
    const send = createClient(scope, AT_ONCE);
    const issuerHeaders = { Authorization: `Bearer ${ISSUER.secret}`, 'Content-Type': 'application/json' };
    const operations = [
      ...(await documented(`${server.url}/openapi.json`)),
      ...(await documented(`${server.url}/issuer/openapi.json`, issuerHeaders)),
    ];
    const merchant = remoteMerchant(server.url);
    let merchantHeaders = await merchant.headers();
    const faults: string[] = [];
    const codes = new Map<string, number>();
    let ended = false;
    void server.ended.then(() => {
      ended = true;
    });
    let begun = 0;
    const worker = async (): Promise<void> => {
      while (begun < requests && faults.length === 0) {
        if (++begun % HEADERS_LAST === 0) merchantHeaders = await merchant.headers();
        const raw = begun % RAW_EVERY === 0;
        const operation = random.pick(operations);
        const own = operation.path.startsWith('/issuer/') ? issuerHeaders : merchantHeaders;
        const given = requestFor(operation, own, random);
        const altered = alterBytes(bytesOf(given), random);
        const answer = await (raw ? sendRaw(server.url, altered) : sendGiven(send, server.url, given)).catch(
          (error: Error) => error.message,
        );
        const fault = ended ? 'the process ended' : faultOf(answer, raw);
        const key = typeof answer === 'string' ? 'no answer' : `${answer.status} ${answer.code ?? '-'}`;
        codes.set(key, (codes.get(key) ?? 0) + 1);
        if (fault !== undefined)
          faults.push(`${fault}: ${raw ? JSON.stringify(altered.toString('latin1')) : JSON.stringify(given)}`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    const errors = server.log().filter(({ level }) => (level as number) >= 50);
    if (errors.length > 0) faults.push(`the log has an error: ${JSON.stringify(errors[0])}`);
    const most = [...codes].sort((a, b) => b[1] - a[1]).slice(0, 8);
    const found = `${begun} requests, ${codes.size} kinds of answers: ${most.map(([key, n]) => `${n} × ${key}`).join(', ')}`;
    return { held: faults.length === 0, found: faults[0] ?? found };
  },
};

async function documented(url: string, headers: Record<string, string> = {}): Promise<Operation[]> {
  const response = await fetch(url, { headers });
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  return operationsOf((await response.json()) as Parameters<typeof operationsOf>[0]);
}

function requestFor(operation: Operation, own: Record<string, string>, random: Random): Given {
  const headers: Record<string, string> = { ...own };
  let path = operation.path;
  const query = new URLSearchParams();
  for (const { in: place, name, schema } of operation.parameters) {
    if (place === 'header' && (name in headers ? random.below(40) > 0 : random.below(3) > 0)) continue;
    const value = valueFor(schema, random, KNOWN);
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    if (place === 'path') path = path.replace(`{${name}}`, encodeText(text));
    else if (place === 'query') query.append(name, text);
    else headers[name] = text.replaceAll(/[^\x20-\x7e]/g, '?');
  }
  const body = operation.body === undefined ? undefined : JSON.stringify(valueFor(operation.body, random, KNOWN));
  if (body === undefined) delete headers['Content-Type'];
  const method =
    random.below(60) === 0 ? random.pick(['GET', 'POST', 'PUT', 'PATCH', 'OPTIONS', 'HEAD']) : operation.method;
  return { method, target: query.size > 0 ? `${path}?${query}` : path, headers, body };
}

/** `encodeURIComponent` refuses lone surrogates. */
function encodeText(text: string): string {
  return encodeURIComponent(text.replaceAll(/[\ud800-\udfff]/g, '?')) || '%20';
}

function sendGiven(send: ReturnType<typeof createClient>, url: string, given: Given): Promise<HttpAnswer> {
  return send(`${url}${given.target}`, given.method, given.headers, given.body);
}

function bytesOf({ method, target, headers, body = '' }: Given): Buffer {
  const all = {
    Host: 'localhost',
    ...headers,
    ...(body !== '' && { 'Content-Length': String(Buffer.byteLength(body)) }),
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
}

type RawAnswer = Pick<HttpAnswer, 'status' | 'code'>;

/** Writes bytes and reads what comes, for a short time. Altered bytes may be half a request. */
function sendRaw(url: string, bytes: Buffer): Promise<RawAnswer | string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.end(bytes));
    socket.setTimeout(RAW_LIMIT_MS, () => socket.destroy());
    socket.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      const [, status] = /^HTTP\/1\.1 (\d{3})/.exec(text) ?? [];
      const [, code] = /"code":(\d+)/.exec(text) ?? [];
      resolve(
        status === undefined
          ? 'no answer'
          : { status: Number(status), code: code === undefined ? undefined : Number(code) },
      );
    });
  });
}

function faultOf(answer: RawAnswer | string, raw: boolean): string | undefined {
  if (typeof answer === 'string') return raw ? undefined : answer;
  const { status, code } = answer;
  if (code === 1001) return 'answered 1001';
  if (status >= 500 && !(status === 503 && code === 1009)) return `answered HTTP ${status}`;
  return undefined;
}
