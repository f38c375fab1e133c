/** What is drawn over time: volume, marks, and the metrics. */

/** A place on the time axis that is no line: what the notices say, of the whole recording where its outline is known. */
export interface Mark {
  /** `restart` is the start of a source's second or later run; `event` a Kubernetes event (OOMKilled, FailedScheduling ...). */
  kind: "gap" | "started" | "restart" | "ended" | "event" | "end";
  /** ms. */
  time: number;
  /** Where a gap ends, ms; else the same as `time`. */
  to: number;
  /** What to say of it, in words; times within as `{ms}` (`noticeWords` writes them). */
  text: string;
  /** As a row's: 4 is a warning, 5 and 6 are errors; an end with an exit code other than 0 is an error. */
  level: number;
  /** The source as `SourceSummary.key` has it, "" for the whole task. */
  source: string;
}

/**
 * Volume over time: of the whole recording where its outline is known, else of the rows that are loaded. Drawn from `from` to
 * `to` in `count` bins of the same width.
 */
export interface Histogram {
  /** The axis, ms. */
  from: number;
  to: number;
  /** Four numbers for each bin: lines, of these warnings, of these errors (and worse), gaps. */
  bins: Uint32Array;
  count: number;
  /** Where the window begins, ms; -Infinity with "all". */
  low: number;
  /** The bars stand for the whole recording, not only for what is loaded. */
  isComplete: boolean;
  /** By time. */
  marks: Mark[];
  /** What is loaded, as pairs [from, to], ms: elsewhere is only counted. */
  loaded: [number, number][];
}

/** The values of one metric of one source, thinned out: each is a line of the log; in the order of time. */
export interface Curve {
  name: string;
  /** As `SourceSummary.key` has it. */
  source: string;
  task: string;
  /** ms. */
  time: Float64Array;
  /** NaN where the line names none. */
  step: Float64Array;
  value: Float64Array;
  seq: Float64Array;
}

/** What the lines of a view's tasks report. */
export interface Chart {
  curves: Curve[];
  /** Of what: all of the log; all of it so far as it has been read; or only the lines that are loaded. */
  coverage: "all" | "reading" | "loaded";
  /** Lines read by the server, and lines there are. */
  linesRead: number;
  lines: number;
  /** Why only of what is loaded. */
  message: string;
  /** Metrics beyond the most that are kept. */
  leftOut: number;
}
