/** What a flood sends: `flooder.ts` sends it, `flood.ts` measures others meanwhile. */
export const FLOOD_KINDS = ['Api-Keys', 'secrets', 'readyz', 'documents', 'unread', 'bodies'] as const;
export type FloodKind = (typeof FLOOD_KINDS)[number];

/** Another loopback address than the one that others come from. */
export const FLOOD_ADDRESS = '127.0.0.9';
