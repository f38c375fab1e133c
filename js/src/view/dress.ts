/** What a row's element wears beside its text: its time as the reader wants it, its level in words, its note. */

import { LEVELS } from "../store/parsing/level.ts";
import type { Row } from "../types/rows.ts";
import { setText, setClass } from "./dom.ts";
import { formatElapsed, formatClock, formatUtcClock } from "./format.ts";
import type { Time } from "./settings.ts";

/** A line's time in the way that was chosen. */
export function formatRowTime(time: Time, ms: number, start: number, before: number | undefined): string {
  switch (time) {
    case "utc":
      return formatUtcClock(ms);
    case "start":
      return formatElapsed(ms - start);
    case "delta":
      return before === undefined ? "" : formatElapsed(ms - before);
    case "off":
      return "";
    case "local":
      return formatClock(ms);
  }
}

export interface RowDecorator {
  time: Time;
  /** When the task started, ms. */
  start: number;
  levels: boolean;
  note(row: Row): string | undefined;
}

export function decorateRow(element: HTMLElement, row: Row, before: Row | undefined, { time, start, levels, note }: RowDecorator): void {
  if (row.kind !== "line") return;
  const [edge, clockElement] = element.children as unknown as HTMLElement[];
  if (time !== "off") setText(clockElement, formatRowTime(time, row.time, start, before?.time));
  setText(edge, levels ? LEVELS[row.level] : "");
  const noted = note(row);
  setClass(element, "cl-noted", noted !== undefined);
  if (noted !== undefined && element.dataset.note !== noted) element.dataset.note = noted;
}
