import { BlockList, isIP } from 'node:net';

/*
 * Where callbacks may go. A merchant chooses the address, and the request comes from inside our
 * network. Without this guard, a merchant could reach our neighbours through us (server-side
 * request forgery). The guard checks the URL when it is set and before each sending. It also
 * checks every address that the host has at the moment of connecting (callbacks/).
 */

/** IANA's registries of special-purpose addresses (RFC 6890 and its successors), and multicast. */
const SPECIAL_IPV4: [network: string, prefix: number][] = [
  ['0.0.0.0', 8], // this network
  ['10.0.0.0', 8], // private
  ['100.64.0.0', 10], // shared by carriers
  ['127.0.0.0', 8], // loopback
  ['169.254.0.0', 16], // link-local; clouds serve credentials there
  ['172.16.0.0', 12], // private
  ['192.0.0.0', 24], // protocol assignments
  ['192.0.2.0', 24], // documentation
  ['192.88.99.0', 24], // 6to4 relays, deprecated
  ['192.168.0.0', 16], // private
  ['198.18.0.0', 15], // benchmarking
  ['198.51.100.0', 24], // documentation
  ['203.0.113.0', 24], // documentation
  ['224.0.0.0', 4], // multicast
  ['240.0.0.0', 4], // reserved, broadcast
];
/**
 * Only 2000::/3 is public, except for these blocks in it. All other addresses are outside of it:
 * unique-local, link-local, site-local, mapped, NAT64, multicast.
 */
const SPECIAL_IPV6: [network: string, prefix: number][] = [
  ['2001::', 23], // protocol assignments, including Teredo
  ['2001:db8::', 32], // documentation
  ['2002::', 16], // 6to4: carries an IPv4 address
  ['3fff::', 20], // documentation
];

const special = new BlockList();
for (const [network, prefix] of SPECIAL_IPV4) special.addSubnet(network, prefix, 'ipv4');
for (const [network, prefix] of SPECIAL_IPV6) special.addSubnet(network, prefix, 'ipv6');
const global6 = new BlockList();
global6.addSubnet('2000::', 3, 'ipv6');
const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

export type GuardMode = 'sandbox' | 'production';

/**
 * Whether callbacks may be sent to an IP address. Public addresses are allowed; a sandbox may also
 * send to this machine. A text that is not an IP address is refused.
 */
export function isAddressAllowed(address: string, mode: GuardMode): boolean {
  const version = isIP(address);
  if (version === 0 || address.includes('%')) return false;
  const family = version === 4 ? 'ipv4' : 'ipv6';
  // A BlockList takes ::ffff:127.0.0.1 for 127.0.0.1. The text tells them apart, so that no mapped
  // address passes as loopback.
  if (mode === 'sandbox' && loopback.check(address, family) && (version === 4 || !isMapped(address))) return true;
  if (version === 6 && !global6.check(address, 'ipv6')) return false;
  return !special.check(address, family);
}

function isMapped(address: string): boolean {
  return new URL(`http://[${address}]`).hostname.startsWith('[::ffff:');
}

/**
 * Says what is wrong with a callback URL, in words for the operator; undefined if nothing is
 * wrong. A host name is checked later, when the connection is made.
 */
export function urlFault(text: string, mode: GuardMode): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || text.length > 2_000) return 'it is not a URL of at most 2000 characters';
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && mode === 'sandbox'))
    return mode === 'sandbox' ? 'it must begin with https:// or http://' : 'it must begin with https://';
  if (url.username !== '' || url.password !== '') return 'it must not hold a user name or a password';
  if (text.includes('#')) return 'it must not hold a fragment';
  const host = hostOf(url);
  if (isIP(host) !== 0 && !isAddressAllowed(host, mode)) return `${host} is not a public address`;
  return undefined;
}

/** The host as the system's resolver takes it: an IPv6 address without its brackets. */
function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '');
}
