import { BlockList, isIP } from 'node:net';

/** `::ffff:192.0.2.1`, which a socket that listens on both families gives for an IPv4 caller, is 192.0.2.1. */
export function plainAddress(address: string): string {
  const [unzoned = ''] = address.split('%');
  return /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(unzoned) ? unzoned.slice('::ffff:'.length) : unzoned;
}

/** What stands on an allowlist: an address or a CIDR block, IPv4 or IPv6. */
export function isAllowlistEntry(entry: string): boolean {
  const [address = '', prefix, ...rest] = entry.split('/');
  const family = isIP(address);
  if (family === 0 || rest.length > 0 || address.includes('%') || isMapped(address)) return false;
  return prefix === undefined || (/^(0|[1-9]\d{0,2})$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128));
}

function isMapped(address: string): boolean {
  return address.toLowerCase().startsWith('::ffff:');
}

const MOST_KEPT = 1_000;

/** Keeps what was found of each address, since a merchant calls from few, and many times. */
function kept<T extends string | boolean>(find: (address: string) => T): (address: string) => T {
  const found = new Map<string, T>();
  return (address) => {
    const known = found.get(address);
    if (known !== undefined) return known;
    const value = find(address);
    if (found.size >= MOST_KEPT) found.clear();
    found.set(address, value);
    return value;
  };
}

/** Judges addresses against a list. */
export function createAllowlist(entries: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const entry of entries) {
    const [address = '', prefix] = entry.split('/');
    const family = isIP(address) === 4 ? 'ipv4' : 'ipv6';
    list.addSubnet(address, prefix === undefined ? (family === 'ipv4' ? 32 : 128) : Number(prefix), family);
  }
  return kept((given) => {
    const address = plainAddress(given);
    const family = isIP(address);
    return family !== 0 && list.check(address, family === 4 ? 'ipv4' : 'ipv6');
  });
}

/** What failed authentications are counted by: an IPv4 address, or the /64 that one IPv6 customer has for itself. */
export const addressGroup = kept(groupOf);

function groupOf(given: string): string {
  const address = plainAddress(given);
  if (isIP(address) !== 6) return address;
  const [head = '', tail] = (address.split('%')[0] ?? '').split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = tail === undefined ? left : [...left, ...Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0'), ...right];
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}
