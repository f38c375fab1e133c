/**
 * What a terminal would show of a line, as plain text and runs of style. Escape sequences other than colours and links are
 * removed; `\r` keeps what was written last; other control codes become visible symbols, so that nothing hides.
 */

import type { Run } from "../types.ts";

// CSI, then OSC and the other string sequences, then two-character escapes; also their one-byte C1 forms.
const ESCAPES = /(?:\u001b\[|\u009b)([0-?]*)([ -/]*)([@-~]?)|(?:\u001b[\]PX^_]|[\u0090\u0098\u009d-\u009f])([^\u0007\u001b\u009c]*)(?:\u0007|\u001b\\|\u009c)?|\u001b[ -/]*[0-~]?/g;
const CONTROLS = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;
const CONTROLS_ALL = new RegExp(CONTROLS, "g");

export function strip(text: string): string {
  return text.replace(ESCAPES, "");
}

function visible(code: string): string {
  const point = code.charCodeAt(0);
  if (point < 0x20) return String.fromCharCode(0x2400 + point);
  return point === 0x7f ? "\u2421" : "\ufffd";
}

/** The last segment that a carriage return left on the line; a bar redrawn in place reads as it did at its end. */
function lastSegment(text: string): string {
  const body = text.replace(/\r+$/, "");
  const at = body.lastIndexOf("\r");
  return at === -1 ? body : body.slice(at + 1);
}

interface Style {
  fg: string;
  bg: string;
  set: Set<string>;
  link: string;
}

function colour(codes: number[], index: number): [string, number] {
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

const ON: Record<number, string> = { 1: "b", 2: "f", 3: "i", 4: "u", 7: "v", 9: "s" };
const OFF: Record<number, string[]> = { 22: ["b", "f"], 23: ["i"], 24: ["u"], 27: ["v"], 29: ["s"] };

function apply(style: Style, parameters: string): void {
  const codes = parameters.split(/[;:]/).map(Number);
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code === 0) {
      style.fg = style.bg = "";
      style.set.clear();
    } else if (ON[code]) style.set.add(ON[code]);
    else if (OFF[code]) for (const name of OFF[code]) style.set.delete(name);
    else if (code >= 30 && code < 38) style.fg = String(code - 30);
    else if (code >= 90 && code < 98) style.fg = String(code - 82);
    else if (code >= 40 && code < 48) style.bg = String(code - 40);
    else if (code >= 100 && code < 108) style.bg = String(code - 92);
    else if (code === 39) style.fg = "";
    else if (code === 49) style.bg = "";
    else if (code === 38 || code === 48) {
      const [value, used] = colour(codes, i);
      if (code === 38) style.fg = value;
      else style.bg = value;
      i += used;
    }
  }
}

/** A style as a string the page takes apart again: `a` then space-separated words. Empty for plain text. */
function named(style: Style): string {
  const words = [style.fg && `f${style.fg}`, style.bg && `g${style.bg}`, ...style.set].filter(Boolean);
  if (style.link) words.push(`l${style.link}`);
  return words.length > 0 ? `a ${words.join(" ")}` : "";
}

function safeLink(target: string): string {
  return /^https?:\/\/[^\s\u0000-\u001f]+$/i.test(target) ? target : "";
}

export function ansi(raw: string): { text: string; runs: Run[] } {
  const line = raw.includes("\r") ? lastSegment(raw) : raw;
  if (!CONTROLS.test(line)) return { text: line, runs: [] };
  const runs: Run[] = [];
  const style: Style = { fg: "", bg: "", set: new Set(), link: "" };
  let text = "";
  let at = 0;
  const take = (until: number): void => {
    text += line.slice(at, until).replace(CONTROLS_ALL, visible);
  };
  for (const found of line.matchAll(ESCAPES)) {
    take(found.index);
    at = found.index + found[0].length;
    if (found[3] === "m" && found[2] === "" && !/[<=>?]/.test(found[1])) apply(style, found[1]);
    else if (found[4]?.startsWith("8;")) style.link = safeLink(found[4].slice(2).replace(/^[^;]*;/, ""));
    else continue;
    const name = named(style);
    if (runs.length > 0 && runs[runs.length - 1][0] === text.length) runs.pop();
    if ((runs[runs.length - 1]?.[1] ?? "") !== name) runs.push([text.length, name]);
  }
  take(line.length);
  return { text, runs };
}
