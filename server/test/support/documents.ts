import { readFileSync } from 'node:fs';
import { CARD_TRANSITIONS } from '@pinward/contract/card-status';
import { ERRORS, type ErrorName, errorText } from '@pinward/contract/errors';
import type { Language } from '@pinward/contract/vocabulary';
import { merchantDocument } from '../../src/api/openapi.ts';
import type { App } from '../../src/app.ts';
import type { Queryable } from '../../src/db/queryable.ts';

/**
 * The documents that are made from the program itself, by the path under docs/ at which they stand.
 */
export async function generatedDocuments(app: App, db: Queryable): Promise<Record<string, string>> {
  return {
    'errors.md': errorsDocument(),
    'openapi.json': `${JSON.stringify(merchantDocument(app), null, 2)}\n`,
    'issuer-openapi.json': `${JSON.stringify((await app.inject('/issuer/openapi.json')).json(), null, 2)}\n`,
    'card-status.md': cardStatusDocument(),
    'schema.md': await schemaDocument(db),
  };
}

export function standingDocument(name: string): string {
  return readFileSync(documentUrl(name), 'utf8');
}

export function documentUrl(name: string): URL {
  return new URL(`../../../docs/${name}`, import.meta.url);
}

const NOTICE = '<!-- Written by `npm run generate`; a test compares it whole. -->';

function errorsDocument(): string {
  const rows = Object.entries(ERRORS).map(([name, { code, when }]) => [
    String(code),
    `\`${name}\``,
    arrivingText(name as ErrorName, 'en_US'),
    arrivingText(name as ErrorName, 'zh_CN'),
    when,
  ]);
  return `# Error codes

${NOTICE}

A failure has HTTP status 200 and \`{"code": N, "msg": "..."}\`, without \`data\`; success has code 0. \`msg\` is English, or Chinese with the header
\`Language: zh_CN\`. FIELD stands for the name of the field at fault, such as \`card_no\` or \`address_info.city\`: \`card_no invalid parameter\`. A policy's reason may follow the text of 4016.
Every answer carries \`X-Request-Id\`, by which the platform's log knows it. Paths and methods that don't exist answer 404 and 405 with 1004; calls that this platform does not offer answer 404 with 1025.

${table(['Code', 'Name in the source', 'English', 'Chinese', 'When'], rows)}
`;
}

/** The text as it arrives, or the two texts of a code that has one with a field and one without. */
function arrivingText(name: ErrorName, language: Language): string {
  const { field, alwaysField } = ERRORS[name] as { field?: object; alwaysField?: true };
  const plain = errorText(name, language);
  const withField = errorText(name, language, { field: 'FIELD' });
  if (alwaysField) return withField;
  return field === undefined ? plain : `${plain}; or: ${withField}`;
}

function cardStatusDocument(): string {
  const arrows = Object.entries(CARD_TRANSITIONS).flatMap(([name, { from, to }]) =>
    from.map((status) => `  ${status} --> ${to}: ${name}`),
  );
  return `# The status of a card

${NOTICE}

\`\`\`mermaid
stateDiagram-v2
  [*] --> Pending: apply
${arrows.join('\n')}
\`\`\`

Every other change answers 4005 and changes nothing. \`apply\` is the merchant's \`card/apply\`; \`issuePhysical\`, \`issueVirtual\` and \`fail\` are the
issuer's \`card/issued\` and \`card/failed\`; \`activate\` is \`card/active\`. \`freeze\`, \`unfreeze\` and \`delete\` are the merchant's \`card/status/update\` or the issuer's
\`card/status\`, with \`Frozen\`, \`Activated\` and \`Delete\`; what the issuer froze the merchant does not unfreeze. A card that the issuer brings in begins
where it stands. Each change is told by a \`Card_update\` callback.
`;
}

async function schemaDocument(db: Queryable): Promise<string> {
  const columns = await db.tuples<[string, string, string, boolean, string | null]>(
    'schema-columns',
    `select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            case when a.attidentity <> '' then 'identity' else pg_get_expr(d.adbin, d.adrelid) end
       from pg_class c join pg_attribute a on a.attrelid = c.oid left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
      where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
      order by c.relname collate "C", a.attnum`,
  );
  // PostgreSQL 18 lists not-null constraints (contype n) and 15 does not; the columns tell them.
  const extras = await db.tuples<[string, string]>(
    'schema-extras',
    `select conrelid::regclass::text, 'constraint ' || conname || ': ' || pg_get_constraintdef(oid) from pg_constraint
      where connamespace = 'public'::regnamespace and contype <> 'n' and conrelid <> 0
     union all
     select i.indrelid::regclass::text, 'index: ' || pg_get_indexdef(i.indexrelid) from pg_index i join pg_class c on c.oid = i.indexrelid
      where c.relnamespace = 'public'::regnamespace and not exists (select from pg_constraint where conindid = i.indexrelid)
     union all
     select tgrelid::regclass::text, 'trigger: ' || pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
     order by 1, 2`,
  );
  const functions = await db.tuples<[string]>(
    'schema-functions',
    `select pg_get_functiondef(oid) from pg_proc where pronamespace = 'public'::regnamespace order by proname collate "C"`,
  );
  const domains = await db.tuples<[string, string, string]>(
    'schema-domains',
    `select t.typname, format_type(t.typbasetype, t.typtypmod), pg_get_constraintdef(c.oid)
       from pg_type t join pg_constraint c on c.contypid = t.oid where t.typnamespace = 'public'::regnamespace and t.typtype = 'd' order by t.typname collate "C"`,
  );
  const tables = [...new Set(columns.map(([name]) => name))].filter((name) => name !== 'schema_migrations');
  const sections = tables.map((name) => {
    const rows = columns
      .filter(([of]) => of === name)
      .map(([, column, type, notNull, standard]) => [column, type, notNull ? 'not null' : '', standard ?? '']);
    const notes = extras.filter(([of]) => of === name).map(([, text]) => `- \`${text}\``);
    return `## ${name}\n\n${table(['Column', 'Type', '', 'Default'], rows)}\n\n${notes.sort().join('\n')}`;
  });
  return `# The database's schema

${NOTICE}

${sections.join('\n\n')}

## Domains

${table(['Domain', 'Type', 'Check'], domains)}

## Functions

\`\`\`sql
${functions.map(([text]) => text.trim()).join('\n\n')}
\`\`\`
`;
}

/**
 * A table as the formatter wants it: columns of one width, in which a Chinese character takes two
 * places.
 */
function table(head: string[], rows: string[][]): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => widthOf(row[column] as string))));
  const line = (row: string[]) =>
    `| ${row.map((cell, column) => cell + ' '.repeat((widths[column] as number) - widthOf(cell))).join(' | ')} |`;
  const [first = [], ...others] = cells;
  return [line(first), line(widths.map((width) => '-'.repeat(width))), ...others.map(line)].join('\n');
}

function widthOf(text: string): number {
  return [...text].reduce(
    (sum, character) => sum + (/[\p{Script=Han}\u3000-\u303f\uff00-\uff60]/u.test(character) ? 2 : 1),
    0,
  );
}
