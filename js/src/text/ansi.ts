/** Removes escape sequences and hidden characters, shows them, or converts them into styles as a terminal does. */

import type { StyleRun } from "../protocol/update.ts";

// CSI, then OSC and the other string sequences, then two-character escapes, each with its one-byte C1 form.
const ESCAPES = /(?:\u001b\[|\u009b)([0-?]*)([ -/]*)([@-~]?)|(?:\u001b[\]PX^_]|[\u0090\u0098\u009d-\u009f])([^\u0007\u001b\u009c]*)(?:\u0007|\u001b\\|\u009c)?|\u001b[ -/]*[0-~]?/g;

// Joiners are needed in some scripts and in emoji. Elsewhere they could hide text.
const HIDDEN = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb]|(?<![^\u0000-\u00ff])[\u200c\u200d]|[\u200c\u200d](?![^\u0000-\u00ff])|\u034f|\udb40[\udc00-\udfff]/;
const ALL_HIDDEN = new RegExp(HIDDEN, "g");

const C0 = "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(" ");
const NAMES: Record<number, string> = {
  0x7f: "DEL", 0xad: "SHY", 0x61c: "ALM", 0x200b: "ZWSP", 0x200c: "ZWNJ", 0x200d: "ZWJ", 0x200e: "LRM", 0x200f: "RLM", 0x202a: "LRE", 0x202b: "RLE", 0x202c: "PDF",
  0x202d: "LRO", 0x202e: "RLO", 0x2060: "WJ", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI", 0xfeff: "BOM",
};

export function stripEscapes(text: string): string {
  return text.replace(ESCAPES, "");
}

/** Remove escape sequences. Most lines have none, so look for one first. */
export function plainText(text: string): string {
  return text.includes("\u001b") ? stripEscapes(text) : text;
}

function hasHidden(text: string): boolean {
  return HIDDEN.test(text);
}

/** Return the name that stands for a hidden character. */
function controlName(letter: string): string {
  const point = letter.codePointAt(0)!;
  return C0[point] ?? NAMES[point] ?? `U+${point.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** Replace hidden characters with their names. `at` is called with the place of each name. */
export function showHidden(text: string, at?: (from: number, to: number) => void): string {
  if (!HIDDEN.test(text)) return text;
  let out = "";
  let last = 0;
  for (const match of text.matchAll(ALL_HIDDEN)) {
    out += text.slice(last, match.index);
    const name = controlName(match[0]);
    at?.(out.length, out.length + name.length);
    out += name;
    last = match.index + match[0].length;
  }
  return out + text.slice(last);
}

/** Return a text for display over several lines: without escape sequences, and with names in place of hidden characters. */
export function visibleText(text: string): string {
  return stripEscapes(text).split("\n").map((line) => showHidden(line.replace(/\r$/, ""))).join("\n");
}

/** Return the letters of a text. A progress bar that redraws itself keeps its letters and changes its numbers. */
function letters(text: string): string {
  return stripEscapes(text).replace(/[^\p{L}]+/gu, "");
}

/** Return the last state of a line that was redrawn with carriage returns. If its parts are different texts, return all of it. */
function lastState(text: string): string {
  const body = text.replace(/\r+$/, "");
  const states = body.split("\r").filter((state) => state.trim() !== "");
  const last = states.at(-1) ?? "";
  const expected = letters(last);
  const redrawn = states.slice(-STATES_COMPARED).every((state) => {
    const other = letters(state);
    return expected.startsWith(other.slice(0, PREFIX_LETTERS)) || other.startsWith(expected.slice(0, PREFIX_LETTERS));
  });
  return redrawn ? last : body;
}

/** Number of states that are compared. */
const STATES_COMPARED = 20;
/** Number of first letters of a state that are compared: a label stays the same, but its end may change. */
const PREFIX_LETTERS = 3;

interface Style {
  fg: string;
  bg: string;
  set: Set<string>;
  link: string;
}

function parseColour(codes: number[], index: number): [string, number] {
  if (codes[index + 1] === 5) {
    const n = codes[index + 2] ?? 0;
    if (n < 16) return [String(n), 2];
    if (n > 231) {
      const grey = 8 + 10 * (n - 232);
      return [`#${grey},${grey},${grey}`, 2];
    }
    const parts = [Math.floor((n - 16) / 36), Math.floor((n - 16) / 6) % 6, (n - 16) % 6];
    return [`#${parts.map((value) => (value === 0 ? 0 : 55 + 40 * value)).join(",")}`, 2];
  }
  if (codes[index + 1] === 2) {
    const [r, g, b] = [codes[index + 2], codes[index + 3], codes[index + 4]].map((value) => Math.min(255, value || 0));
    return [`#${r},${g},${b}`, 4];
  }
  return ["", 1];
}

const CODES_ON: Record<number, string> = { 1: "b", 2: "f", 3: "i", 4: "u", 7: "v", 9: "s" };
const CODES_OFF: Record<number, string[]> = { 22: ["b", "f"], 23: ["i"], 24: ["u"], 27: ["v"], 29: ["s"] };

function applyCodes(style: Style, parameters: string): void {
  const codes = parameters.split(/[;:]/).map(Number);
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code === 0) {
      style.fg = style.bg = "";
      style.set.clear();
    } else if (CODES_ON[code]) style.set.add(CODES_ON[code]);
    else if (CODES_OFF[code]) for (const name of CODES_OFF[code]) style.set.delete(name);
    else if (code >= 30 && code < 38) style.fg = String(code - 30);
    else if (code >= 90 && code < 98) style.fg = String(code - 82);
    else if (code >= 40 && code < 48) style.bg = String(code - 40);
    else if (code >= 100 && code < 108) style.bg = String(code - 92);
    else if (code === 39) style.fg = "";
    else if (code === 49) style.bg = "";
    else if (code === 38 || code === 48) {
      const [value, used] = parseColour(codes, i);
      if (code === 38) style.fg = value;
      else style.bg = value;
      i += used;
    }
  }
}

/** Return a style as text: `a`, then words separated by spaces; "" for plain text. The page parses it. */
function styleName(style: Style): string {
  const words = [style.fg && `f${style.fg}`, style.bg && `g${style.bg}`, ...style.set].filter(Boolean);
  if (style.link) words.push(`l${style.link}`);
  return words.length > 0 ? `a ${words.join(" ")}` : "";
}

function safeLink(target: string): string {
  return !hasHidden(target) && /^https?:\/\/[^\s]+$/i.test(target) ? target : "";
}

const LINK = /\bhttps?:\/\/[^\s"'<>\u0060)\]]*[^\s"'<>\u0060)\].,;:!?]/g;

/** Add links to a text that already has styles. */
function addLinks(text: string, runs: StyleRun[]): StyleRun[] {
  if (!text.includes("://") || runs.some(([, style]) => style.includes(" l"))) return runs;
  const out: StyleRun[] = [];
  let next = 0;
  let style = "";
  for (const match of text.matchAll(LINK)) {
    const end = match.index + match[0].length;
    for (; next < runs.length && runs[next][0] <= match.index; next++) out.push([runs[next][0], (style = runs[next][1])]);
    out.push([match.index, `${style || "a"} l${match[0]}`]);
    for (; next < runs.length && runs[next][0] <= end; next++) style = runs[next][1];
    out.push([end, style]);
  }
  return [...out, ...runs.slice(next)];
}

export function parseAnsi(raw: string): { text: string; runs: StyleRun[] } {
  const line = raw.includes("\r") ? lastState(raw) : raw;
  if (!hasHidden(line)) return { text: line, runs: [] };
  const runs: StyleRun[] = [];
  const style: Style = { fg: "", bg: "", set: new Set(), link: "" };
  let text = "";
  let at = 0;
  const take = (until: number): void => {
    const before = text.length;
    text += showHidden(line.slice(at, until), (from, to) => {
      const name = styleName(style);
      if (runs.at(-1)?.[0] === before + from) runs.pop();
      runs.push([before + from, "x"], [before + to, name]);
    });
  };
  for (const match of line.matchAll(ESCAPES)) {
    take(match.index);
    at = match.index + match[0].length;
    if (match[3] === "m" && match[2] === "" && !/[<=>?]/.test(match[1])) applyCodes(style, match[1]);
    else if (match[4]?.startsWith("8;")) style.link = safeLink(match[4].slice(2).replace(/^[^;]*;/, ""));
    else continue;
    const name = styleName(style);
    if (runs.length > 0 && runs[runs.length - 1][0] === text.length) runs.pop();
    if ((runs[runs.length - 1]?.[1] ?? "") !== name) runs.push([text.length, name]);
  }
  take(line.length);
  return { text, runs: addLinks(text, runs) };
}
