/** A recording at a glance, as the server counts it: how many lines there are between two times, and when the nth comes. */

import type { OutlineDoc } from "../protocol/events.ts";
import { fromNs } from "../text/time.ts";
import { lowerBound } from "./sequence.ts";

const NEARLY_ALL = 0.98;

export class Outline {
  readonly records: number;
  /** Number of the last record that is counted. */
  readonly lastSeq: number;
  /** ms; both 0 where there is no line. */
  readonly first: number;
  readonly last: number;
  readonly start: number;
  readonly width: number;
  readonly lines: number[];
  /** Nearly all lines have been looked at for their levels and sources. */
  readonly isCounted: boolean;
  /** Of each bin, once nearly all lines have been looked at for them. */
  readonly warnings: number[] | null;
  readonly errors: number[] | null;
  /** Lines before each bin. */
  readonly #linesBeforeBin: Float64Array;

  constructor({ records, upto, first, last, start, width, lines, warnings, errors, counted = 0 }: OutlineDoc) {
    this.records = records;
    this.lastSeq = upto;
    this.first = first === null ? 0 : fromNs(first);
    this.last = last === null ? 0 : fromNs(last);
    this.start = fromNs(start);
    this.width = Number(width) / 1e6;
    this.lines = lines;
    // Of a task that goes on the newest are always still to be counted.
    this.isCounted = counted >= records * NEARLY_ALL;
    this.warnings = this.isCounted && warnings ? warnings : null;
    this.errors = this.isCounted && errors ? errors : null;
    this.#linesBeforeBin = new Float64Array(lines.length + 1);
    for (const [i, count] of lines.entries()) this.#linesBeforeBin[i + 1] = this.#linesBeforeBin[i] + count;
  }

  /** Lines before a time, as if they were spread evenly within a bin. */
  #linesBefore(time: number): number {
    const at = (time - this.start) / this.width;
    if (at <= 0 || this.lines.length === 0) return 0;
    const bin = Math.floor(at);
    return bin >= this.lines.length ? this.records : this.#linesBeforeBin[bin] + this.lines[bin] * (at - bin);
  }

  between(from: number, to: number): number {
    return Math.max(0, Math.round(this.#linesBefore(to) - this.#linesBefore(from)));
  }

  /** The time by which so many lines have come since `from`. */
  timeAfter(from: number, count: number): number {
    const wanted = this.#linesBefore(from) + count;
    const low = lowerBound(this.lines.length, (bin) => this.#linesBeforeBin[bin + 1] < wanted);
    if (low >= this.lines.length) return this.last;
    const within = this.lines[low] === 0 ? 0 : (wanted - this.#linesBeforeBin[low]) / this.lines[low];
    return Math.max(from, this.start + (low + within) * this.width);
  }
}

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
