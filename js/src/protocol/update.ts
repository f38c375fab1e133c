/** A row as it is drawn. */

import type { Complete, Problem, SourceKind, TaskState } from "./events.ts";

/** A piece of a row's text: from `at` to the next piece, drawn with a class or an ANSI style. */
export type StyleRun = [at: number, style: string];

export interface Row {
  id: number;
  kind: "line" | "notice" | "gap" | "hole" | "edge" | "blank";
  seq: number;
  time: number;
  source: number;
  level: number;
  text: string;
  runs: StyleRun[];
  marks: number[];
  /** Characters not sent, of a very long line. */
  hiddenChars: number;
  hasDetails: boolean;
  hint?: string;
  /** Rows below this one, shown or not. */
  fold?: "open" | "shut";
  /** It stands below the row of its traceback. */
  isNested?: boolean;
  /** What is said beside the text, dim. */
  aside?: string;
  /** Sources with the same traceback. */
  otherSources?: number[];
  /** Of equal lines: how many, and when the last was. */
  repeats?: number;
  lastTime?: number;
  /** How far a progress bar is, 0 to 1; -1 where it does not say. */
  bar?: number;
  /** Of the first row: the search that it tells of. */
  remote?: RemoteSearchState;
}

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

/** One run of a source. */
export interface RunSummary {
  key: string;
  /** Restarts before it: 0 is the first. */
  run: number;
  on: boolean;
  lines: number;
  state: "waiting" | "running" | "ended";
  exit: number | null;
  /** What the kubelet or the container says of its end. */
  endMessage: string;
  /** When it started and ended, ms; 0 where that is not known. */
  startedAt: number;
  endedAt: number;
  /** When its last line that is here was written, ms; 0 before there is one. */
  lastLineAt: number;
}

export interface SourceSummary {
  key: string;
  task: string;
  pod: string;
  container: string;
  kind: SourceKind;
  hue: number;
  /** Whether any run is. */
  on: boolean;
  /** From the first to the newest. */
  runs: RunSummary[];
  /** The completion index of its pod; null where there is none. */
  index: number | null;
  lines: number;
  /** Of the newest run. */
  state: "waiting" | "running" | "ended";
  exit: number | null;
  node: string;
  /** When its last line was written, ms; 0 before there is one. */
  lastLineAt: number;
}

/** A gap in words. */
export interface GapSummary {
  text: string;
  hint: string;
}

/** How far a pod has come: times in ms, 0 where that has not been or is not known. */
export interface PodPhases {
  pod: string;
  created: number;
  scheduled: number;
  init: number;
  initEnd: number;
  inits: number;
  initsDone: number;
  main: number;
  /** The first start that is known was not its first: how long it took to get there is not known. */
  isLate: boolean;
  end: number;
  exit: number | null;
}

export interface TaskSummary {
  task: string;
  state: TaskState | "";
  message: string;
  /** Kubernetes' word for the state: `CrashLoopBackOff`. */
  reason: string;
  /** Why the recorder takes nothing in at present. */
  stopped?: string;
  /** What may not be shown beside the lines, and which right would show it. */
  hidden?: Record<string, string>;
  ended: boolean;
  exit: number | null;
  lines: number;
  gaps: number;
  /** The first of them. */
  missing: GapSummary[];
  gapLines: number;
  complete: Complete | null;
  pods?: PodPhases[];
}

/** A filter over what is not loaded. */
export interface RemoteSearchState {
  state: "running" | "stopped" | "done" | "failed";
  /** Everything since then has been searched, ms; Infinity at first. */
  to: number;
  /** Rows that match, here and there. */
  matches: number;
  /** What is wrong. */
  message: string;
}

/** The search for the next match or error in what is not loaded. */
export interface RemoteJumpState {
  state: "running" | "none" | "failed";
  /** Everything since then has been searched, ms; Infinity at first. */
  to: number;
  what: "match" | "error";
  /** In time, as seen by the reader. */
  later: boolean;
  /** What is wrong. */
  message: string;
}

export type LinkState = "connecting" | "live" | "reconnecting" | "waiting" | "stopped" | "done";

export interface Update {
  op: "update";
  view: string;
  total: number;
  first: number;
  shift: number;
  follow: boolean;
  /** Of these rows: the newest is row 0. */
  newestFirst: boolean;
  rows: Row[];
  tasks: TaskSummary[];
  lines: number;
  shown: number;
  filtered: boolean;
  /** Rows not searched yet. */
  searching: number;
  /** What is sought without filtering: rows that have it, and where among them the row is that was jumped to last (-1: nowhere). */
  find?: { count: number; at: number; searching: number; error: string };
  /** The row that was jumped to, once. */
  jump?: { row: number; id: number };
  /** What is said of the rest of the recording. */
  remote?: RemoteSearchState;
  beyond?: RemoteJumpState;
  rate: number;
  /** Changes when row ids mean other rows. */
  generation: number;
  /** The lines are others than before (a new recording); the reader was at this row. */
  seekRow?: number;
  /** How far the nodes' clock is ahead of the page's, ms. */
  clockAhead: number;
  newest: number;
  now: number;
  loading: boolean;
  link: LinkState;
  transport: "sse" | "comm";
  /** Lines that wait at the server, which sends only so much a second. */
  linesBehind: number;
  problem: Problem | null;
  filterError: string;
  sources?: SourceSummary[];
  histogram?: Histogram;
  /** Where one is shown and it has changed. */
  chart?: Chart;
}
