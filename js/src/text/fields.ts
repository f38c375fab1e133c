/** What a structured line holds, as `cortex_jupyter/parsing/fields.py` tells it; tests/parsing/lines.json holds both. */

const PAIR = /([A-Za-z_][\w.@/-]*)=("(?:[^"\\]|\\.)*"|[^\s"]*)/y;
/** An object is looked for behind so many braces of a line's text. */
const MAX_BRACES = 4;

export interface LineFields {
  /** What stands before the object. */
  before: string;
  fields: Record<string, unknown>;
}

const DIGITS = /"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g;
const KEPT_DIGITS = /^\0(-?\d+)$/;

/** As JSON.parse, but numbers of many digits keep them all. Throws where it is no JSON. */
function parseJson(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const kept = text.replace(DIGITS, (found) => (found[0] === '"' ? found : `"\\u0000${found}"`));
  return JSON.parse(kept, (_key, value: unknown) => (typeof value === "string" && KEPT_DIGITS.test(value) ? BigInt(value.slice(1)) : value));
}

/** The fields of a line without escape sequences: of a JSON object, also behind a text, or of nothing but `key=value` pairs. */
export function parseFields(line: string): LineFields | null {
  return parseObject(line) ?? parseLogfmt(line);
}

/** The object at the end of a line, also behind a text. */
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
      // Not here: perhaps behind the next brace.
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

/** A value in a row: as short as it can be read back. */
export function formatValue(value: unknown): string {
  if (typeof value === "string") return /^[^\s"=\u0000-\u001f]+$/.test(value) ? value : JSON.stringify(value);
  if (typeof value !== "object" || value === null) return String(value);
  return JSON.stringify(value, (_key, inner: unknown) => (typeof inner === "bigint" ? `\0${inner}` : inner)).replace(/"\\u0000(-?\d+)"/g, "$1");
}
