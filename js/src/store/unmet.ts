/** Why a filter matches no line: which of its fields the lines do not have, and what is near. */

import type { UnmetFilter } from "../protocol/update.ts";
import { plainText } from "../text/ansi.ts";
import { fieldsOf, parseConditions, parseNumber } from "../text/conditions.ts";
import { isRegex, type Terms } from "../text/query.ts";
import { NOTICE } from "./lines.ts";
import type { Selection } from "./selection.ts";

/** Number of lines that are examined, the newest. */
const MAX_LINES = 1000;
/** Maximum number of characters of these lines that are examined. */
const MAX_CHARS = 1_048_576;
/** Maximum number of names that are listed. */
const MAX_NAMES = 3;

/** Return the number of changes (Levenshtein) between two short texts. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_unused, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + Number(a[i - 1] !== b[j - 1])));
    row = next;
  }
  return row[b.length];
}

/** Return how far a field's name is from the requested one (0 is equal); Infinity if they have nothing in common. */
function nearness(asked: string, name: string): number {
  const [a, b] = [asked.toLowerCase(), name.toLowerCase()];
  if (a === b) return 0;
  if (Math.abs(a.length - b.length) <= 2 && editDistance(a, b) <= (a.length > 3 ? 2 : 1)) return 1;
  return b.split(/[./_-]/).includes(a) ? 2 : Infinity;
}

/** Explain why no line meets a filter. */
export function explainUnmet({ all, stores, slotOf, rowOf }: Selection, { include, where }: Terms): UnmetFilter {
  const lines: string[] = [];
  let chars = 0;
  for (let index = all.length - 1; index >= 0 && lines.length < MAX_LINES && chars < MAX_CHARS; index--) {
    const id = all.at(index);
    const store = stores[slotOf(id)];
    if (store.flags[rowOf(id)] & NOTICE) continue;
    const text = store.texts[rowOf(id)].slice(0, MAX_CHARS - chars);
    chars += text.length;
    lines.push(plainText(text));
  }
  const fields: UnmetFilter["fields"] = [];
  const conditions = where.flatMap((text) => parseConditions(text) ?? []);
  const counts = new Map<string, number>();
  const values = new Map<string, string[]>(conditions.map(([name]) => [name, []]));
  if (conditions.length > 0) {
    for (const line of lines) {
      for (const [name, value] of fieldsOf(line)) {
        counts.set(name, (counts.get(name) ?? 0) + 1);
        values.get(name)?.push(value);
      }
    }
  }
  const byCount = [...counts.keys()].toSorted((a, b) => counts.get(b)! - counts.get(a)!);
  for (const [name, op] of conditions) {
    if (fields.some((field) => field.name === name)) continue;
    const known = values.get(name)!;
    if (known.length > 0 && /[<>]/.test(op) && known.every((value) => parseNumber(value) === null)) fields.push({ name, value: known[0].slice(0, 40), near: [], common: [] });
    if (known.length > 0) continue;
    const distances = byCount.map((one) => nearness(name, one));
    const best = distances.reduce((a, b) => Math.min(a, b), Infinity);
    const near = best === Infinity ? [] : byCount.filter((_unused, i) => distances[i] === best);
    fields.push({ name, near: near.slice(0, MAX_NAMES), common: byCount.slice(0, MAX_NAMES) });
  }
  const inOtherCase = include.filter((term) => !isRegex(term) && lines.some((line) => !line.includes(term) && line.toLowerCase().includes(term.toLowerCase())));
  return { fields, inOtherCase };
}
