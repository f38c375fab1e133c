/**
 * The outline of a recording: the number of its lines in each interval of time, counted by the server. And its spans: ranges of
 * lines that are not loaded. A span takes about as many rows as it has lines, so the scroll bar covers the whole recording. Lines
 * are not loaded because they are before the window, because they were evicted, or because they came in an absence: a time when
 * the page was hidden, asleep or offline. A span is loaded when a user scrolls to it. The span of an absence is not loaded
 * while the view follows the newest lines.
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
  /** Whether levels and sources are counted for nearly all lines. */
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
    // While a task runs, its newest lines are never counted yet.
    this.isCounted = counted >= records * NEARLY_ALL;
    this.warnings = this.isCounted && warnings ? warnings : null;
    this.errors = this.isCounted && errors ? errors : null;
    this.#linesBeforeBin = new Float64Array(lines.length + 1);
    for (const [i, count] of lines.entries()) this.#linesBeforeBin[i + 1] = this.#linesBeforeBin[i] + count;
  }

  /** Estimate the number of lines before a time, as if the lines of a bin were spread evenly. */
  #linesBefore(time: number): number {
    const at = (time - this.start) / this.width;
    if (at <= 0 || this.lines.length === 0) return 0;
    const bin = Math.floor(at);
    return bin >= this.lines.length ? this.records : this.#linesBeforeBin[bin] + this.lines[bin] * (at - bin);
  }

  between(from: number, to: number): number {
    return Math.max(0, Math.round(this.#linesBefore(to) - this.#linesBefore(from)));
  }

  /** Estimate the time until which `count` lines have come since `from`. */
  timeAfter(from: number, count: number): number {
    const wanted = this.#linesBefore(from) + count;
    const low = lowerBound(this.lines.length, (bin) => this.#linesBeforeBin[bin + 1] < wanted);
    if (low >= this.lines.length) return this.last;
    const within = this.lines[low] === 0 ? 0 : (wanted - this.#linesBeforeBin[low]) / this.lines[low];
    return Math.max(from, this.start + (low + within) * this.width);
  }
}

export interface UnloadedSpan {
  /** Index of the one row that the task's store holds for the span. In the view the span is `spanRows` rows high. */
  row: number;
  /** Sort keys of the rows before and after the span; `from` is -Infinity if there is no row before. */
  from: number;
  to: number;
  /** Times of the first and the last missing line (ms). They can be earlier than the keys, which never go back within a source. */
  low: number;
  high: number;
  /** Estimated number of lines; 0 if unknown. */
  lines: number;
  /** Cursor to load the last lines of the span, if known. */
  older?: string;
  /** Cursor to load the first lines of the span, if known. */
  newer?: string;
  /** Of an absence: sequence number of the first line after it; Infinity if none has come. */
  until: number;
  /** Whether the lines came in an absence. They are not loaded while the view follows, even if the span is visible. */
  onDemand: boolean;
}

/** An absence of at most this many lines is shown as one row, and one click loads it. */
export const HOLE_LINES = 5000;

/** Return the number of missing lines, at least 1. */
export function spanLines({ lines }: UnloadedSpan): number {
  return Math.max(1, lines);
}

/** Return the number of rows that a span takes. */
export function spanRows(span: UnloadedSpan): number {
  return span.onDemand && span.lines <= HOLE_LINES ? 1 : spanLines(span);
}

/** Return how many rows of a span are after a time. */
export function spanRowsAfter(span: UnloadedSpan, time: number, outline: Outline | null): number {
  const rows = spanRows(span);
  if (time <= span.low) return rows;
  const all = outline?.between(span.low, span.high) ?? 0;
  const share = all > 0 ? outline!.between(time, span.high) / all : (span.high - time) / Math.max(1, span.high - span.low);
  return Math.round(rows * Math.max(0, Math.min(1, share)));
}

/** Estimate the time of a row of a span (ms). */
export function spanTimeAt(span: UnloadedSpan, offset: number, outline: Outline | null): number {
  const share = Math.max(0, Math.min(1, offset / spanRows(span)));
  const all = outline?.between(span.low, span.high) ?? 0;
  return all > 0 ? Math.min(span.high, outline!.timeAfter(span.low, share * all)) : span.low + (span.high - span.low) * share;
}
