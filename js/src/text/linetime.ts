/** The time in the text of a line, and which of its parts repeat what the columns show. */

import { rankOf } from "./level.ts";

export interface LineTime {
  from: number;
  to: number;
  /** Time (ms); taken as UTC if the text names no zone. */
  time: number;
  hasZone: boolean;
}

const FRACTION = String.raw`(?:[.,](\d{1,9}))?`;
/**
 * `2026-01-31T12:00:00.123Z` and its variants, klog's `I0131 12:00:00.000001`, a web server's `[31/Jan/2026:12:00:00 +0000]`,
 * syslog's `Jan 31 12:00:00`.
 */
const DATE = new RegExp(String.raw`\[?(?<![\w.])(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)${FRACTION}(?: ?(Z|UTC|[+-]\d\d:?\d\d))?(?!\w)\]?`);
/** Python's and rich's `01/31/2026 12:00:00`, `[01/31/26 12:00:00]`. */
const MONTH_FIRST = new RegExp(String.raw`\[?(?<![\w./])(\d\d)\/(\d\d)\/(\d\d(?:\d\d)?),? (\d\d):(\d\d):(\d\d)${FRACTION}(?!\w)\]?`);
const KLOG = /^[IWEFD](\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d+)/;
const WEB_SERVER = /\[(\d\d)\/([A-Z][a-z]{2})\/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-]\d{4})\]/;
const SYSLOG = /^([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d)(?=\s)/;
const CLOCK = new RegExp(String.raw`^\[?(\d\d):(\d\d):(\d\d)${FRACTION}(?=[\s\]|])\]?`);
const EPOCH = /^\[?(1\d{9})(?:(\d{3})|\.(\d{1,9}))?(?=[\s\]|])\]?/;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const HEAD_CHARS = 96;
const DAY_MS = 86_400_000;
/** Time zones differ from UTC by whole quarters of an hour, at most by fourteen hours. */
const QUARTER_HOUR_MS = 900_000;
const MAX_ZONE_MS = 14 * 3_600_000;
/** Maximum delay between the program's time and the node's (ms). */
const MAX_DELAY_MS = 2000;

function parseZone(text: string): number {
  const match = /([+-])(\d\d):?(\d\d)/.exec(text);
  return match === null ? 0 : (match[1] === "-" ? -1 : 1) * (Number(match[2]) * 60 + Number(match[3])) * 60_000;
}

/** Parse the time at the beginning of a line. `near` supplies the year and the day if they are missing. */
export function parseLineTime(text: string, near: number): LineTime | null {
  const head = text.slice(0, HEAD_CHARS);
  if (!/\d:\d\d|^\[?1\d{9}/.test(head)) return null;
  const at = (found: RegExpExecArray, date: number[], fraction = "", offset = ""): LineTime => {
    const [year, month, day, hour, minute, second] = date.map(Number);
    const time = Date.UTC(year, month - 1, day, hour, minute, second) + Number(`0.${fraction || 0}`) * 1000 - parseZone(offset);
    return { from: found.index, to: found.index + found[0].length, time, hasZone: offset !== "" };
  };
  const year = new Date(near).getUTCFullYear();
  let match = DATE.exec(head);
  if (match) return at(match, match.slice(1, 7).map(Number), match[7], match[8]);
  if ((match = MONTH_FIRST.exec(head))) return at(match, [match[3].length === 2 ? 2000 + Number(match[3]) : Number(match[3]), ...[match[1], match[2], ...match.slice(4, 7)].map(Number)], match[7]);
  if ((match = KLOG.exec(head))) return at(match, [year, ...match.slice(1, 6).map(Number)], match[6]);
  if ((match = WEB_SERVER.exec(head))) return at(match, [Number(match[3]), MONTHS.indexOf(match[2]) + 1, Number(match[1]), ...match.slice(4, 7).map(Number)], "", match[7]);
  if ((match = SYSLOG.exec(head))) return at(match, [year, MONTHS.indexOf(match[1]) + 1, ...match.slice(2, 6).map(Number)]);
  if ((match = EPOCH.exec(head))) return { from: 0, to: match[0].length, time: Number(match[1]) * 1000 + Number(match[2] ?? 0) + Number(`0.${match[3] ?? 0}`) * 1000, hasZone: true };
  if ((match = CLOCK.exec(head))) {
    const clock = match.slice(1, 4).reduce((sum, part) => 60 * sum + Number(part), 0) * 1000 + Number(`0.${match[4] ?? 0}`) * 1000;
    const day = near - (near % DAY_MS) + clock;
    return { from: 0, to: match[0].length, time: [day - DAY_MS, day, day + DAY_MS].reduce((best, one) => (Math.abs(one - near) < Math.abs(best - near) ? one : best)), hasZone: false };
  }
  return null;
}

/** Return whether the time in a line's text is that of its row. If the text names no zone, any zone may match. */
export function isSameTime(stamp: Pick<LineTime, "time" | "hasZone">, time: number): boolean {
  const apart = Math.abs(stamp.time - time);
  return stamp.hasZone ? apart < MAX_DELAY_MS : apart < MAX_ZONE_MS + MAX_DELAY_MS && Math.min(apart % QUARTER_HOUR_MS, QUARTER_HOUR_MS - (apart % QUARTER_HOUR_MS)) < MAX_DELAY_MS;
}

/** A part of a line's text that repeats a column, with the separators after it. `aside` is a time in the middle of the text. */
export interface RepeatedPart {
  from: number;
  to: number;
  what: "time" | "level" | "aside";
}

/** Separators after a time or a level: blanks, and a dash, bar, colon or comma between blanks. */
const SEPARATORS = /[ \t]*(?:(?:[-–|:,](?=[ \t]|$)|\|)[ \t]*)?/y;
/** A word that may be a level: in brackets, or with what follows it. */
const LEVEL_WORD = /(?<![\w.])(?:[[(<][ \t]*([A-Za-z]{1,13})[ \t]*[\])>]:?(?![\w])|([A-Za-z]{3,13})(?![\w.]))([ \t]*(?:[-–|](?=[ \t])|[|:])?[ \t]*)/g;
/** The text in front of a time or a level that does not begin its line: it ends with a name in brackets, or with a separator. */
const AFTER_SEPARATOR = /(?:[\])>|][:]?[ \t]*|[ \t][-–][ \t]+|\t)$/;
/** In klog's format, the thread follows the time. */
const THREAD = /[ \t]+\d+(?=[ \t])/y;

function skip(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return at + (pattern.exec(text)?.[0].length ?? 0);
}

/** Return the level's place if it is the line's, and stands where programs write it and not within a sentence. */
function levelPart(text: string, start: number, level: number): RepeatedPart | null {
  const head = text.slice(0, HEAD_CHARS);
  for (const match of level === 0 ? [] : head.matchAll(LEVEL_WORD)) {
    const [all, inBrackets, word, after] = match;
    const from = match.index;
    if (rankOf(inBrackets ?? word) !== level) continue;
    const before = head.slice(from >= start ? start : 0, from);
    const isFirst = before.trim() === "";
    const isSet = isFirst || AFTER_SEPARATOR.test(before) || before.endsWith(":");
    const isEnded = /[-–|:\t]/.test(after) || (word === word?.toUpperCase() && after !== "" && (isFirst || /[\]|][ \t]*$/.test(before)));
    if (inBrackets !== undefined || (isSet && isEnded)) return { from, to: skip(SEPARATORS, text, from + all.length), what: "level" };
  }
  return null;
}

/** Return the parts of a line that repeat its row's time and level, in order. */
export function repeatedParts(text: string, time: number, level: number): RepeatedPart[] {
  const parts: RepeatedPart[] = [];
  const stamp = parseLineTime(text, time);
  let start = 0;
  if (stamp !== null && isSameTime(stamp, time)) {
    const before = text.slice(0, stamp.from);
    const isPrefix = before.trim() === "" || AFTER_SEPARATOR.test(before) || /^\[[TDIWEFC] $/.test(before) || (level > 0 && rankOf(before.replace(/[^A-Za-z]+/g, "")) === level);
    start = skip(SEPARATORS, text, KLOG.test(text) ? skip(THREAD, text, stamp.to) : stamp.to);
    parts.push({ from: stamp.from, to: isPrefix ? start : stamp.to, what: isPrefix ? "time" : "aside" });
  }
  const word = levelPart(text, start, level);
  if (word !== null && parts.every(({ from, to }) => word.to <= from || word.from >= to)) parts.push(word);
  parts.sort((a, b) => a.from - b.from);
  // A line without more than these is its own message.
  const rest = parts.reduceRight((left, { from, to }) => left.slice(0, from) + left.slice(to), text);
  return rest.trim() === "" ? parts.map((part) => ({ ...part, what: "aside" })) : parts;
}
