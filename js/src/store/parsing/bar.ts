/** A progress bar in words: label, percent, how much of how much, how fast, how long still. */

import type { StyleRun } from "../../types/rows.ts";
import type { Progress } from "./progress.ts";

/** Thousands apart, as the status bar writes them. */
function formatCount(value: number): string {
  return value.toLocaleString("en").replaceAll(",", "\u202f");
}

function formatBytes(value: number): string {
  const power = value < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(value) / 3));
  return `${(value / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

/** `4 m 05 s`, the two units that matter. */
export function formatDuration(seconds: number): string {
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
