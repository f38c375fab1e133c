/** What to tell a user whose filter matches no line: how the box was read, and what to write instead. */

import type { Filter } from "../protocol/requests.ts";
import type { UnmetFilter } from "../protocol/update.ts";
import { parseConditions, parseNumber } from "../text/conditions.ts";
import { LEVELS, rankOf } from "../text/level.ts";
import { describeTerm, parseTerms } from "../text/query.ts";

export interface FilterHint {
  text: string;
  /** What to type into the box instead. */
  typed?: string;
}

const WRITTEN: Record<string, string> = { ">=": "≥", "<=": "≤", "!=": "≠", "~": "contains", "!~": "does not contain" };
/** A comparison, or the beginning of one. Arrows such as `->` and types such as `Map<K>` are none. */
const COMPARISON = /(?<=^|\s)([A-Za-z_@][\w.@/-]*(?<!-))\s*(>=|<=|≥|≤|<|>)\s*([^\s"]*[^\s"<>]|)(?=\s|$)/g;

export function describeCondition(text: string): string {
  return (parseConditions(text) ?? []).map(([key, op, value]) => `${key} ${WRITTEN[op] ?? op} ${value}`).join(" and ") || text;
}

/** Describe how the text in the box was read; "" if it is empty. */
export function describeReading({ grep, regex, matchCase }: Pick<Filter, "grep" | "regex" | "matchCase">): string {
  const { include, exclude, where, level } = parseTerms(grep, regex, matchCase);
  return [
    ...include.map((term) => `contains ${describeTerm(term)}`),
    ...exclude.map((term) => `not ${describeTerm(term)}`),
    ...where.map(describeCondition),
    ...(level === "" ? [] : [`level ≥ ${level}`]),
  ].join(" and ");
}

function hintOnField({ name, value, near, common }: UnmetFilter["fields"][number], grep: string): FilterHint {
  if (value !== undefined) return { text: `${name} is not a number: “${value}”` };
  const typed = near.length > 0 && parseTerms(grep).where.length > 0 ? grep.replace(name, near[0]) : grep;
  const others = near.length > 0 ? near : common;
  return { text: `No loaded line has a field ${name}${others.length > 0 ? `, but ${others.join(", ")}` : ""}`, ...(typed !== grep && { typed }) };
}

function hintOnComparison(name: string, op: string, value: string): FilterHint[] {
  if (name.toLowerCase() === "level") return rankOf(value) > 0 ? [] : [{ text: `Levels are ${LEVELS.slice(1).join(", ")}` }];
  return parseNumber(value) === null ? [{ text: `${op} compares numbers; “${value}” is not a number` }] : [];
}

/** Return what to write instead of a filter that matches no line. */
export function filterHints({ grep, regex }: Pick<Filter, "grep" | "regex">, unmet: UnmetFilter | undefined): FilterHint[] {
  const hints: FilterHint[] = [];
  const { include, exclude, where, level } = parseTerms(grep, regex);
  if (!regex && (exclude[0] || where[0] || level) && /\bOR\b/.test(`${include} ${exclude}`)) hints.push({ text: "OR joins texts only" });
  if (!regex && /(?:^|\s)NOT\s+\S/.test(grep)) hints.push({ text: "Write ! to exclude lines", typed: grep.replace(/(^|\s)NOT\s+(?=\S)/g, "$1!") });
  if (!regex) for (const text of include) for (const [, name, op, value] of text.matchAll(COMPARISON)) hints.push(...hintOnComparison(name, op, value));
  for (const field of unmet?.fields ?? []) {
    const [, value] = /^level\s*==?\s*"?([a-z]+)"?$/i.exec(grep.trim()) ?? [];
    if (field.name === "level" && value !== undefined && rankOf(value) > 0) hints.push({ text: "level is not a field; write", typed: `level≥${value.toLowerCase()}` });
    else hints.push(hintOnField(field, grep));
  }
  if (hints.length === 0) for (const term of unmet?.inOtherCase ?? []) hints.push({ text: "A capital letter makes the filter case-sensitive", ...(grep.includes(term) && { typed: grep.replace(term, term.toLowerCase()) }) });
  return hints;
}
