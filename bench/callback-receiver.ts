/**
 * A merchant's server that accepts every callback. It is a separate process, because in the load
 * generator's process it would slow the load. Prints its URL.
 *
 *   node --import tsx bench/callback-receiver.ts
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  request.resume().on('end', () => response.writeHead(200, { 'Content-Type': 'application/json' }).end('{"code":0}'));
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`));
