/**
 * The level of a line, by the rules of `cortex_jupyter/parsing/level.py`; tests/parsing/lines.json tests both. Only the beginning
 * of a line, before its message, counts: a level word in the message is not the line's level.
 */

import { stripEscapes } from "./ansi.ts";

export const LEVELS = ["", "trace", "debug", "info", "warning", "error", "critical"] as const;
const DEBUG = 2;
const INFO = 3;
export const WARNING = 4;
export const ERROR = 5;
/** In comparisons a line without a level has this one. Most such lines are prints of training loops. */
export const DEFAULT_LEVEL = 3;

const HEAD = 96;
const NAMES = [
  "", "trace trc t finest finer verbose", "debug dbg dbug d fine config", "info inf i information informational notice", "warning warn wrn w",
  "error err eror e severe exception", "critical crit f c fatal ftl panic emerg emergency alert dpanic",
];
const RANK = new Map(NAMES.flatMap((names, rank) => names.split(" ").map((name): [string, number] => [name, rank])));
export const LEVEL_KEYS = ["level", "severity", "lvl", "levelname", "log.level", "loglevel", "level_name"];

const WORD = "trace|debug|info(?:rmation)?|notice|warn(?:ing)?|err(?:or)?|severe|crit(?:ical)?|fatal|panic|emerg|alert|verbose|fine(?:st|r)?";
// The page needs only the names of levels. The bundler leaves out what follows there, because its calls are marked as pure.
const LEVEL_AT_START = /* @__PURE__ */ (() => new RegExp(
  [
    String.raw`\[?([IWEFDC])(?:\d{4} \d\d:\d\d:\d\d\.\d| \d{4}-\d\d-\d\d \d)`,
    String.raw`([\s╭─]*(?:\+ Exception Group )?Traceback \(most recent call last\)|Exception in thread |Caused by: |goroutine \d+ \[|\s+File "[^"]+(?:"?,? ?$|", l)|\s+at (?:[\w$.<>/@]+\([^)]*(?:\)\s*)?|[\w$.<>/@]{80,}|.*[A-Za-z/>]\S*:\d+:\d+\)?(?: \{)?\s*)$|thread '[^']*' (?:\(\d+\) )?panicked at)`,
    String.raw`(?:\d[\dTZ:.,+-]*\t)?(${WORD})(?: error)?\s*[:\t]`,
  ].map((part) => `^${part}`).join("|"),
  "i",
))();
const EXCEPTION_LINE = /^(?:(?:[\w$]+\.)*[A-Z][\w$]*(?:Error|Exception)(?::|\s*$)|E {3,}\S)/;
const WARNING_LINE = /^(?:\s*\S+:\d+: |\(node:\d+\) (?:\[\w+\] )?)(?:\w+\.)*\w*Warning: /;
/** Valkey and Redis mark the level with this sign. */
const REDIS_SIGN = /^\d+:[A-Z] \d\d \w{3} \d{4} [\d:.]+ ([-.*#]) /;
// The full search is slow and few lines need it. This pattern finds those.
const MAY_NAME_LEVEL = /[[(|]|level|lvl|severity/i;
const NAMED_LEVEL = /* @__PURE__ */ (() => new RegExp(String.raw`(?<![\w.])(?:level|lvl|severity|loglevel|levelname)["']?\s*[=:]\s*["']?([A-Za-z]{3,13}|\d\d)\b|[[(|]\s*(?:(${WORD})|(TRC|DBG|INF|WRN|ERR|FTL|[TDIWEF]))\s*[\])|]`, "gi"))();
// A capital word counts anywhere in the head, if there is only one kind of it.
const MAY_HAVE_CAPITAL_WORD = /TRACE|DEBUG|DBG|INFO|NOTICE|WARN|ERR|SEVERE|CRIT|FATAL|PANIC/;
const CAPITAL_WORD = /(?<![\w./=-])(?:TRACE|DEBUG|DBG|INFO|NOTICE|WARN(?:ING)?|ERROR|ERR|SEVERE|CRIT(?:ICAL)?|FATAL|PANIC)(?![\w./=-])/g;

export function levelOf(text: string): number {
  let head = text.length > HEAD ? text.slice(0, HEAD) : text;
  if (head.includes("\u001b")) head = stripEscapes(text.slice(0, 3 * HEAD)).slice(0, HEAD);
  if (/^\s*\{/.test(head)) {
    const glanced = scanJsonLevel(text);
    if (glanced !== undefined) return glanced;
    const fields = parseJsonObject(text);
    if (fields !== null) return levelOfFields(fields);
  }
  const begins = LEVEL_AT_START.exec(head);
  if (begins !== null) return begins[2] === undefined ? rankOf(begins[1] ?? begins[3]) : ERROR;
  if (EXCEPTION_LINE.test(head)) return ERROR;
  if (head.includes("Warning: ") && WARNING_LINE.test(head)) return WARNING;
  const signed = REDIS_SIGN.exec(head);
  if (signed !== null) return { "#": WARNING, "*": INFO }[signed[1]] ?? DEBUG;
  if (MAY_NAME_LEVEL.test(head)) {
    NAMED_LEVEL.lastIndex = 0;
    for (let match = NAMED_LEVEL.exec(head); match !== null; match = NAMED_LEVEL.exec(head)) {
      const [, key, word, short] = match;
      // Of the short names only capitals are levels: "(e)" and "[w]" are prose.
      if (short === undefined || short === short.toUpperCase()) return key === undefined ? rankOf(word ?? short) : levelOfValue(/^\d/.test(key) ? Number(key) : key);
      NAMED_LEVEL.lastIndex = match.index + 1;
    }
  }
  if (!MAY_HAVE_CAPITAL_WORD.test(head)) return 0;
  let level = 0;
  for (const word of head.match(CAPITAL_WORD) ?? []) {
    const rank = rankOf(word);
    if (level !== 0 && rank !== level) return 0;
    level = rank;
  }
  return level;
}

const QUOTED = /* @__PURE__ */ LEVEL_KEYS.map((key) => `"${key}"`);
const VALUE = /\s*:\s*(?:"([^"\\]*)"|(\d+)\s*[,}])/y;

/** Return the level of a JSON line without parsing it, which would take twenty times as long; undefined if the line must be parsed. */
function scanJsonLevel(text: string): number | undefined {
  const key = QUOTED.find((name) => text.includes(name));
  if (key === undefined || !text.endsWith("}")) return undefined;
  const at = text.indexOf(key);
  // A key within another object, a list or a text does not hold the line's level.
  if (text[at - 1] === "\\" || text.lastIndexOf("{", at) !== text.indexOf("{") || text.lastIndexOf("[", at) !== -1) return undefined;
  VALUE.lastIndex = at + key.length;
  const match = VALUE.exec(text);
  return match === null ? undefined : levelOfValue(match[1] ?? Number(match[2]));
}

function parseJsonObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && !Array.isArray(value) ? (value as Record<string, unknown> | null) : null;
  } catch {
    return null;
  }
}

/** Return the level of a name, or of a number 10 to 60 as bunyan and pino use it. */
function levelOfValue(value: unknown): number {
  if (typeof value === "string") {
    const word = value.trim();
    return /^\d{1,3}$/.test(word) ? levelOfValue(Number(word)) : word.length > 1 ? rankOf(word) : 0;
  }
  return typeof value === "number" && value >= 10 && value <= 60 && value % 10 === 0 ? value / 10 : 0;
}

/** Return the level of a JSON line. Without a level field, its message may still name one. */
function levelOfFields(fields: Record<string, unknown>): number {
  for (const key of LEVEL_KEYS) if (Object.hasOwn(fields, key)) return levelOfValue(fields[key]);
  const message = Object.hasOwn(fields, "msg") ? fields.msg : fields.message;
  return typeof message === "string" && !/^\s*\{/.test(message) ? levelOf(message) : 0;
}

export const ALL_LEVELS = 0b1111110;

/** Return the levels that a filter wants, a bit for each rank: `warning` and higher ones, `info,error` or `=info` exactly; all for "". */
export function levelMask(wanted: string): number {
  const ranks = wanted.replace(/^=/, "").split(",").map(rankOf).filter(Boolean);
  if (ranks.length === 0) return ALL_LEVELS;
  if (!/[=,]/.test(wanted)) return ALL_LEVELS & (-1 << ranks[0]);
  return ranks.reduce((mask, rank) => mask | (1 << rank), 0);
}

/** Return the levels of a mask in the form that `levelMask` reads; "" for all, and for none. */
export function writeLevels(mask: number): string {
  const names = LEVELS.filter((_unused, rank) => (mask >> rank) & 1);
  if (names.length === 0 || mask === ALL_LEVELS) return "";
  return levelMask(names[0]) === mask ? names[0] : names.length > 1 ? names.join(",") : `=${names[0]}`;
}

/** Return the levels that both filters want. Filters without a common level give the first. */
export function commonLevels(one: string, other: string): string {
  return writeLevels(levelMask(one) & levelMask(other)) || one || other;
}

export function rankOf(level: string): number {
  return RANK.get(level.toLowerCase()) ?? 0;
}
