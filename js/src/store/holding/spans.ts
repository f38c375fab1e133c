/**
 * What of a recording is not here: stretches of time between what is loaded, each with about as many rows as it has lines, so that
 * a scroll bar tells the truth. A stretch comes from a window that begins later, from an absence, or from what was dropped to
 * save memory; looking at it loads it.
 */

import type { Outline } from "./outline.ts";

export interface UnloadedSpan {
  /** Its row in the store: says that something is not loaded, and from when to when. */
  row: number;
  /** Keys of the rows before and behind it; -Infinity where nothing is before it. */
  from: number;
  to: number;
  /** Times of the lines that are missing: keys run ahead of them where a clock went back. */
  low: number;
  high: number;
  /** About so many; 0 where nobody has counted. */
  lines: number;
  /** Cursors, where known: back from its end, on from its beginning. */
  older?: string;
  newer?: string;
  /** With `newer` in the order of recording: number of the first line behind it, when that has come. */
  until: number;
  /** Left out after an absence. */
  onDemand: boolean;
}

/** Of an absence so many lines come with one click, and are one row until then. */
export const HOLE_LINES = 5000;

/** Lines that are missing, as far as anybody knows. */
export function spanLines({ lines }: UnloadedSpan): number {
  return Math.max(1, lines);
}

/** Rows it stands for. */
export function spanRows(span: UnloadedSpan): number {
  return span.onDemand && span.lines <= HOLE_LINES ? 1 : spanLines(span);
}

/** Rows of it that lie after a time. */
export function spanRowsAfter(span: UnloadedSpan, time: number, outline: Outline | null): number {
  const rows = spanRows(span);
  if (time <= span.low) return rows;
  const all = outline?.between(span.low, span.high) ?? 0;
  const share = all > 0 ? outline!.between(time, span.high) / all : (span.high - time) / Math.max(1, span.high - span.low);
  return Math.round(rows * Math.max(0, Math.min(1, share)));
}

/** When the line stands there of which so many rows of the span are before. */
export function spanTimeAt(span: UnloadedSpan, offset: number, outline: Outline | null): number {
  const share = Math.max(0, Math.min(1, offset / spanRows(span)));
  const all = outline?.between(span.low, span.high) ?? 0;
  return all > 0 ? Math.min(span.high, outline!.timeAfter(span.low, share * all)) : span.low + (span.high - span.low) * share;
}
