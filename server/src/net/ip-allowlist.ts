import { BlockList, isIP, SocketAddress } from 'node:net';
import { OperatorError } from '../operator-error.ts';

/**
 * The address in its one form: without its zone, IPv6 in the form of RFC 5952, and without mapping:
 * `::ffff:192.0.2.1` becomes 192.0.2.1. A socket that listens on both families gives the mapped
 * form for an IPv4 caller.
 */
export function plainAddress(address: string): string {
  const [unzoned = ''] = address.split('%');
  if (isIP(unzoned) !== 6) return unzoned;
  const plain = new SocketAddress({ address: unzoned, family: 'ipv6' }).address;
  return /^::ffff:\d+\.\d+\.\d+\.\d+$/.test(plain) ? plain.slice('::ffff:'.length) : plain;
}

/** Whether a text may be on an allowlist: an address or a CIDR block, IPv4 or IPv6. */
function isAllowlistEntry(entry: string): boolean {
  const [address = '', prefix, ...rest] = entry.split('/');
  const family = isIP(address);
  if (family === 0 || rest.length > 0 || address.includes('%') || isMapped(address)) return false;
  return prefix === undefined || (/^(0|[1-9]\d{0,2})$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128));
}

/** Throws an OperatorError unless all entries may be on an allowlist. */
export function requireAllowlistEntries(entries: string[]): void {
  const fault = entries.find((entry) => !isAllowlistEntry(entry));
  if (fault !== undefined) throw new OperatorError(`${fault} is neither an IP address nor a CIDR block`);
}

function isMapped(address: string): boolean {
  return isIP(plainAddress(address)) !== isIP(address);
}

const CACHE_LIMIT = 1_000;

/** Caches the result for each address, since a merchant calls many times from few addresses. */
function cached<T extends string | boolean>(judge: (address: string) => T): (address: string) => T {
  const results = new Map<string, T>();
  return (address) => {
    const known = results.get(address);
    if (known !== undefined) return known;
    const result = judge(address);
    if (results.size >= CACHE_LIMIT) results.clear();
    results.set(address, result);
    return result;
  };
}

/** Returns a function that tells whether an address is on the list. */
export function createAllowlist(entries: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const entry of entries) {
    const [address = '', prefix] = entry.split('/');
    const family = isIP(address) === 4 ? 'ipv4' : 'ipv6';
    list.addSubnet(address, prefix === undefined ? (family === 'ipv4' ? 32 : 128) : Number(prefix), family);
  }
  return cached((given) => {
    const address = plainAddress(given);
    const family = isIP(address);
    return family !== 0 && list.check(address, family === 4 ? 'ipv4' : 'ipv6');
  });
}

/**
 * The key under which failed authentications of an address are counted: the IPv4 address itself,
 * or the /64 of an IPv6 address, since one IPv6 customer has a whole /64.
 */
export const addressGroup = cached(groupOf);

function groupOf(given: string): string {
  const address = plainAddress(given);
  if (isIP(address) !== 6) return address;
  const [head = '', tail] = address.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0');
  const groups = tail === undefined ? left : [...left, ...zeros, ...right];
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}
