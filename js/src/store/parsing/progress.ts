/**
 * Progress bars as numbers. The same as `cortex_jupyter/parsing/progress.py`, which says where the forms come from;
 * tests/parsing/fixtures/progress.json holds both.
 */

import { stripEscapes } from "./controls.ts";

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

/** What a bar shows now; null where the line is none. */
export function parseProgress(text: string): Progress | null {
  const line = lastPart(text);
  if (line === "" || !BAR_SIGNS.some((sign) => line.includes(sign))) return null;
  let found: RegExpExecArray | null;
  return (
    parseTqdm(line) ??
    ((found = KERAS.exec(line)) && parseKeras(found)) ??
    ((found = LINE.exec(line)) && parseDrawnBar(found)) ??
    ((found = ALIVE.exec(line)) && parseAlive(found)) ??
    ((found = OPEN_TQDM.exec(line)) && parseOpenTqdm(found))
  );
}

/** What carriage returns left: the last part that is not blank. */
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
  const found = TQDM.exec(line);
  if (!found || !(found[3] || (found[2] && DRAWN.test(line)))) return null;
  const [, step, total, elapsed, remaining, speed, rest] = found;
  const [at, known] = [parseSize(step), parseSize(total)];
  const [rate, unit] = parseRate(speed ?? "");
  return newBar(line.slice(0, share.index), at !== null && known ? at / known : Number(share[1]) / 100, at, known, rate, unit, parseSeconds(elapsed), parseSeconds(remaining), rest);
}

function parseOpenTqdm([, label, step, unit, elapsed, remaining, speed, rest]: string[]): Progress {
  return newBar(label, null, parseSize(step), null, parseRate(speed)[0], unit, parseSeconds(elapsed), parseSeconds(remaining), rest);
}

/** A drawn line with numbers around it; without any it is a rule. */
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
  const said = behind.split(" - ").slice(1).filter((part) => !/^\s*(?:ETA|\d+s?\b)(?!.*: \d+\.)/.test(part));
  return newBar("", total ? step / total : null, step, total, parseRate(behind)[0], "step", elapsed, remaining, said.join(" - "));
}

function parseAlive([, label, step, total, share, elapsed, speeds, rest]: string[]): Progress {
  const [rate, unit] = parseRate(speeds);
  const bare = new RegExp(`^~?(${NUMBER})/s`).exec(speeds);
  return newBar(label, Number(share) / 100, step ? Number(step) : null, step ? Number(total) : null, rate ?? (bare && Number(bare[1])), unit, Number(elapsed), parseTimes(speeds, false)[1], rest);
}

function parseSize(text: string | undefined): number | null {
  const found = /^(\d+(?:\.\d+)?)\s?([a-z]?)$/i.exec(text?.trim() ?? "");
  return found && Number(found[1]) * SCALE[found[2].toLowerCase()];
}

/** Units per second, also where the bar gives seconds per unit. */
function parseRate(text: string): [rate: number | null, unit: string] {
  let found = SPEED.exec(text);
  if (found) return [Number(found[1]) * SCALE[found[2].slice(0, 1).toLowerCase()], /^b$/i.test(found[3]) ? "B" : found[3]];
  if ((found = TIME_PER_UNIT.exec(text)) === null) return [null, ""];
  const each = Number(found[1]) * { s: 1, ms: 1e-3, us: 1e-6 }[found[2] as "s"];
  return [each ? 1 / each : null, found[3]];
}

/** The one time that such a bar shows: what is left, and once it is done what it took. */
function parseTimes(text: string, done: boolean): [elapsed: number | null, remaining: number | null] {
  const found = CLOCK_TIME.exec(text.replace(TIME_PER_UNIT, ""));
  if (found === null) return [null, null];
  const value = parseSeconds(found[2]);
  return done && !found[1] ? [value, null] : [null, value];
}

function parseSeconds(text: string | undefined): number | null {
  if (!text || text === "?") return null;
  const [clock, days] = text.split(", ").toReversed();
  return clock.replace(/s$/, "").split(":").reduce((sum, part) => 60 * sum + Number(part), 0) + 86_400 * Number.parseInt(days ?? "0", 10);
}

/** Whether a line is worth a closer look. */
export function mayBeBar(text: string): boolean {
  return text.includes("%|") || text.includes("━━") || text.includes(" [=") || text.includes(" [>") || text.includes("it [") || text.includes("%] in ");
}
