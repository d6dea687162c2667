/**
 * Floods a server from one address until it is killed: `flooder.ts URL KIND`. It is a process of
 * its own, so that it does not slow down those who measure.
 */
import { connect } from 'node:net';
import { setPriority } from 'node:os';
import { FLOOD_ADDRESS, type FloodKind } from './flood-kinds.ts';

const CONNECTIONS = 64;
/** Requests in one write. The next write follows when all are answered. */
const PIPELINED = 16;

// An attacker has a machine of its own: the flood must not take the CPU of those who measure.
setPriority(19);

const [url = '', kind = ''] = process.argv.slice(2);
const { port, hostname } = new URL(url);
let sent = 0;

const REQUESTS: Record<FloodKind, () => string> = {
  'Api-Keys': () => get('/open-api/v1/merchant/token', `Api-Key: guess-${sent}\r\nTimestamp: ${Date.now()}\r\n`),
  secrets: () => get('/issuer/v1/pin/C202605220001', `Authorization: Bearer guess-${sent}\r\n`),
  readyz: () => get('/readyz'),
  documents: () => get('/openapi.json'),
  unread: () => get('/docs/'),
  bodies: () =>
    `POST /open-api/v1/card/pin/set HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n${'x'.repeat(100_000)}`,
};

function get(path: string, headers = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`;
}

function flood(): void {
  const socket = connect({ port: Number(port), host: hostname, localAddress: FLOOD_ADDRESS });
  let answered = 0;
  const write = (): void => {
    let text = '';
    for (let i = 0; i < PIPELINED; i++) {
      sent++;
      text += REQUESTS[kind as FloodKind]();
    }
    socket.write(text, 'latin1');
  };
  socket.on('connect', write);
  if (kind === 'unread') socket.on('connect', () => setInterval(write, 100).unref());
  else
    socket.setEncoding('latin1').on('data', (text) => {
      answered += String(text).split('HTTP/1.1 ').length - 1;
      if (answered < PIPELINED) return;
      answered = 0;
      write();
    });
  socket.on('error', () => {});
  socket.on('close', () => setTimeout(flood, 20));
}

for (let i = 0; i < CONNECTIONS; i++) flood();
