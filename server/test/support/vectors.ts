import { readFileSync } from 'node:fs';

type Vector = { id: string; source: string; algorithm: string };

const all = JSON.parse(readFileSync(new URL('../vectors/pin-vectors.json', import.meta.url), 'utf8')) as Vector[];

/** The published vectors of one algorithm; each names its source. */
export function vectorsOf<Fields>(algorithm: string): (Vector & Fields)[] {
  return all.filter((vector) => vector.algorithm === algorithm) as (Vector & Fields)[];
}
