/** What a reader writes into the box, and what a chip stands for: a text, a /regex/, a condition on a field, a level. */

import { rankOf } from "../parsing/level.ts";
import { parseConditions } from "./where.ts";

export interface Terms {
  include: string[];
  exclude: string[];
  where: string[];
  /** At least this; "" for any. */
  level: string;
}

const SLASHED = /^\/(.+)\/([imsc]*)$/s;

export function escapeRegex(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
}

/** Case counts when a capital was typed; the letters of `\W` and the like are no capitals. */
export function caseFlags(text: string): string {
  return /\p{Lu}/u.test(text.replace(/\\./g, "")) ? "" : "i";
}

/** A pattern as JavaScript or as Python writes it: `(?i)` in front, `(?P<name>`, `\A` and `\Z`. The flag `c`: case counts. */
function translatePython(written: string, flags: string): [source: string, flags: string] {
  const [head = "", given = ""] = /^\(\?([aimsux]+)\)/.exec(written) ?? [];
  const source = written
    .slice(head.length)
    .replace(/\(\?P</g, "(?<")
    .replace(/\(\?P=(\w+)\)/g, "\\k<$1>")
    .replace(/\\./gs, (found) => (found === "\\A" ? "^" : found === "\\Z" ? "$" : found));
  const all = [...new Set(`${given.replace(/[^ims]/g, "")}${flags.replace("c", "")}`)].join("");
  return [source, all || (head === "" && !flags.includes("c") ? caseFlags(source) : "")];
}

/** The regular expression of a term. Throws where it is none. */
export function termRegex(term: string, more = ""): RegExp {
  const [, source, flags] = SLASHED.exec(term) ?? [];
  if (source === undefined) return new RegExp(escapeRegex(term), more + caseFlags(term));
  const [written, own] = translatePython(source, flags);
  return new RegExp(written, more + own);
}

export function isRegex(term: string): boolean {
  return SLASHED.test(term);
}

/** A term's test; plain texts whose case counts need no regular expression. */
export function termTest(term: string): (line: string) => boolean {
  if (!isRegex(term) && caseFlags(term) === "") return (line) => line.includes(term);
  const regex = termRegex(term);
  return (line) => regex.test(line);
}

/** What the box and its two switches say, as a term. */
export function makeTerm(text: string, regex: boolean, matchCase: boolean): string {
  if (isRegex(text)) return text;
  if (regex) return `/${text}/${matchCase ? "c" : ""}`;
  return matchCase && caseFlags(text) !== "" ? `/${escapeRegex(text)}/c` : text;
}

/** `loss -healthz -"GET /"`: what is wanted, and the words to leave out. */
function splitExcludes(text: string): { grep: string; exclude: string[] } {
  const exclude: string[] = [];
  const grep = text.replace(/(^|\s)-(?:"([^"]+)"|([^\s"\d-]\S*))/g, (_all, _space: string, quoted?: string, word?: string) => {
    exclude.push((quoted ?? word)!);
    return "";
  });
  return exclude.length > 0 ? { grep: grep.trim(), exclude } : { grep: text, exclude };
}

/** Reads what was typed: `!text` and `-word` leave out, `"text"` is only a text, `level>=warning`, `status>=500`, `/regex/`. */
export function parseTerms(typed: string, regex = false, matchCase = false): Terms {
  const found: Terms = { include: [], exclude: [], where: [], level: "" };
  const text = typed.trim();
  if (text === "") return typed === "" ? found : { ...found, include: [typed] };
  const negative = /^!\s*(?=\S)/.exec(text) ?? /^-(?=\/.+\/[imsc]*$)/.exec(text);
  const rest = negative ? text.slice(negative[0].length) : typed;
  const into = negative ? found.exclude : found.include;
  const quoted = /^"([^"]+)"$/.exec(rest.trim());
  const level = /^level\s*(?:>=|≥)\s*([a-z]+)$/i.exec(text);
  if (quoted) into.push(makeTerm(quoted[1], false, matchCase));
  else if (regex || isRegex(rest)) into.push(makeTerm(rest, true, matchCase));
  else if (level && rankOf(level[1]) > 0) found.level = level[1].toLowerCase();
  else if (negative === null && parseConditions(text)) found.where.push(text);
  else if (negative) into.push(makeTerm(rest, false, matchCase));
  else {
    const { grep, exclude } = splitExcludes(typed);
    if (grep !== "") found.include.push(makeTerm(grep, false, matchCase));
    found.exclude.push(...exclude);
  }
  return found;
}

/** A term as Python's regular expression, which counts case unless it is told not to. */
export function pythonPattern(term: string): string {
  const [, source, flags] = SLASHED.exec(term) ?? [];
  if (source !== undefined && /^\(\?[aimsux]+\)/.test(source)) return source;
  const own = (flags ?? "").replace("c", "");
  const all = own === "" && !flags?.includes("c") ? caseFlags(source ?? term) : own;
  return `${all === "" ? "" : `(?${all})`}${source ?? escapeRegex(term)}`;
}

/** A term in words, for its chip. */
export function describeTerm(term: string): string {
  const [, source, flags] = SLASHED.exec(term) ?? [];
  if (source === undefined) return `“${term}”`;
  const plain = source.replace(/^\(\?i\)/, "").replace(/\\([\\^$.*+?()[\]{}|/])/g, "$1");
  if (escapeRegex(plain) === source.replace(/^\(\?i\)/, "").replaceAll("\\/", "/")) return `“${plain}”${flags.includes("c") && caseFlags(plain) && !source.startsWith("(?i)") ? " Aa" : ""}`;
  return `/${source}/${flags.replace("c", "")}`;
}
