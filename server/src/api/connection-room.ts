import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { addressGroup } from '../net/ip-allowlist.ts';

/**
 * Keeps a server at `limit` connections. One more takes the place of the oldest one that is not
 * busy, of the address that has the most: so no address can shut the others out.
 */
export function keepRoom(server: Server, limit: number, isBusy: (socket: Socket) => boolean): void {
  /** By address, oldest first. */
  const open = new Map<string, Set<Socket>>();
  let count = 0;

  function forget(address: string, socket: Socket): void {
    const sockets = open.get(address);
    if (!sockets?.delete(socket)) return;
    count--;
    if (sockets.size === 0) open.delete(address);
  }

  function makeRoom(): boolean {
    let most: [address: string, sockets: Set<Socket>] = ['', new Set()];
    for (const one of open) if (one[1].size > most[1].size) most = one;
    const [address, sockets] = most;
    for (const socket of sockets)
      if (!isBusy(socket)) {
        forget(address, socket);
        socket.destroy();
        return true;
      }
    return false;
  }

  server.on('connection', (socket: Socket) => {
    const address = addressGroup(socket.remoteAddress ?? '');
    if (open.get(address)?.has(socket)) return; // its upgrade was ignored (upgrades.ts)
    if (count >= limit && !makeRoom()) {
      socket.destroy();
      return;
    }
    const sockets = open.get(address) ?? new Set();
    open.set(address, sockets.add(socket));
    count++;
    socket.once('close', () => forget(address, socket));
  });
}
