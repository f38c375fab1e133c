/**
 * Progress bars as numbers. The same as `cortex_jupyter/parsing/progress.py`, which says where the forms come from;
 * tests/parsing/fixtures/progress.json holds both.
 */

import { strip } from "./controls.ts";

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

const REACH = 1000;
const NUMBER = String.raw`\d+(?:\.\d+)?`;
const SIZE = String.raw`(?:${NUMBER}\s?[kKMGTP]?)`;
const CLOCK = String.raw`(?:\d+ days?, )?(?:\d+:)?\d+:\d\d(?:\.\d+)?`;
const TIMES = String.raw`\[(${CLOCK})(?:<(${CLOCK}|\?))?,\s*([^,\]]*)(?:,\s*([^\]]*))?\]`;
const BEFORE = /(\d{1,3})%\|/;
const TQDM = new RegExp(String.raw`[^|]*\|\s*(${SIZE})(?:/(${SIZE}))?(?: ${TIMES})?\s*$`, "y");
const DRAWN = /[█▏▎▍▌▋▊▉#\d ]*\|/y;
const OPEN = new RegExp(String.raw`^(?:(.*?):\s+)?(${SIZE})([A-Za-z]+) ${TIMES}\s*$`);
const LINE = /^(.*?)[━╸╺─╾]{5,}(.*)$/;
const KERAS = /^\s*(\d+)\/(\d+|Unknown) \[[=>.]+\](.*)$/;
const ALIVE = new RegExp(String.raw`^(?:(.*?) )?\|[^|]*\| (?:(${NUMBER})/(${NUMBER}) )?\[?(\d+)%\]? in (${NUMBER})s \(([^)]*)\)(.*)$`);
const SHARE = new RegExp(String.raw`(?<![\d.])(${NUMBER})\s?%`);
const PARTS = new RegExp(String.raw`(?<![\d.])(${NUMBER})\s?((?:[kKMGTP]i?)?[bB]?)/(${NUMBER})\s?((?:[kKMGTP]i?)?[bB]?(?:ytes)?)(?![\w/])`);
const SPEED = new RegExp(String.raw`(?<![\d.])(${NUMBER})\s?((?:[kKMGTP]i?)?)([A-Za-z]+)/s(?:ec)?\b`);
const SLOW = new RegExp(String.raw`(?<![\d.])(${NUMBER})\s?(ms|us|s)/([A-Za-z]+)`);
const WHEN = /(?:(eta)[: ]\s*)?(?<![\d:.])((?:\d+:)?\d+:\d\d|\d+s\b)/i;
const SCALE: Record<string, number> = { "": 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12, p: 1e15 };
const SIGNS = ["%|", "━", " [=", " [>", "%] in ", "it [", "/s]"];

/** What a bar shows now; null where the line is none. */
export function progress(text: string): Progress | null {
  const line = last(text);
  if (line === "" || !SIGNS.some((sign) => line.includes(sign))) return null;
  let found: RegExpExecArray | null;
  return (
    tqdm(line) ??
    ((found = KERAS.exec(line)) && keras(found)) ??
    ((found = LINE.exec(line)) && drawn(found)) ??
    ((found = ALIVE.exec(line)) && alive(found)) ??
    ((found = OPEN.exec(line)) && open(found))
  );
}

/** What carriage returns left: the last part that is not blank. */
function last(text: string): string {
  if (text.includes("\r")) text = text.slice(-4 * REACH).split("\r").findLast((part) => strip(part).trim() !== "") ?? "";
  const line = text.length <= 4 * REACH ? strip(text).trimEnd() : "";
  return line.length <= REACH ? line : "";
}

const bar = (label: string | undefined, fraction: number | null, step: number | null, total: number | null, rate: number | null, unit: string, elapsed: number | null, remaining: number | null, rest = ""): Progress =>
  ({ label: (label ?? "").trim().replace(/:+$/, "").replace(/^[ •|]+|[ •|]+$/g, ""), fraction, step, total, rate, unit, elapsed, remaining, rest: rest.trim() });

function tqdm(line: string): Progress | null {
  const share = BEFORE.exec(line);
  if (share === null) return null;
  TQDM.lastIndex = DRAWN.lastIndex = share.index + share[0].length;
  const found = TQDM.exec(line);
  if (!found || !(found[3] || (found[2] && DRAWN.test(line)))) return null;
  const [, step, total, elapsed, remaining, speed, rest] = found;
  const [at, known] = [size(step), size(total)];
  const [rate, unit] = rateOf(speed ?? "");
  return bar(line.slice(0, share.index), at !== null && known ? at / known : Number(share[1]) / 100, at, known, rate, unit, seconds(elapsed), seconds(remaining), rest);
}

function open([, label, step, unit, elapsed, remaining, speed, rest]: string[]): Progress {
  return bar(label, null, size(step), null, rateOf(speed)[0], unit, seconds(elapsed), seconds(remaining), rest);
}

/** A drawn line with numbers around it; without any it is a rule. */
function drawn([, before, behind]: string[]): Progress | null {
  const share = SHARE.exec(behind);
  const parts = PARTS.exec(behind);
  const steps = /^\s*(\d+)\/(\d+)\s*$/.exec(before);
  let [step, total, fraction]: (number | null)[] = [null, null, null];
  let unit = "";
  if (steps) [step, total, unit, before] = [Number(steps[1]), Number(steps[2]), "step", ""];
  else if (parts) {
    const scale = parts[4] || parts[2];
    [step, total] = [size(parts[1] + scale.slice(0, 1).replace(/b/i, "")), size(parts[3] + scale.slice(0, 1).replace(/b/i, ""))];
    unit = /b/i.test(scale) ? "B" : "";
  }
  if (step !== null && total) fraction = step / total;
  if (share) fraction = Number(share[1]) / 100;
  if (fraction === null) return null;
  const [rate, named] = rateOf(behind);
  const [elapsed, remaining] = when(behind, fraction >= 1);
  return bar(before, fraction, step, total, rate, unit || named, elapsed, remaining, steps ? behind.split(" - ").slice(1).join(" - ") : "");
}

function keras([, done, of, behind]: string[]): Progress {
  const [step, total] = [Number(done), of === "Unknown" ? null : Number(of)];
  const [elapsed, remaining] = when(behind, step === total);
  const said = behind.split(" - ").slice(1).filter((part) => !/^\s*(?:ETA|\d+s?\b)(?!.*: \d+\.)/.test(part));
  return bar("", total ? step / total : null, step, total, rateOf(behind)[0], "step", elapsed, remaining, said.join(" - "));
}

function alive([, label, step, total, share, elapsed, speeds, rest]: string[]): Progress {
  const [rate, unit] = rateOf(speeds);
  const bare = new RegExp(`^~?(${NUMBER})/s`).exec(speeds);
  return bar(label, Number(share) / 100, step ? Number(step) : null, step ? Number(total) : null, rate ?? (bare && Number(bare[1])), unit, Number(elapsed), when(speeds, false)[1], rest);
}

function size(text: string | undefined): number | null {
  const found = /^(\d+(?:\.\d+)?)\s?([a-z]?)$/i.exec(text?.trim() ?? "");
  return found && Number(found[1]) * SCALE[found[2].toLowerCase()];
}

/** Units per second, also where the bar gives seconds per unit. */
function rateOf(text: string): [rate: number | null, unit: string] {
  let found = SPEED.exec(text);
  if (found) return [Number(found[1]) * SCALE[found[2].slice(0, 1).toLowerCase()], /^b$/i.test(found[3]) ? "B" : found[3]];
  if ((found = SLOW.exec(text)) === null) return [null, ""];
  const each = Number(found[1]) * { s: 1, ms: 1e-3, us: 1e-6 }[found[2] as "s"];
  return [each ? 1 / each : null, found[3]];
}

/** The one time that such a bar shows: what is left, and once it is done what it took. */
function when(text: string, done: boolean): [elapsed: number | null, remaining: number | null] {
  const found = WHEN.exec(text.replace(SLOW, ""));
  if (found === null) return [null, null];
  const value = seconds(found[2]);
  return done && !found[1] ? [value, null] : [null, value];
}

function seconds(text: string | undefined): number | null {
  if (!text || text === "?") return null;
  const [clock, days] = text.split(", ").toReversed();
  return clock.replace(/s$/, "").split(":").reduce((sum, part) => 60 * sum + Number(part), 0) + 86_400 * Number.parseInt(days ?? "0", 10);
}

/** Whether a line is worth a closer look. */
export function isBar(text: string): boolean {
  return text.includes("%|") || text.includes("━━") || text.includes(" [=") || text.includes(" [>") || text.includes("it [") || text.includes("%] in ");
}
