/** What a row's element wears beside its text: its time as the reader wants it, its level in words, its note. */

import { LEVELS } from "../store/parsing/level.ts";
import type { Row } from "../types/rows.ts";
import { say, setFlag } from "./dom.ts";
import { after, clock, utcClock } from "./format.ts";
import type { Time } from "./settings.ts";

/** A line's time in the way that was chosen. */
export function timeText(time: Time, ms: number, start: number, before: number | undefined): string {
  switch (time) {
    case "utc":
      return utcClock(ms);
    case "start":
      return after(ms - start);
    case "delta":
      return before === undefined ? "" : after(ms - before);
    case "off":
      return "";
    case "local":
      return clock(ms);
  }
}

export interface Wardrobe {
  time: Time;
  /** When the task started, ms. */
  start: number;
  levels: boolean;
  note(row: Row): string | undefined;
}

export function dress(element: HTMLElement, row: Row, before: Row | undefined, { time, start, levels, note }: Wardrobe): void {
  if (row.kind !== "line") return;
  const [edge, clockElement] = element.children as unknown as HTMLElement[];
  if (time !== "off") say(clockElement, timeText(time, row.time, start, before?.time));
  say(edge, levels ? LEVELS[row.level] : "");
  const noted = note(row);
  setFlag(element, "cl-noted", noted !== undefined);
  if (noted !== undefined && element.dataset.note !== noted) element.dataset.note = noted;
}
