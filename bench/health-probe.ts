/**
 * Requests a server's /healthz again and again and prints the times in milliseconds, as JSON. It is
 * a separate process: in the load generator's process it would measure the load generator.
 *
 *   node --import tsx bench/health-probe.ts URL SECONDS
 */
import { Agent, get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const [url = '', seconds = ''] = process.argv.slice(2);
const PAUSE_MS = 2;
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

function ask(): Promise<void> {
  return new Promise((resolve, reject) => {
    get(`${url}/healthz`, { agent }, (response) => {
      if (response.statusCode !== 200) reject(new Error(`/healthz answered ${response.statusCode}`));
      response.resume().once('end', resolve);
    }).once('error', reject);
  });
}

const times: number[] = [];
for (const end = performance.now() + Number(seconds) * 1_000; performance.now() < end; await sleep(PAUSE_MS)) {
  const from = performance.now();
  await ask();
  times.push(performance.now() - from);
}
agent.destroy();
console.log(JSON.stringify(times));
