/** A stored line as the row that is drawn: what to write, in which styles, what matched. Done for visible rows only. */

import type { Row, Run } from "../types.ts";
import { ansi, strip } from "./ansi.ts";
import { barText } from "./bar.ts";
import type { Matcher } from "./filter.ts";
import { isBar } from "./folds.ts";
import { progress } from "./progress.ts";
import { GAP, HOLE, NOTICE, type TaskStore } from "./store.ts";

/** Longer lines are cut in display; a click asks for the whole text. */
export const CUT = 4096;
const JSON_MAX = 65_536;

const MESSAGE_KEYS = ["message", "msg", "event", "text", "log"];
const HIDDEN_KEYS = new Set(["time", "timestamp", "ts", "@timestamp", "asctime"]);
const LEVEL_KEYS = ["level", "levelname", "severity", "lvl"];

function valueText(value: unknown): string {
  if (typeof value === "string") return /^[^\s"=\u0000-\u001f]+$/.test(value) ? value : JSON.stringify(value);
  return JSON.stringify(value) ?? "null";
}

export function asObject(text: string): Record<string, unknown> | null {
  if (text.length > JSON_MAX || text[0] !== "{" || text[text.length - 1] !== "}") return null;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Message first, then the other fields with dim keys. */
function fromObject(fields: Record<string, unknown>): { text: string; runs: Run[] } {
  const rest = { ...fields };
  const runs: Run[] = [];
  let text = "";
  const level = LEVEL_KEYS.find((key) => typeof rest[key] === "string");
  if (level !== undefined) {
    text = `${String(rest[level]).toUpperCase()} `;
    runs.push([0, "w"], [text.length, ""]);
    delete rest[level];
  }
  const message = MESSAGE_KEYS.find((key) => typeof rest[key] === "string");
  if (message !== undefined) {
    text += ansi(String(rest[message]).replaceAll("\n", " ⏎ ")).text;
    delete rest[message];
  }
  for (const [key, value] of Object.entries(rest)) {
    if (HIDDEN_KEYS.has(key)) continue;
    if (text !== "") text += text.endsWith(" ") ? "" : "  ";
    runs.push([text.length, "k"]);
    text += `${key}=`;
    runs.push([text.length, typeof value === "number" ? "n" : ""]);
    text += valueText(value);
    runs.push([text.length, ""]);
  }
  return { text, runs };
}

// Words of level, keys, numbers after = or : or alone. Linear: alternatives start on different characters.
const TOKENS = /\b(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\b|\b(https?:\/\/[^\s"'<>\u0060)\]]+)|(?<![\w.:/-]|\d,)([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?%?)(?![\w:/-]|\.\d)/gi;
const TOKEN_HEAD = 600;

/** Numbers, links and the level's word of a plain line. */
function tokens(text: string): Run[] {
  const runs: Run[] = [];
  for (const found of text.slice(0, TOKEN_HEAD).matchAll(TOKENS)) {
    const [all, word, link] = found;
    if (word !== undefined && word !== word.toUpperCase()) continue;
    const style = word === undefined ? (link === undefined ? "n" : `a l${link}`) : "w";
    runs.push([found.index, style], [found.index + all.length, ""]);
  }
  return runs;
}

/** A traceback in one line: what it is, and how much is below. */
function folded(store: TaskStore, row: number): Pick<Row, "text" | "runs" | "aside"> {
  const { said } = store.folds.heads.get(row)!;
  const { prefix, frames, chain, type } = said!;
  const before = prefix.trim() === "" ? "" : `${strip(prefix).trim()} `;
  const count = frames === 0 ? "" : `${frames} frame${frames === 1 ? "" : "s"}`;
  const more = chain.length === 0 ? "" : `${chain.length} more exception${chain.length === 1 ? "" : "s"}`;
  return {
    text: before + store.folds.titleOf(row),
    runs: [[0, "k"], [before.length, "e"], [before.length + (type || "Traceback").length, ""]],
    aside: [count, more].filter(Boolean).join(" · "),
  };
}

/** A progress bar as it stands; opened as it stood at this row. */
function drawn(store: TaskStore, row: number, open: boolean): Pick<Row, "text" | "runs" | "aside" | "bar"> | null {
  const fold = store.folds.heads.get(row);
  const raw = store.texts[fold === undefined || open ? row : fold.last];
  const bar = progress(raw);
  if (bar === null) return null;
  const times = fold?.rows ?? raw.split("\r").filter((part) => part.trim() !== "").length - 1;
  return { ...barText(bar), bar: bar.fraction ?? -1, aside: times > 0 ? `${times} update${times === 1 ? "" : "s"}` : "" };
}

/** Below the row of a traceback its lines as written: where dim, what in the ink. */
function below(text: string): Run[] {
  return /^[\s|]*File "|^\s+at |^[\s|]*[~^]+\s*$|^\t\S+:\d+|^[\s|]*Traceback /.test(text) ? [[0, "k"]] : [];
}

export function present(store: TaskStore, row: number, id: number, source: number, matcher: Matcher, pretty: boolean, open = false): Row {
  const flags = store.flags[row];
  const raw = store.texts[row];
  const base = { id, seq: store.seq[row], time: store.timeOf(row), source, level: store.levelOf(row) };
  if (flags & NOTICE) {
    return { ...base, kind: flags & GAP ? "gap" : flags & HOLE ? "hole" : "notice", text: ansi(raw).text, runs: [], marks: [], more: 0, json: false, hint: store.hints.get(row) };
  }
  const line = { ...base, kind: "line" as const, more: 0, json: false };
  const { folds } = store;
  const fold = folds.heads.get(row);
  if (fold !== undefined || isBar(raw)) {
    const unit = fold?.said ? folded(store, row) : folds.back[row] === 0 ? drawn(store, row, open) : null;
    if (unit !== null) return { ...line, ...unit, marks: matcher.find(unit.text), fold: fold === undefined ? undefined : open ? "open" : "shut", json: fold === undefined && raw.includes("\r") };
  }
  const clean = ansi(raw.length > CUT ? raw.slice(0, CUT) : raw);
  let { text, runs } = clean;
  const inBlock = folds.back[row] !== 0 && folds.heads.get(folds.headOf(row))?.said !== null;
  if (inBlock) return { ...line, text, runs: runs.length > 0 ? runs : below(text), marks: matcher.find(text), more: Math.max(0, raw.length - CUT), below: true };
  const fields = runs.length === 0 ? asObject(raw) : null;
  const more = fields === null ? Math.max(0, raw.length - CUT) : 0;
  if (fields !== null && pretty) {
    ({ text, runs } = fromObject(fields));
    if (text.length > CUT) text = text.slice(0, CUT);
  } else if (runs.length === 0) runs = tokens(text);
  return { ...line, text, runs, marks: matcher.find(text), more, json: fields !== null };
}
