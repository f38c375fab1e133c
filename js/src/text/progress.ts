/**
 * Progress bars as numbers and as text. The rules are the same as in `cortex_jupyter/parsing/progress.py`, which explains the forms;
 * tests/parsing/fixtures/progress.json tests both.
 */

import type { StyleRun } from "../protocol/update.ts";
import { stripEscapes } from "./ansi.ts";

export interface Progress {
  label: string;
  fraction: number | null;
  step: number | null;
  total: number | null;
  /** Units per second. */
  rate: number | null;
  unit: string;
  elapsed: number | null;
  remaining: number | null;
  rest: string;
}

const MAX_BAR_CHARS = 1000;
const NUMBER = String.raw`\d+(?:\.\d+)?`;
const SIZE = String.raw`(?:${NUMBER}\s?[kKMGTP]?)`;
const CLOCK = String.raw`(?:\d+ days?, )?(?:\d+:)?\d+:\d\d(?:\.\d+)?`;
const TIMES = String.raw`\[(${CLOCK})(?:<(${CLOCK}|\?))?,\s*([^,\]]*)(?:,\s*([^\]]*))?\]`;
const PERCENT = /(\d{1,3})%\|/;
const TQDM = new RegExp(String.raw`[^|]*\|\s*(${SIZE})(?:/(${SIZE}))?(?: ${TIMES})?\s*$`, "y");
const DRAWN = /[█▏▎▍▌▋▊▉#\d ]*\|/y;
const OPEN_TQDM = new RegExp(String.raw`^(?:(.*?):\s+)?(${SIZE})([A-Za-z]+) ${TIMES}\s*$`);
const LINE = /^(.*?)[━╸╺─╾]{5,}(.*)$/;
const KERAS = /^\s*(\d+)\/(\d+|Unknown) \[[=>.]+\](.*)$/;
const ALIVE = new RegExp(String.raw`^(?:(.*?) )?\|[^|]*\| (?:(${NUMBER})/(${NUMBER}) )?\[?(\d+)%\]? in (${NUMBER})s \(([^)]*)\)(.*)$`);
const PERCENTAGE = new RegExp(String.raw`(?<![\d.])(${NUMBER})\s?%`);
const AMOUNTS = new RegExp(String.raw`(?<![\d.])(${NUMBER})\s?((?:[kKMGTP]i?)?[bB]?)/(${NUMBER})\s?((?:[kKMGTP]i?)?[bB]?(?:ytes)?)(?![\w/])`);
const SPEED = new RegExp(String.raw`(?<![\d.])(${NUMBER})\s?((?:[kKMGTP]i?)?)([A-Za-z]+)/s(?:ec)?\b`);
const TIME_PER_UNIT = new RegExp(String.raw`(?<![\d.])(${NUMBER})\s?(ms|us|s)/([A-Za-z]+)`);
const CLOCK_TIME = /(?:(eta)[: ]\s*)?(?<![\d:.])((?:\d+:)?\d+:\d\d|\d+s\b)/i;
const SCALE: Record<string, number> = { "": 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12, p: 1e15 };
const BAR_SIGNS = ["%|", "━", " [=", " [>", "%] in ", "it [", "/s]"];

/** Parse the current state of a bar; null if the line is not a bar. */
export function parseProgress(text: string): Progress | null {
  const line = lastPart(text);
  if (line === "" || !BAR_SIGNS.some((sign) => line.includes(sign))) return null;
  let match: RegExpExecArray | null;
  return (
    parseTqdm(line) ??
    ((match = KERAS.exec(line)) && parseKeras(match)) ??
    ((match = LINE.exec(line)) && parseDrawnBar(match)) ??
    ((match = ALIVE.exec(line)) && parseAlive(match)) ??
    ((match = OPEN_TQDM.exec(line)) && parseOpenTqdm(match))
  );
}

/** Return the last part between carriage returns that is not blank. */
function lastPart(text: string): string {
  if (text.includes("\r")) text = text.slice(-4 * MAX_BAR_CHARS).split("\r").findLast((part) => stripEscapes(part).trim() !== "") ?? "";
  const line = text.length <= 4 * MAX_BAR_CHARS ? stripEscapes(text).trimEnd() : "";
  return line.length <= MAX_BAR_CHARS ? line : "";
}

const newBar = (label: string | undefined, fraction: number | null, step: number | null, total: number | null, rate: number | null, unit: string, elapsed: number | null, remaining: number | null, rest = ""): Progress =>
  ({ label: (label ?? "").trim().replace(/:+$/, "").replace(/^[ •|]+|[ •|]+$/g, ""), fraction, step, total, rate, unit, elapsed, remaining, rest: rest.trim() });

function parseTqdm(line: string): Progress | null {
  const share = PERCENT.exec(line);
  if (share === null) return null;
  TQDM.lastIndex = DRAWN.lastIndex = share.index + share[0].length;
  const match = TQDM.exec(line);
  if (!match || !(match[3] || (match[2] && DRAWN.test(line)))) return null;
  const [, step, total, elapsed, remaining, speed, rest] = match;
  const [at, known] = [parseSize(step), parseSize(total)];
  const [rate, unit] = parseRate(speed ?? "");
  return newBar(line.slice(0, share.index), at !== null && known ? at / known : Number(share[1]) / 100, at, known, rate, unit, parseSeconds(elapsed), parseSeconds(remaining), rest);
}

function parseOpenTqdm([, label, step, unit, elapsed, remaining, speed, rest]: string[]): Progress {
  return newBar(label, null, parseSize(step), null, parseRate(speed)[0], unit, parseSeconds(elapsed), parseSeconds(remaining), rest);
}

/** Parse a drawn line with numbers around it. A line without numbers is only a separator. */
function parseDrawnBar([, before, behind]: string[]): Progress | null {
  const share = PERCENTAGE.exec(behind);
  const parts = AMOUNTS.exec(behind);
  const steps = /^\s*(\d+)\/(\d+)\s*$/.exec(before);
  let [step, total, fraction]: (number | null)[] = [null, null, null];
  let unit = "";
  if (steps) [step, total, unit, before] = [Number(steps[1]), Number(steps[2]), "step", ""];
  else if (parts) {
    const scale = parts[4] || parts[2];
    [step, total] = [parseSize(parts[1] + scale.slice(0, 1).replace(/b/i, "")), parseSize(parts[3] + scale.slice(0, 1).replace(/b/i, ""))];
    unit = /b/i.test(scale) ? "B" : "";
  }
  if (step !== null && total) fraction = step / total;
  if (share) fraction = Number(share[1]) / 100;
  if (fraction === null) return null;
  const [rate, named] = parseRate(behind);
  const [elapsed, remaining] = parseTimes(behind, fraction >= 1);
  return newBar(before, fraction, step, total, rate, unit || named, elapsed, remaining, steps ? behind.split(" - ").slice(1).join(" - ") : "");
}

function parseKeras([, done, of, behind]: string[]): Progress {
  const [step, total] = [Number(done), of === "Unknown" ? null : Number(of)];
  const [elapsed, remaining] = parseTimes(behind, step === total);
  const parts = behind.split(" - ").slice(1).filter((part) => !/^\s*(?:ETA|\d+s?\b)(?!.*: \d+\.)/.test(part));
  return newBar("", total ? step / total : null, step, total, parseRate(behind)[0], "step", elapsed, remaining, parts.join(" - "));
}

function parseAlive([, label, step, total, share, elapsed, speeds, rest]: string[]): Progress {
  const [rate, unit] = parseRate(speeds);
  const bare = new RegExp(`^~?(${NUMBER})/s`).exec(speeds);
  return newBar(label, Number(share) / 100, step ? Number(step) : null, step ? Number(total) : null, rate ?? (bare && Number(bare[1])), unit, Number(elapsed), parseTimes(speeds, false)[1], rest);
}

function parseSize(text: string | undefined): number | null {
  const match = /^(\d+(?:\.\d+)?)\s?([a-z]?)$/i.exec(text?.trim() ?? "");
  return match && Number(match[1]) * SCALE[match[2].toLowerCase()];
}

/** Return the units per second. The bar may show seconds per unit. */
function parseRate(text: string): [rate: number | null, unit: string] {
  let match = SPEED.exec(text);
  if (match) return [Number(match[1]) * SCALE[match[2].slice(0, 1).toLowerCase()], /^b$/i.test(match[3]) ? "B" : match[3]];
  if ((match = TIME_PER_UNIT.exec(text)) === null) return [null, ""];
  const each = Number(match[1]) * { s: 1, ms: 1e-3, us: 1e-6 }[match[2] as "s"];
  return [each ? 1 / each : null, match[3]];
}

/** Return the time to show for a bar: the remaining time, or once it is done, the elapsed time. */
function parseTimes(text: string, done: boolean): [elapsed: number | null, remaining: number | null] {
  const match = CLOCK_TIME.exec(text.replace(TIME_PER_UNIT, ""));
  if (match === null) return [null, null];
  const value = parseSeconds(match[2]);
  return done && !match[1] ? [value, null] : [null, value];
}

function parseSeconds(text: string | undefined): number | null {
  if (!text || text === "?") return null;
  const [clock, days] = text.split(", ").toReversed();
  return clock.replace(/s$/, "").split(":").reduce((sum, part) => 60 * sum + Number(part), 0) + 86_400 * Number.parseInt(days ?? "0", 10);
}

/** Return whether a line is worth parsing as a bar. */
export function mayBeBar(text: string): boolean {
  return text.includes("%|") || text.includes("━━") || text.includes(" [=") || text.includes(" [>") || text.includes("it [") || text.includes("%] in ");
}

/** Return a number with its digits in groups of three. */
function formatCount(value: number): string {
  return value.toLocaleString("en").replaceAll(",", "\u202f");
}

function formatBytes(value: number): string {
  const power = value < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(value) / 3));
  return `${(value / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

/** Return a duration in two units: `4 m 05 s`. */
function formatDuration(seconds: number): string {
  const s = Math.round(seconds);
  const two = (value: number): string => String(value).padStart(2, "0");
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${two(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${two(Math.floor(s / 60) % 60)} m`;
  return `${Math.floor(s / 86_400)} d ${two(Math.floor(s / 3600) % 24)} h`;
}

function formatRate(value: number, unit: string): string {
  if (unit === "B") return `${formatBytes(value)}/s`;
  if (value < 1 && value > 0) return `${Number((1 / value).toPrecision(2))} s/${unit || "it"}`;
  return `${formatCount(Number(value.toPrecision(value < 1000 ? 3 : 4)))} ${unit || "it"}/s`;
}

export function formatProgress(bar: Progress): { text: string; runs: StyleRun[] } {
  const amount = bar.unit === "B" ? formatBytes : formatCount;
  const parts: [text: string, style: string][] = [];
  const add = (text: string | null, style = ""): void => void (text && parts.push([text, style]));
  add(bar.label);
  add(bar.fraction === null ? null : `${Math.floor(100 * bar.fraction)}\u202f%`, "n");
  add(bar.step === null ? null : bar.total === null ? `${amount(bar.step)}${bar.unit && bar.unit !== "B" ? ` ${bar.unit}` : ""}` : `${amount(bar.step)} / ${amount(bar.total)}`);
  add(bar.rate === null ? null : formatRate(bar.rate, bar.unit), "k");
  const done = bar.fraction !== null && bar.fraction >= 1;
  if (done && bar.elapsed !== null) add(`in ${formatDuration(bar.elapsed)}`, "k");
  else if (!done && bar.remaining !== null) add(`${formatDuration(bar.remaining)} left`);
  else if (bar.elapsed !== null) add(`after ${formatDuration(bar.elapsed)}`, "k");
  add(bar.rest, "k");
  const runs: StyleRun[] = [];
  let text = "";
  for (const [part, style] of parts) {
    if (text !== "") text += "  ";
    if (style !== "") runs.push([text.length, style], [text.length + part.length, ""]);
    text += part;
  }
  return { text, runs };
}
