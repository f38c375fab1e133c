/** The fields of a structured line, by the rules of `cortex_jupyter/parsing/fields.py`; tests/parsing/lines.json tests both. */

const PAIR = /([A-Za-z_][\w.@/-]*)=("(?:[^"\\]|\\.)*"|[^\s"]*)/y;
/** At most this many opening braces are tried as the beginning of an object. */
const MAX_BRACES = 4;

export interface LineFields {
  /** The text before the object. */
  before: string;
  fields: Record<string, unknown>;
}

const DIGITS = /"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g;
const KEPT_DIGITS = /^\0(-?\d+)$/;

/** Parse JSON. Integers with many digits keep all of them. Throw if the text is not JSON. */
function parseJson(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const kept = text.replace(DIGITS, (result) => (result[0] === '"' ? result : `"\\u0000${result}"`));
  return JSON.parse(kept, (_key, value: unknown) => (typeof value === "string" && KEPT_DIGITS.test(value) ? BigInt(value.slice(1)) : value));
}

/** Parse the fields of a line without escape sequences: a JSON object, also after a text, or `key=value` pairs and nothing else. */
export function parseFields(line: string): LineFields | null {
  return parseObject(line) ?? parseLogfmt(line);
}

/** Parse the JSON object at the end of a line. */
export function parseObject(line: string): LineFields | null {
  if (!line.trimEnd().endsWith("}")) return null;
  let at = -1;
  for (let i = 0; i < MAX_BRACES; i++) {
    at = line.indexOf("{", at + 1);
    if (at < 0) return null;
    try {
      const fields = parseJson(line.slice(at)) as Record<string, unknown>;
      return Object.keys(fields).length > 0 ? { before: line.slice(0, at), fields } : null;
    } catch {
      // No object begins here. Try the next brace.
    }
  }
  return null;
}

function parseLogfmt(line: string): LineFields | null {
  if (!line.includes("=")) return null;
  const fields: Record<string, unknown> = {};
  const end = line.trimEnd().length;
  for (let at = 0; at < end; ) {
    PAIR.lastIndex = at;
    const pair = PAIR.exec(line);
    if (pair === null) return null;
    Object.defineProperty(fields, pair[1], { value: unquote(pair[2]), enumerable: true, configurable: true });
    at = PAIR.lastIndex;
    if (at < end && !/\s/.test(line[at])) return null;
    while (at < end && /\s/.test(line[at])) at++;
  }
  return Object.keys(fields).length > 1 ? { before: "", fields } : null;
}

function unquote(text: string): string {
  if (!text.startsWith('"')) return text;
  try {
    return String(JSON.parse(text));
  } catch {
    return text.slice(1, -1);
  }
}

/** Return a value as text, as short as possible, so that parsing it gives the same value. */
export function formatValue(value: unknown): string {
  if (typeof value === "string") return /^[^\s"=\u0000-\u001f]+$/.test(value) ? value : JSON.stringify(value);
  if (typeof value !== "object" || value === null) return String(value);
  return JSON.stringify(value, (_key, inner: unknown) => (typeof inner === "bigint" ? `\0${inner}` : inner)).replace(/"\\u0000(-?\d+)"/g, "$1");
}
