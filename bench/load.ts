/**
 * Puts load on a server: by wrk where it is installed, else by autocannon, which takes two to four
 * times wrk's CPU. Connections walk through the requests, each thread through a part of its own.
 */
import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import autocannon from 'autocannon';

export interface Request {
  path: string;
  headers: Record<string, string>;
  body: string;
}

export interface Load {
  url: string;
  /** POST requests. Their Timestamp header is written anew when it grows old. */
  requests: Request[];
  connections: number;
  seconds: number;
}

export interface LoadResult {
  perSecond: number;
  /** Answers with HTTP 2xx. */
  answers: number;
  p50Ms: number;
  p99Ms: number;
}

export const GENERATOR = spawnSync('wrk', ['--version']).error === undefined ? 'wrk' : 'autocannon';

/** Throws if one answer is not HTTP 2xx, or a connection fails. */
export function load(what: Load, scratch: string): Promise<LoadResult> {
  return GENERATOR === 'wrk' ? byWrk(what, scratch) : byAutocannon(what);
}

const WRK_THREADS = 2;

/**
 * Requests are made once and again every 20 s, since a Timestamp may be 60 s old and wrk's Lua is
 * not free.
 */
function luaScript({ requests }: Load): string {
  const rows = requests.map(
    ({ path, headers, body }) =>
      `  {${quoted(path)}, {${Object.entries(headers).map(([name, value]) => `[${quoted(name)}]=${quoted(value)}`)}}, ${quoted(body)}},`,
  );
  return `local given = {
${rows.join('\n')}
}
local threads = 0
function setup(thread) thread:set("part", threads); threads = threads + 1 end
local made, madeAt, at = {}, 0, 0
local function make()
  madeAt = os.time()
  for i, one in ipairs(given) do
    one[2]["Timestamp"] = tostring(madeAt * 1000)
    made[i] = wrk.format("POST", one[1], one[2], one[3])
  end
end
function request()
  if at % 256 == 0 and os.time() - madeAt > 20 then make() end
  if at == 0 then at = math.floor(#given / ${WRK_THREADS}) * part end
  at = at + 1
  return made[(at - 1) % #given + 1]
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
`;
}

function quoted(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

async function byWrk(what: Load, scratch: string): Promise<LoadResult> {
  const script = join(scratch, 'load.lua');
  writeFileSync(script, luaScript(what));
  const args = [
    `-t${WRK_THREADS}`,
    `-c${what.connections}`,
    `-d${what.seconds}s`,
    '--timeout',
    '10s',
    '-s',
    script,
    what.url,
  ];
  const child = spawn('wrk', args);
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  await new Promise((resolve) => child.on('close', resolve));
  const match = /RESULT (\d+) (\d+) (\d+) (\d+) (\d+)/.exec(output);
  if (match === null) throw new Error(`wrk failed: ${output}`);
  const [answers, durationUs, p50Us, p99Us, errors] = match.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  if (errors > 0) throw new Error(`${what.url}: ${errors} errors in ${answers} answers\n${output}`);
  return { perSecond: answers / (durationUs / 1e6), answers, p50Ms: p50Us / 1000, p99Ms: p99Us / 1000 };
}

async function byAutocannon({ url, requests, connections, seconds }: Load): Promise<LoadResult> {
  let connection = 0;
  const per = Math.floor(requests.length / connections);
  const result = await autocannon({
    url,
    connections,
    duration: seconds,
    setupClient: (client) => {
      const from = connection++ * per;
      const timestamp = String(Date.now());
      client.setRequests(
        requests.slice(from, from + per).map(({ headers, ...request }) => ({
          ...request,
          method: 'POST' as const,
          headers: { ...headers, Timestamp: timestamp },
        })),
      );
    },
  });
  if (result.non2xx + result.errors > 0)
    throw new Error(`${url}: ${result.non2xx} bad answers, ${result.errors} errors`);
  const { average } = result.requests;
  return { perSecond: average, answers: result['2xx'], p50Ms: result.latency.p50, p99Ms: result.latency.p99 };
}
