/** Turns a stored line into the row that is drawn, with its styles and matches. Only visible rows are rendered. */

import type { Row, StyleRun } from "../protocol/update.ts";
import { parseAnsi, showHidden, stripEscapes } from "../text/ansi.ts";
import { fieldText } from "../text/conditions.ts";
import { formatValue, type LineFields, parseFields } from "../text/fields.ts";
import { LEVEL_KEYS } from "../text/level.ts";
import { formatProgress, mayBeBar, parseProgress } from "../text/progress.ts";
import type { Matcher } from "../text/query.ts";
import { isSameTime, parseLineTime, type RepeatedPart, repeatedParts } from "../text/linetime.ts";
import { GAP, HOLE, NOTICE } from "./lines.ts";
import type { TaskStore } from "./taskstore.ts";

/** Longer lines are cut; a click loads the whole text. */
const MAX_CHARS = 4096;
const MAX_JSON_CHARS = 65_536;
/** Longer values are cut in a column. */
const MAX_VALUE_CHARS = 200;

const MESSAGE_KEYS = ["msg", "message", "event", "log", "text"];
const TIME_KEYS = new Set(["time", "timestamp", "ts", "@timestamp", "asctime", "t"]);
const NUMBER = /^[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?%?$/i;

/** Builds a line from pieces, each with its style. */
class StyledText {
  text = "";
  readonly runs: StyleRun[] = [];

  add(text: string, style = ""): this {
    if (text === "") return this;
    if ((this.runs.at(-1)?.[1] ?? "") !== style) this.runs.push([this.text.length, style]);
    const before = this.text.length;
    this.text += showHidden(text, (from, to) => this.runs.push([before + from, "x"], [before + to, style]));
    return this;
  }

  /** Add a text that may have ANSI colours. */
  raw(text: string): this {
    const { text: clean, runs } = parseAnsi(text.replaceAll(/\r?\n/g, " ⏎ "));
    if ((this.runs.at(-1)?.[1] ?? "") !== "") this.runs.push([this.text.length, ""]);
    for (const [at, style] of runs) this.runs.push([this.text.length + at, style]);
    this.text += clean;
    if (runs.length > 0) this.runs.push([this.text.length, ""]);
    return this;
  }
}

/** Styles of what the columns show too. */
const PART_STYLES = { time: "t", level: "l", aside: "k" } as const;

/** Return whether a field holds the time of the row. */
function isRowTime(key: string, value: unknown, time: number): boolean {
  if (!TIME_KEYS.has(key)) return false;
  if (typeof value === "number") return [value, value * 1000, value / 1e6].some((ms) => isSameTime({ time: ms, hasZone: true }, time));
  const stamp = parseLineTime(String(value), time);
  return stamp !== null && isSameTime(stamp, time);
}

/** Render a structured line: level, the text before the object, the message, then all other fields with dim keys. Chosen fields have columns; beside them the message is enough. */
function renderFields({ before, fields }: LineFields, time: number, rank: number, chosen: readonly string[]): { text: string; runs: StyleRun[] } {
  const out = new StyledText();
  const level = LEVEL_KEYS.find((key) => typeof fields[key] === "string");
  const message = MESSAGE_KEYS.find((key) => typeof fields[key] === "string");
  if (before !== "") {
    let at = 0;
    for (const { from, to, what } of repeatedParts(before, time, rank)) {
      out.raw(before.slice(at, from)).add(before.slice(from, to), PART_STYLES[what]);
      at = to;
    }
    out.raw(before.slice(at));
  }
  if (level !== undefined) out.add(`${String(fields[level]).toUpperCase()} `, PART_STYLES.level);
  if (message !== undefined) out.raw(String(fields[message]));
  const others = message !== undefined && chosen.length > 0 ? [] : Object.entries(fields);
  for (const [key, value] of others) {
    if (key === level || key === message || chosen.includes(key) || isRowTime(key, value, time)) continue;
    out.add(out.text === "" || /\s$/.test(out.text) ? "" : "  ").add(`${key}=`, "k");
    const written = formatValue(value);
    out.add(written, typeof value === "number" || typeof value === "bigint" || NUMBER.test(written) ? "n" : "");
  }
  return out;
}

// Level words, links and numbers. The alternatives start with different characters, so matching takes linear time.
const TOKENS = /\b(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\b|\b(https?:\/\/[^\s"'<>\u0060)\]]+)|(?<![\w.:/-]|\d,)([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?%?)(?![\w:/-]|\.\d)/gi;
const TOKEN_CHARS = 600;

/** Style the numbers, links and level words of a plain line, and the time and level that its row shows too. */
function highlightTokens(text: string, parts: RepeatedPart[]): StyleRun[] {
  // In klog's format, file and line follow the time, then a bracket.
  const place = /^[IWEFD]\d{4} [^\]]{0,60}\] /.exec(text)?.[0].length ?? 0;
  const start = parts.some(({ from }) => from === 0) ? place : 0;
  const styled: [from: number, to: number, style: string][] = parts.map(({ from, to, what }) => [from, to, PART_STYLES[what]]);
  if (start > 0) styled.push([parts[0].to, start, "k"]);
  for (const match of text.slice(0, TOKEN_CHARS).matchAll(TOKENS)) {
    const [all, word, link] = match;
    if (word !== undefined && word !== word.toUpperCase()) continue;
    const address = link?.replace(/[.,;:!?]+$/, "");
    const style = word === undefined ? (address === undefined ? "n" : `a l${address}`) : "w";
    const [from, to] = [match.index, match.index + (address ?? all).length];
    if (styled.every((other) => to <= other[0] || from >= other[1])) styled.push([from, to, style]);
  }
  styled.sort((a, b) => a[0] - b[0]);
  return styled.flatMap(([from, to, style]): StyleRun[] => [[from, style], [to, ""]]);
}

/** Restyle the parts of a coloured line that its row shows too: the time loses its colour, the level keeps it. */
function restyleParts(runs: StyleRun[], parts: RepeatedPart[]): StyleRun[] {
  const styleAt = (at: number): string => runs.findLast(([from]) => from <= at)?.[1] ?? "";
  const restyled = (what: RepeatedPart["what"], style: string): string => (what === "level" && style.startsWith("a ") ? `${style} O` : what === "aside" ? style : PART_STYLES[what]);
  const edges = parts.flatMap(({ from, to }) => [from, to]).filter((at) => !runs.some(([from]) => from === at));
  return [...runs, ...edges.map((at): StyleRun => [at, styleAt(at)])].toSorted((a, b) => a[0] - b[0]).map(([at, style]) => {
    const part = parts.find(({ from, to }) => at >= from && at < to);
    return [at, part === undefined ? style : restyled(part.what, style)];
  });
}

/** Return the fields that are shown below an opened structured line; null for plain text and for a redrawn bar. */
export function fieldsOf(raw: string): Record<string, unknown> | null {
  return /\r[^\r]/.test(raw) ? null : (parseFields(stripEscapes(raw))?.fields ?? null);
}

/** Render a traceback as one line, with the number of its stack frames. */
function renderTraceback(store: TaskStore, row: number): Pick<Row, "text" | "runs" | "aside"> {
  const { traceback } = store.folds.heads.get(row)!;
  const { prefix, frames, chain, type } = traceback!;
  const before = prefix.trim() === "" ? "" : `${stripEscapes(prefix).trim()} `;
  const parts = repeatedParts(before, store.timeOf(row), store.levelOf(row));
  const count = frames === 0 ? "" : `${frames} frame${frames === 1 ? "" : "s"}`;
  const more = chain.length === 0 ? "" : `${chain.length} more exception${chain.length === 1 ? "" : "s"}`;
  return {
    text: before + store.folds.titleOf(row),
    runs: [...restyleParts([[0, "k"]], parts), [before.length, "e"], [before.length + (type || "Traceback").length, ""]],
    aside: [count, more].filter(Boolean).join(" · "),
  };
}

/** Render a progress bar: its last state, or if the fold is open, the state at this row. */
function renderBar(store: TaskStore, row: number, open: boolean): Pick<Row, "text" | "runs" | "aside" | "bar"> | null {
  const fold = store.folds.heads.get(row);
  const raw = store.texts[fold === undefined || open ? row : fold.last];
  const bar = parseProgress(raw);
  if (bar === null) return null;
  const times = fold?.rows ?? raw.split("\r").filter((part) => part.trim() !== "").length - 1;
  return { ...formatProgress(bar), bar: bar.fraction ?? -1, aside: times > 0 ? `${times} update${times === 1 ? "" : "s"}` : "" };
}

/** Style a line below a traceback's row: the place (file, line, function) is dim, source code is not. */
function highlightBlockLine(text: string): StyleRun[] {
  return /^[\s|]*File "|^\s+at |^[\s|]*[~^]+\s*$|^\t\S+:\d+|^[\s|]*Traceback /.test(text) ? [[0, "k"]] : [];
}

export function renderRow(store: TaskStore, row: number, id: number, source: number, matcher: Pick<Matcher, "find">, pretty: boolean, open = false, chosen: readonly string[] = []): Row {
  const flags = store.flags[row];
  const raw = store.texts[row];
  const base = { id, seq: store.seq[row], time: store.timeOf(row), source, level: store.levelOf(row) };
  if (flags & NOTICE) {
    return { ...base, kind: flags & GAP ? "gap" : flags & HOLE ? "hole" : "notice", text: parseAnsi(raw).text, runs: [], marks: [], hiddenChars: 0, hasDetails: false, hint: store.hints.get(row) };
  }
  const line = { ...base, kind: "line" as const, hiddenChars: 0, hasDetails: false };
  const { folds } = store;
  const fold = folds.heads.get(row);
  if (fold !== undefined || mayBeBar(raw)) {
    const unit = fold?.traceback ? renderTraceback(store, row) : folds.back[row] === 0 ? renderBar(store, row, open) : null;
    if (unit !== null) return { ...line, ...unit, marks: matcher.find(unit.text), fold: fold === undefined ? undefined : open ? "open" : "shut", hasDetails: fold === undefined && raw.includes("\r") };
  }
  const clean = parseAnsi(raw.length > MAX_CHARS ? raw.slice(0, MAX_CHARS) : raw);
  let { text, runs } = clean;
  const inBlock = folds.back[row] !== 0 && folds.heads.get(folds.headOf(row))?.traceback !== null;
  if (inBlock) return { ...line, text, runs: runs.length > 0 ? runs : highlightBlockLine(text), marks: matcher.find(text), hiddenChars: Math.max(0, raw.length - MAX_CHARS), isNested: true };
  const result = runs.length === 0 && raw.length <= MAX_JSON_CHARS ? parseFields(raw.length > MAX_CHARS ? raw : text) : null;
  const values = chosen.length > 0 ? chosen.map((key) => showHidden(fieldText(raw.length > MAX_CHARS && result !== null ? raw : clean.text, key).slice(0, MAX_VALUE_CHARS).replace(/\s+/g, " "))) : undefined;
  const hiddenChars = result === null ? Math.max(0, raw.length - MAX_CHARS) : 0;
  if (result !== null && pretty) {
    ({ text, runs } = renderFields(result, base.time, base.level, chosen));
    if (text.length > MAX_CHARS) text = text.slice(0, MAX_CHARS);
  } else {
    const parts = repeatedParts(text, base.time, base.level);
    runs = runs.length === 0 ? highlightTokens(text, parts) : restyleParts(runs, parts);
  }
  const equal = fold === undefined ? {} : { fold: open ? ("open" as const) : ("shut" as const), repeats: fold.rows + 1, lastTime: store.timeOf(fold.last) };
  const redrawn = /\r[^\r]/.test(raw) && !runs.some(([, style]) => style === "x");
  return { ...line, text, runs, marks: matcher.find(text), hiddenChars, aside: redrawn ? "redrawn" : undefined, hasDetails: result !== null || redrawn, values, ...equal };
}
