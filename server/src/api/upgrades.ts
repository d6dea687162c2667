import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';

/** Hop-by-hop headers that only serve an upgrade (RFC 9110, 7.8; RFC 7540, 3.2). */
const UPGRADE_HEADERS: ReadonlySet<string> = new Set(['upgrade', 'http2-settings']);

/**
 * Fastify passes the upgrades of a second server (a host name with several addresses) on to the
 * first one.
 */
const taken = new WeakSet<IncomingMessage>();

/**
 * Makes the server ignore `Upgrade`, as RFC 9110, 7.8 asks of one that does not take it. Java's
 * HTTP client sends `Upgrade: h2c` by default. Node's parser stops after such a request and loses
 * what follows it in the same read. So the request is put back in front of the connection's bytes,
 * without those headers, and read again by a new parser. `afterAnswers` makes that wait for the
 * requests before it: the old parser's answers go first.
 */
export function ignoreUpgrades(server: Server, afterAnswers: (socket: Socket, work: () => void) => void): void {
  server.on('upgrade', (request: IncomingMessage, socket: Socket, rest: Buffer) => {
    if (taken.has(request)) return;
    taken.add(request);
    const head = [`${request.method} ${request.url} HTTP/${request.httpVersion}`, ...headersWithoutUpgrade(request)];
    afterAnswers(socket, () => {
      socket.unshift(Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), rest]));
      server.emit('connection', socket);
      socket.resume();
    });
  });
}

function headersWithoutUpgrade({ rawHeaders }: IncomingMessage): string[] {
  const lines: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    const value = rawHeaders[i + 1] as string;
    const lowerName = name.toLowerCase();
    if (UPGRADE_HEADERS.has(lowerName)) continue;
    lines.push(`${name}: ${lowerName === 'connection' ? keptOptions(value) : value}`);
  }
  return lines;
}

function keptOptions(connection: string): string {
  const options = connection.split(',').map((option) => option.trim());
  const kept = options.filter((option) => !UPGRADE_HEADERS.has(option.toLowerCase()));
  return kept.join(', ') || 'keep-alive';
}
