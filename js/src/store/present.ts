/** A stored line as the row that is drawn: what to write, in which styles, what matched. Done for visible rows only. */

import type { Row, Run } from "../types.ts";
import { ansi } from "./ansi.ts";
import type { Matcher } from "./filter.ts";
import { GAP, HOLE, LEVEL_BITS, NOTICE, type TaskStore } from "./store.ts";

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

export function present(store: TaskStore, row: number, id: number, source: number, matcher: Matcher, pretty: boolean): Row {
  const flags = store.flags[row];
  const raw = store.texts[row];
  const base = { id, seq: store.seq[row], time: store.timeOf(row), source, level: flags & LEVEL_BITS };
  if (flags & NOTICE) {
    return { ...base, kind: flags & GAP ? "gap" : flags & HOLE ? "hole" : "notice", text: ansi(raw).text, runs: [], marks: [], more: 0, json: false, hint: store.hints.get(row) };
  }
  const clean = ansi(raw.length > CUT ? raw.slice(0, CUT) : raw);
  let { text, runs } = clean;
  const fields = runs.length === 0 ? asObject(raw) : null;
  const more = fields === null ? Math.max(0, raw.length - CUT) : 0;
  if (fields !== null && pretty) {
    ({ text, runs } = fromObject(fields));
    if (text.length > CUT) text = text.slice(0, CUT);
  } else if (runs.length === 0) runs = tokens(text);
  return { ...base, kind: "line", text, runs, marks: matcher.find(text), more, json: fields !== null };
}
