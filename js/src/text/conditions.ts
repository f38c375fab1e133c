/** Conditions on a field of a line, such as `status>=500`. `cortex_jupyter/query/conditions.py` has the same rules, and one table tests both. */

import { plainText } from "./ansi.ts";
import { parseObject } from "./fields.ts";

export type Condition = [key: string, op: string, value: string];

const BEGIN = String.raw`([A-Za-z_@][\w.@/-]*)\s*(>=|<=|!=|==|!~|≥|≤|≠|=|<|>|~)`;
const CONDITION = new RegExp(String.raw`\s*${BEGIN}\s*("(?:[^"\\]|\\.)*"|[^\s"]\S*)(\s+and\s+|\s+(?=${BEGIN})|\s*$)`, "y");
const OPERATOR_ALIASES: Record<string, string> = { "==": "=", "≥": ">=", "≤": "<=", "≠": "!=" };
/** A second operator that is a typing error, as in `status=>500`. Values such as `token=<eos>` are none. */
const TYPO = /^=[<>≤≥]=?[-+.\d]/;
const NUMBER = /^[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?)%?$/i;

const COMPARE: Record<string, (a: number, b: number) => boolean> = {
  "=": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};

/** Quote the value of a condition if it has to be. */
export function quoteValue(value: string): string {
  return /^[^\s"=!<>~≤≥≠][^\s"]*$/.test(value) ? value : `"${value.replace(/["\\]/g, String.raw`\$&`)}"`;
}

function unquoteValue(text: string): string {
  if (text.startsWith('"')) return text.slice(1, -1).replace(/\\(.)/gs, "$1");
  return text.startsWith("'") ? text.slice(1, -1) : text;
}

/** Parse one condition, or several that are joined with `and` or follow each other; null if the text is no condition. */
export function parseConditions(text: string): Condition[] | null {
  const result: Condition[] = [];
  CONDITION.lastIndex = 0;
  for (let match = CONDITION.exec(text); match !== null; match = CONDITION.exec(text)) {
    const [, key, written, quoted, after] = match;
    const [op, value] = [OPERATOR_ALIASES[written] ?? written, unquoteValue(quoted)];
    if ((/[<>]/.test(op) && parseNumber(value) === null) || TYPO.test(op + quoted)) return null;
    result.push([key, op, value]);
    if (CONDITION.lastIndex === text.length) return after.trim() === "" ? result : null;
  }
  return null;
}

/** Write a condition as text. */
export function writeCondition([key, op, value]: Condition): string {
  return `${key}${op}${quoteValue(value)}`;
}

export function parseNumber(text: string): number | null {
  if (!NUMBER.test(text)) return null;
  const plain = text.replace(/%$/, "");
  return /inf/i.test(plain) ? (plain.startsWith("-") ? -Infinity : Infinity) : Number(plain);
}

/** Return a pattern for a field and its value in a text. */
function fieldRegex(key: string, flags = ""): RegExp {
  const name = key.replace(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
  return new RegExp(String.raw`(?<![\w.@/-])${name}["']?(?:[ \t]+=[ \t]+|=|:[ \t]*)("(?:[^"\\]|\\.)*"|'[^']*'|[^ \t\r\n,;|()[\]{}"'][^ \t\r\n,;|)\]}"']*)`, flags);
}

/** Return a pattern that marks the field and its value. */
export function conditionRegex([key]: Condition): RegExp {
  return fieldRegex(key, "g");
}

const ANY_FIELD = /(?<![\w.@/-])([A-Za-z_@][\w.@/-]*)["']?(?:[ \t]+=[ \t]+|=|:[ \t]*)("(?:[^"\\]|\\.)*"|'[^']*'|[^ \t\r\n,;|()[\]{}"'][^ \t\r\n,;|)\]}"']*)/g;
/** Maximum depth of a field in a JSON object. */
const MAX_DEPTH = 3;

/** Return the fields of a line with their values, as conditions read them. */
export function fieldsOf(line: string): Map<string, string> {
  const fields = new Map<string, string>();
  const addAll = (value: unknown, name: string, depth: number): void => {
    if (typeof value !== "object" || value === null) fields.set(name, String(value));
    else if (!Array.isArray(value) && depth < MAX_DEPTH) for (const [key, inner] of Object.entries(value)) addAll(inner, name === "" ? key : `${name}.${key}`, depth + 1);
  };
  const text = plainText(line);
  const object = parseObject(text)?.fields;
  if (object !== undefined) addAll(object, "", 0);
  for (const [, name, value] of text.matchAll(ANY_FIELD)) if (!fields.has(name)) fields.set(name, unquoteValue(value));
  return fields;
}

function fieldValue(doc: unknown, key: string): string | null {
  let value = doc as Record<string, unknown>;
  if (typeof value === "object" && value !== null && !Array.isArray(value) && Object.hasOwn(value, key)) value = value[key] as Record<string, unknown>;
  else {
    for (const part of key.split(".")) {
      if (typeof value !== "object" || value === null || Array.isArray(value) || !Object.hasOwn(value, part)) return null;
      value = value[part] as Record<string, unknown>;
    }
  }
  return typeof value === "object" && value !== null ? null : String(value);
}

function readField(line: string, key: string, pair: RegExp): string | null {
  const result = fieldValue(parseObject(line)?.fields, key);
  if (result !== null) return result;
  const match = pair.exec(line);
  return match === null ? null : unquoteValue(match[1]);
}

/** Return the value of a field in a line without escape sequences, as conditions read it; "" if the line does not have it. */
export function fieldText(line: string, key: string): string {
  return (line.includes(key.split(".")[0]) && readField(line, key, fieldRegex(key))) || "";
}

/**
 * Return the test of a condition. Two numbers compare as numbers. Otherwise `=` and `!=` compare text without regard to case, and
 * `<`, `<=`, `>`, `>=` fail. `~` and `!~` always search in the text. A line without the field fails.
 */
export function conditionTest([key, op, wanted]: Condition): (line: string) => boolean {
  const pair = fieldRegex(key);
  const head = key.split(".")[0];
  const number = parseNumber(wanted);
  const text = wanted.toLowerCase();
  return (line) => {
    if (!line.includes(head)) return false;
    const value = readField(plainText(line), key, pair);
    if (value === null) return false;
    if (op === "~" || op === "!~") return value.toLowerCase().includes(text) === (op === "~");
    const mine = parseNumber(value);
    if (mine !== null && number !== null) return COMPARE[op](mine, number);
    return (op === "=" || op === "!=") && (value.toLowerCase() === text) === (op === "=");
  };
}
