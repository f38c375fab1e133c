/**
 * The outline of a recording, as the server counts it, and the spans of it that are not loaded. A span takes about as many rows
 * as it has lines, so the scroll bar covers the whole recording. Spans come from windows, absences and evicted lines; looking at
 * one loads it.
 */

import type { OutlineDoc } from "../protocol/events.ts";
import { fromNs } from "../text/time.ts";
import { lowerBound } from "./sequence.ts";

const NEARLY_ALL = 0.98;

export class Outline {
  readonly records: number;
  /** Sequence number of the last record that is counted. */
  readonly lastSeq: number;
  /** Time of the first and the last line (ms); both 0 if there is none. */
  readonly first: number;
  readonly last: number;
  readonly start: number;
  readonly width: number;
  readonly lines: number[];
  /** Levels and sources are counted for nearly all lines. */
  readonly isCounted: boolean;
  /** Counts for each bin; null until nearly all lines have been examined. */
  readonly warnings: number[] | null;
  readonly errors: number[] | null;
  /** Number of lines before each bin. */
  readonly #linesBeforeBin: Float64Array;

  constructor({ records, upto, first, last, start, width, lines, warnings, errors, counted = 0 }: OutlineDoc) {
    this.records = records;
    this.lastSeq = upto;
    this.first = first === null ? 0 : fromNs(first);
    this.last = last === null ? 0 : fromNs(last);
    this.start = fromNs(start);
    this.width = Number(width) / 1e6;
    this.lines = lines;
    // While a task runs, its newest lines are always still to be counted.
    this.isCounted = counted >= records * NEARLY_ALL;
    this.warnings = this.isCounted && warnings ? warnings : null;
    this.errors = this.isCounted && errors ? errors : null;
    this.#linesBeforeBin = new Float64Array(lines.length + 1);
    for (const [i, count] of lines.entries()) this.#linesBeforeBin[i + 1] = this.#linesBeforeBin[i] + count;
  }

  /** Return the number of lines before a time, as if they were spread evenly within a bin. */
  #linesBefore(time: number): number {
    const at = (time - this.start) / this.width;
    if (at <= 0 || this.lines.length === 0) return 0;
    const bin = Math.floor(at);
    return bin >= this.lines.length ? this.records : this.#linesBeforeBin[bin] + this.lines[bin] * (at - bin);
  }

  between(from: number, to: number): number {
    return Math.max(0, Math.round(this.#linesBefore(to) - this.#linesBefore(from)));
  }

  /** Return the time until which this many lines have come since `from`. */
  timeAfter(from: number, count: number): number {
    const wanted = this.#linesBefore(from) + count;
    const low = lowerBound(this.lines.length, (bin) => this.#linesBeforeBin[bin + 1] < wanted);
    if (low >= this.lines.length) return this.last;
    const within = this.lines[low] === 0 ? 0 : (wanted - this.#linesBeforeBin[low]) / this.lines[low];
    return Math.max(from, this.start + (low + within) * this.width);
  }
}

export interface UnloadedSpan {
  /** Its row in the task's rows, which shows that lines are not loaded. */
  row: number;
  /** Keys of the rows before and after it; -Infinity if no row is before it. */
  from: number;
  to: number;
  /** Time range of the missing lines (ms). Keys run ahead of times where a clock went back. */
  low: number;
  high: number;
  /** Estimated number of lines; 0 if not counted. */
  lines: number;
  /** Cursors, if known: for loading back from its end, and on from its beginning. */
  older?: string;
  newer?: string;
  /** With `newer` in the order of recording: sequence number of the first loaded line after it. */
  until: number;
  /** The span is an absence, and is loaded on demand. */
  onDemand: boolean;
}

/** An absence of at most this many lines is one row, and one click loads it. */
export const HOLE_LINES = 5000;

/** Return the number of missing lines, at least 1. */
export function spanLines({ lines }: UnloadedSpan): number {
  return Math.max(1, lines);
}

/** Return the number of rows it takes. */
export function spanRows(span: UnloadedSpan): number {
  return span.onDemand && span.lines <= HOLE_LINES ? 1 : spanLines(span);
}

/** Return how many of its rows are after a time. */
export function spanRowsAfter(span: UnloadedSpan, time: number, outline: Outline | null): number {
  const rows = spanRows(span);
  if (time <= span.low) return rows;
  const all = outline?.between(span.low, span.high) ?? 0;
  const share = all > 0 ? outline!.between(time, span.high) / all : (span.high - time) / Math.max(1, span.high - span.low);
  return Math.round(rows * Math.max(0, Math.min(1, share)));
}

/** Return the time of a row of the span (ms). */
export function spanTimeAt(span: UnloadedSpan, offset: number, outline: Outline | null): number {
  const share = Math.max(0, Math.min(1, offset / spanRows(span)));
  const all = outline?.between(span.low, span.high) ?? 0;
  return all > 0 ? Math.min(span.high, outline!.timeAfter(span.low, share * all)) : span.low + (span.high - span.low) * share;
}
