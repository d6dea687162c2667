import type { Random } from './sandbox.ts';

/*
 * Requests for the fuzz run: mostly as the OpenAPI documents describe them, with some values that
 * no document allows.
 */

export interface Schema {
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  oneOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
}

interface Parameter {
  in: string;
  name: string;
  required?: boolean;
  schema: Schema;
}

export interface Operation {
  method: string;
  path: string;
  parameters: Parameter[];
  body: Schema | undefined;
}

interface Document {
  paths: Record<
    string,
    Record<string, { parameters?: Parameter[]; requestBody?: { content: Record<string, { schema: Schema }> } }>
  >;
}

export function operationsOf({ paths }: Document): Operation[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { parameters = [], requestBody }]) => ({
      method: method.toUpperCase(),
      path,
      parameters,
      body: requestBody?.content['application/json']?.schema,
    })),
  );
}

const TEXTS = [
  ...['', ' ', '0', 'null', 'NULL', 'true', '__proto__', 'constructor', '%', '%00', '../..', "' or 1=1 --", '{}', '[]'],
  ...['\u0000', '\ud800', '\ufeff', '\u202e', 'é', '汉字', '😀', '\n', '"', '\\', '\\x', ',', '{NULL}', 'a'.repeat(64)],
  ...[
    'a'.repeat(5_000),
    '9'.repeat(400),
    '1e999',
    '-1',
    '1.5',
    '0x10',
    '2026-05-01',
    '2026-13-45',
    'UTC+8',
    'UTC+99:99',
  ],
];
const NUMBERS = [0, -0, -1, 1, 1.5, 100, 101, 2 ** 31, 2 ** 53, -(2 ** 63), 1e308, 9_999_999_999_999];
const ODD: unknown[] = [null, true, false, [], {}, [[]], [null], { toString: 1 }, ...NUMBERS, ...TEXTS];

/**
 * A value for a schema. One in twelve is of any kind. `known` are values that name things which
 * exist.
 */
export function valueFor(schema: Schema, random: Random, known: readonly string[]): unknown {
  if (random.below(12) === 0) return random.pick(ODD);
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return random.pick(schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return valueFor(random.pick(choices), random, known);
  switch ([schema.type].flat()[0]) {
    case 'object':
      return objectFor(schema, random, known);
    case 'array':
      return Array.from({ length: random.below(4) }, () => valueFor(schema.items ?? {}, random, known));
    case 'integer':
    case 'number':
      return random.below(3) > 0 ? (schema.minimum ?? 0) + random.below(20) : random.pick(NUMBERS);
    case 'boolean':
      return random.below(2) === 0;
    default:
      return textFor(schema, random, known);
  }
}

function objectFor(schema: Schema, random: Random, known: readonly string[]): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    const needed = schema.required?.includes(name) ?? false;
    if (random.below(needed ? 30 : 2) > 0) made[name] = valueFor(property, random, known);
  }
  if (random.below(20) === 0) made[random.pick(TEXTS)] = random.pick(ODD);
  return made;
}

function textFor({ minLength = 0, maxLength = 40 }: Schema, random: Random, known: readonly string[]): string {
  const kind = random.below(4);
  if (kind < 2) return random.pick(known);
  if (kind === 2) return random.pick(TEXTS);
  const length = minLength + random.below(Math.max(1, Math.min(maxLength, 300) - minLength + 2));
  return Array.from({ length }, () => String.fromCharCode(32 + random.below(95))).join('');
}

/** Alters the bytes of a request: flips, drops, repeats, or cuts. */
export function alterBytes(bytes: Buffer, random: Random): Buffer {
  let altered = Buffer.from(bytes);
  for (let times = 1 + random.below(4); times > 0 && altered.length > 0; times--) {
    const at = random.below(altered.length);
    const end = Math.min(altered.length, at + 1 + random.below(20));
    altered = random.pick([
      () => Buffer.concat([altered.subarray(0, at), Buffer.from([random.below(256)]), altered.subarray(at + 1)]),
      () => Buffer.concat([altered.subarray(0, at), altered.subarray(end)]),
      () => Buffer.concat([altered.subarray(0, end), altered.subarray(at)]),
      () => altered.subarray(0, at),
    ])();
  }
  return altered;
}
