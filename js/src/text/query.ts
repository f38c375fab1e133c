/**
 * The query language: parses what a user types into the filter box, and makes a test for lines of the box and the chips. A term is
 * a text or a /regex/; there are also conditions on fields, and a minimum level.
 */

import type { Filter } from "../protocol/requests.ts";
import { plainText } from "./ansi.ts";
import { conditionRegex, conditionTest, parseConditions, writeCondition } from "./conditions.ts";
import { errorMessage } from "./format.ts";
import { commonLevels, levelMask, rankOf } from "./level.ts";

export interface Terms {
  include: string[];
  exclude: string[];
  where: string[];
  /** The levels, see `levelMask`; "" for any. */
  level: string;
}

/** A term of the panel of patterns (analysis/pattern_table.py): words, `\S` with an ending for what varies, and `\s+` between words. */
const PATTERN = /^(?=.*\\s)\/\^?(?:[^\\.*+?()[\]{}|^$]|\\(?:\W|[sS]\+|S\.?\*\?|s(?:\*\$?)?))+\/c$/s;
const SLASHED = /^\/(.+)\/([imsc]*)$/s;

function escapeRegex(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
}

/** Return the regular expression's flag for case: a term with a capital letter is case-sensitive. Letters in escapes such as `\W` do not count. */
function caseFlags(text: string): string {
  return /\p{Lu}/u.test(text.replace(/\\./g, "")) ? "" : "i";
}

/** Translate a pattern from Python's syntax: `(?i)` in front, `(?P<name>`, `\A` and `\Z`. The flag `c` makes it case-sensitive. */
function translatePython(written: string, flags: string): [source: string, flags: string] {
  const [head = "", given = ""] = /^\(\?([aimsux]+)\)/.exec(written) ?? [];
  const source = written
    .slice(head.length)
    .replace(/\(\?P</g, "(?<")
    .replace(/\(\?P=(\w+)\)/g, "\\k<$1>")
    .replace(/\\./gs, (result) => (result === "\\A" ? "^" : result === "\\Z" ? "$" : result));
  const all = [...new Set(`${given.replace(/[^ims]/g, "")}${flags.replace("c", "")}`)].join("");
  return [source, all || (head === "" && !flags.includes("c") ? caseFlags(source) : "")];
}

/** Return a term's regular expression. Throw if it is invalid. */
export function termRegex(term: string, more = ""): RegExp {
  const [, source, flags] = SLASHED.exec(term) ?? [];
  if (source === undefined) return new RegExp(escapeRegex(term), more + caseFlags(term));
  const [written, own] = translatePython(source, flags);
  return new RegExp(written, more + own);
}

/** Return the reason why a pattern is no valid regular expression. */
export function regexError(reason: unknown): string {
  return errorMessage(reason).replace(/^Invalid regular expression: /, "");
}

export function isRegex(term: string): boolean {
  return SLASHED.test(term);
}

/** For patterns with no, one and two open quantifiers: how many characters can be tested in a few seconds at worst. */
const SAFE_CHARS = [Infinity, 10_000, 500];

/**
 * Return how long a line may be for a test with a term to end soon; 0 if no length is safe. Where nothing can stop a test, only
 * this keeps it from freezing the page. The pattern is only scanned, so some harmless ones count as unsafe.
 */
export function safeLength(term: string): number {
  const [, source] = SLASHED.exec(term) ?? [];
  if (source === undefined) return Infinity;
  // Its parts that vary end where its words end.
  if (PATTERN.test(term)) return SAFE_CHARS[2];
  // A backreference.
  if (/\\(?:[1-9]|k<)|\(\?P=/.test(source)) return 0;
  let rest = source.replace(/\\./gs, "x").replace(/\[[^\]]*\]/g, "x").replace(/^\(\?[aimsux]+\)/, "").replace(/\(\?(?:<?[=!]|P?<\w+>|:)/g, "(");
  // Resolve groups from the innermost outwards.
  for (let before = ""; before !== rest; ) {
    before = rest;
    rest = rest.replace(/\(([^()]*)\)([*+?{]?)/g, (_all, body: string, quantifier: string) => {
      if (quantifier === "" || quantifier === "?") return body + quantifier;
      return /[*+?{|\0]/.test(body) ? "\0" : `x${quantifier}`;
    });
  }
  // A group with a quantifier or a choice within it is repeated: that takes exponential time.
  if (rest.includes("\0")) return 0;
  return SAFE_CHARS[rest.match(/[*+]|\{\d*,/g)?.length ?? 0] ?? 0;
}

/** Return the safe length. Throw if there is none. */
export function checkedLength(term: string): number {
  const length = safeLength(term);
  if (length === 0) throw new Error("this page forbids workers, and without one this regular expression could freeze the page; use at most two of * + {n,m}, and none around a group with another or with |");
  return length;
}

/** Return the test of a term. For a case-sensitive plain text it needs no regular expression. */
export function termTest(term: string): (line: string) => boolean {
  if (!isRegex(term) && caseFlags(term) === "") return (line) => line.includes(term);
  const regex = termRegex(term);
  return (line) => regex.test(line);
}

/** Return the term that the box and its two switches stand for. */
export function makeTerm(text: string, regex: boolean, matchCase: boolean): string {
  if (isRegex(text)) return text;
  if (regex) return `/${text}/${matchCase ? "c" : ""}`;
  return matchCase && caseFlags(text) !== "" ? `/${escapeRegex(text)}/c` : text;
}

/** Return a term that matches where one of these does. If one of them is case-sensitive, all are. */
export function anyOf(terms: string[]): string {
  const found = terms.map((term) => SLASHED.exec(term) ?? ["", escapeRegex(term), ""]);
  // No flag may stand in front of a later choice.
  const source = found.map(([, one]) => one.replace(/^\(\?[aimsux]+\)/, "")).join("|");
  const flags = found.every(([, one, own]) => translatePython(one, own)[1].includes("i")) ? "i" : "";
  return `/${source}/${flags === caseFlags(source) ? "" : flags || "c"}`;
}

/** Return the term of texts joined by OR, which may be quoted; "" if there is none. Before the next text is typed, OR is ignored. */
export function joinedTerm(typed: string, matchCase: boolean): string {
  const choices = typed.split(/\s+OR\s+/).filter(Boolean);
  // `/a/ OR /b/` are two regular expressions, `/a OR b/` is one.
  if (isRegex(typed) && choices.some((one) => one.startsWith("/") && !isRegex(one))) return typed;
  const terms = choices.map((one) => makeTerm(one.replace(/^"([^"]+)"$/, "$1"), false, matchCase));
  return terms.length > 1 ? anyOf(terms) : (terms[0] ?? "");
}

/** A term that stands out between words: `-word`, `!word`, `level>=warning`, `loss<0.1`. */
const TERM = /(?<=^|\s)(?:[-!]"([^"]+)"|-([^\s"\d-]\S*)|!([^\s"=!]\S*)|level\s*(?:>=|≥)\s*([a-z]+)|([A-Za-z_@][A-Za-z0-9_.@/-]*(?:>=|<=|!=|≥|≤|≠|<|>)[^\s"=!<>~≤≥≠]\S*))(?=\s|$)/gi;

/** Split `loss -healthz !"GET /" step>60` into its terms. The rest are texts, or conditions such as `a=1 b=2`. */
function splitTerms(typed: string, matchCase: boolean): Terms {
  const result: Terms = { include: [], exclude: [], where: [], level: "" };
  const texts: string[] = [];
  let at = 0;
  let hasTerms = false;
  for (const match of typed.matchAll(TERM)) {
    const [all, quoted, dashed, banged, level, condition] = match;
    if (level !== undefined && rankOf(level) === 0) continue;
    if (condition !== undefined && parseConditions(condition) === null) continue;
    if (level !== undefined) result.level = rankOf(level) > rankOf(result.level) ? level.toLowerCase() : result.level;
    else if (condition !== undefined) result.where.push(condition);
    else result.exclude.push((quoted ?? dashed ?? banged)!);
    texts.push(typed.slice(at, match.index));
    at = match.index + all.length;
    hasTerms = true;
  }
  texts.push(typed.slice(at));
  for (const text of texts) {
    // Spaces count in a text that stands alone.
    const term = hasTerms ? text.trim() : text;
    if (term === "") continue;
    const conditions = hasTerms && !/\sOR\s|^"[^"]+"$/.test(term) ? parseConditions(term) : null;
    if (conditions) result.where.push(...conditions.map(writeCondition));
    else result.include.push(...[joinedTerm(term, matchCase)].filter(Boolean));
  }
  return result;
}

/**
 * Parse what was typed: `!text` and `-word` exclude, `"text"` is taken literally, `level>=warning`, `status>=500`, `/regex/`. Several
 * terms may follow each other: `WARNING !norm loss<0.1`. `loss OR NaN` is one of the two.
 */
export function parseTerms(typed: string, regex = false, matchCase = false): Terms {
  const result: Terms = { include: [], exclude: [], where: [], level: "" };
  const text = typed.trim();
  if (text === "") return typed === "" ? result : { ...result, include: [typed] };
  const negative = /^!\s*(?=\S)/.exec(text) ?? /^-(?=\/.+\/[imsc]*$)/.exec(text);
  const rest = negative ? text.slice(negative[0].length) : typed;
  const into = negative ? result.exclude : result.include;
  const quoted = /^"([^"]+)"$/.exec(rest.trim());
  const conditions = negative ? null : parseConditions(text);
  if (quoted) into.push(makeTerm(quoted[1], false, matchCase));
  else if (regex) into.push(makeTerm(rest, true, matchCase));
  else if (isRegex(rest)) into.push(joinedTerm(rest, matchCase));
  else if (conditions) result.where.push(...(conditions.length === 1 || /\sand\s/.test(text) ? [text] : conditions.map(writeCondition)));
  // Of `!GET /healthz` all is excluded, of `!healthz !probe` each.
  else if (negative) into.push(...rest.split(/\s+!(?=[^\s"=!])/).map((one) => makeTerm(one, false, matchCase)));
  else return splitTerms(typed, matchCase);
  return result;
}

/** Return whether a text, when it is typed, is one term: itself. */
export function isPlainText(text: string): boolean {
  const { include, exclude, where, level } = parseTerms(text);
  return include.length === 1 && include[0] === text && exclude.length + where.length === 0 && level === "";
}

/** Return a term as Python's regular expression, which is case-sensitive by default. */
export function pythonPattern(term: string): string {
  const [, source, flags] = SLASHED.exec(term) ?? [];
  if (source !== undefined && /^\(\?[aimsux]+\)/.test(source)) return source;
  const own = (flags ?? "").replace("c", "");
  const all = own === "" && !flags?.includes("c") ? caseFlags(source ?? term) : own;
  return `${all === "" ? "" : `(?${all})`}${source ?? escapeRegex(term)}`;
}

/** Return the text that a pattern stands for; null if it is not a text alone. */
function unescapeRegex(source: string): string | null {
  const text = source.replace(/\\([\\^$.*+?()[\]{}|/])/g, "$1");
  return escapeRegex(text) === source.replaceAll("\\/", "/") ? text : null;
}

/** Return the alternative texts of a term, such as of `loss|NaN`; none if the term is another pattern. */
export function textsOf(term: string): string[] {
  const source = SLASHED.exec(term)?.[1].replace(/^\(\?i\)/, "");
  if (source === undefined) return [term];
  const text = unescapeRegex(source);
  const choices = text === null ? source.split("|").map(unescapeRegex) : [text];
  return choices.every((choice) => choice !== null) ? choices : [];
}

/** Return the pattern that a term of the panel of patterns stands for, such as `step · loss=·`; null for another term. */
export function patternText(term: string): string | null {
  if (!PATTERN.test(term)) return null;
  const words = term.slice(1, -2).replace(/^(?:\^\\s\*|\\s(?!\+)|")/, "").replace(/(?:\\s\*\$|")$/, "");
  return words.replace(/\\s\+/g, " ").replace(/\\S(?:\+|\*\?)/g, "·").replace(/\\S\.\*\?/g, "·...").replace(/\\(\W)/g, "$1");
}

/** Describe a term for its chip. */
export function describeTerm(term: string): string {
  const pattern = patternText(term);
  if (pattern !== null) return pattern;
  const [, source, flags] = SLASHED.exec(term) ?? [];
  const texts = textsOf(term);
  if (texts.length === 0) return `/${source}/${flags.replace("c", "")}`;
  return `${texts.map((text) => `“${text}”`).join(" or ")}${flags?.includes("c") && caseFlags(source) && !source.startsWith("(?i)") ? " Aa" : ""}`;
}

export interface Matcher {
  test(text: string): boolean;
  /** Return starts and ends of the matches in a row's text. */
  find(text: string): number[];
  /** The regular expression that was typed. A message names it if it takes too long. */
  regex: string;
  /** The levels, see `levelMask`. */
  levels: number;
  active: boolean;
  error: string;
}

const MAX_MARKS = 200;

/** Return the terms of the text being typed together with the chips. */
export function filterTerms(filter: Partial<Filter>): Terms {
  const { grep = "", regex = false, matchCase = false, include = [], exclude = [], where = [], level = "" } = filter;
  const typed = parseTerms(grep, regex, matchCase);
  const joined = (chips: string[], terms: string[]): string[] => [...chips, ...terms].filter(Boolean);
  return {
    include: joined(include, typed.include),
    exclude: joined(exclude, typed.exclude),
    where: joined(where, typed.where),
    level: commonLevels(typed.level, level),
  };
}

export function usesRegex(filter: Partial<Filter>): boolean {
  const { include, exclude } = filterTerms(filter);
  return [...include, ...exclude].some(isRegex);
}

/**
 * Compile a filter. If a watchdog can stop it (`isWatched`), it may take any time. Otherwise patterns that could take too long are
 * an error, and a line that is too long to be tested is shown.
 */
export function compileFilter(filter: Partial<Filter>, isWatched = true): Matcher {
  const terms = filterTerms(filter);
  const wanted: ((line: string) => boolean)[] = [];
  const unwanted: ((line: string) => boolean)[] = [];
  const markers: RegExp[] = [];
  let error = "";
  const attempt = (what: string, work: () => void): void => {
    try {
      work();
    } catch (reason) {
      error ||= `${what}: ${regexError(reason)}`;
    }
  };
  const boundedTest = (term: string, ifTooLong: boolean): ((line: string) => boolean) => {
    const test = termTest(term);
    if (isWatched) return test;
    const limit = checkedLength(term);
    return (line) => (line.length > limit ? ifTooLong : test(line));
  };
  for (const term of terms.include) {
    attempt(term, () => {
      wanted.push(boundedTest(term, true));
      // Of a pattern nearly the whole line would be marked.
      if (!PATTERN.test(term)) markers.push(termRegex(term, "g"));
    });
  }
  for (const term of terms.exclude) attempt(term, () => unwanted.push(boundedTest(term, false)));
  for (const text of terms.where) {
    const result = parseConditions(text);
    if (result === null) error ||= `${text} is no condition on a field: write status>=500 or user="a b"`;
    for (const condition of result ?? []) {
      wanted.push(conditionTest(condition));
      markers.push(conditionRegex(condition));
    }
  }
  if (!(levelMask(terms.level) & levelMask(filter.level ?? ""))) error ||= `level>=${terms.level} excludes the chosen level ${filter.level!.replace("=", "")}`;
  return {
    regex: [...terms.include, ...terms.exclude].find(isRegex) ?? "",
    levels: levelMask(terms.level),
    error,
    active: wanted.length + unwanted.length > 0,
    test(text) {
      const line = plainText(text);
      return wanted.every((test) => test(line)) && !unwanted.some((test) => test(line));
    },
    find: (text) => findMarks(text, markers),
  };
}

/** Return starts and ends of the matches, in order and without overlaps. */
function findMarks(text: string, markers: RegExp[]): number[] {
  const marks: [number, number][] = [];
  for (const one of markers) {
    one.lastIndex = 0;
    for (let match = one.exec(text); match !== null && marks.length < MAX_MARKS; match = one.exec(text)) {
      if (match[0] === "") one.lastIndex++;
      else marks.push([match.index, match.index + match[0].length]);
    }
  }
  if (markers.length > 1) marks.sort((a, b) => a[0] - b[0]);
  const flat: number[] = [];
  for (const [from, to] of marks) {
    if (flat.length > 0 && from <= flat[flat.length - 1]) flat[flat.length - 1] = Math.max(flat[flat.length - 1], to);
    else flat.push(from, to);
  }
  return flat;
}
