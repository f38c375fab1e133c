/** What the worker sends to a view: rows, summaries, the time axis and the chart. */

import type { Complete, Problem, SourceKind, TaskState } from "./events.ts";

/** Start of a piece of a row's text, and its class or ANSI style. A piece ends where the next one begins. */
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
  /** Number of characters of a very long line that were not sent. */
  hiddenChars: number;
  hasDetails: boolean;
  hint?: string;
  /** Whether the rows below this one are shown. */
  fold?: "open" | "shut";
  /** The row is nested below the row of its traceback. */
  isNested?: boolean;
  /** A dim text beside the row's text. */
  aside?: string;
  /** Other sources with the same traceback. */
  otherSources?: number[];
  /** For equal lines: how many, and the time of the last. */
  repeats?: number;
  lastTime?: number;
  /** Progress of a bar, 0 to 1; -1 if it is not known. */
  bar?: number;
  /** For the first row: the search whose state it shows. */
  remote?: RemoteSearchState;
}

/** A notice on the time axis; of the whole recording if its outline is known. */
export interface Mark {
  /** `restart` is the start of a source's second or later run, `event` a Kubernetes event (OOMKilled, FailedScheduling). */
  kind: "gap" | "started" | "restart" | "ended" | "event" | "end";
  /** Time (ms). */
  time: number;
  /** End of a gap (ms); otherwise the same as `time`. */
  to: number;
  /** The text to show. Times in it are written as `{ms}`, see `formatNotice`. */
  text: string;
  /** As for a row: 4 is a warning, 5 and 6 are errors. An end with an exit code other than 0 is an error. */
  level: number;
  /** The source's key as in `SourceSummary`; "" for the whole task. */
  source: string;
}

/** Lines over time, in `count` bins of equal width: of the whole recording if its outline is known, otherwise of the loaded rows. */
export interface Histogram {
  /** Start and end of the axis (ms). */
  from: number;
  to: number;
  /** Four numbers for each bin: lines, warnings, errors (and worse), gaps. */
  bins: Uint32Array;
  count: number;
  /** Start of the window (ms); -Infinity for everything. */
  low: number;
  /** The bars count the whole recording, not only the loaded lines. */
  isComplete: boolean;
  /** Ordered by time. */
  marks: Mark[];
  /** Loaded ranges as pairs [from, to] (ms). Elsewhere the lines are only counted. */
  loaded: [number, number][];
}

/** The values of one metric of one source, reduced to what can be seen, ordered by time. Each value comes from a line. */
export interface Curve {
  name: string;
  /** The source's key as in `SourceSummary`. */
  source: string;
  task: string;
  /** Time (ms). */
  time: Float64Array;
  /** NaN if the line names no step. */
  step: Float64Array;
  value: Float64Array;
  seq: Float64Array;
}

/** The metrics that the lines of a view's tasks report. */
export interface Chart {
  curves: Curve[];
  /** What the curves are drawn from: the whole log; the part that has been read so far; or only the loaded lines. */
  coverage: "all" | "reading" | "loaded";
  /** Number of lines that the server has read, and of all lines. */
  linesRead: number;
  lines: number;
  /** Why the chart shows only the loaded lines. */
  message: string;
  /** Number of metrics beyond the limit. */
  leftOut: number;
}

/** One run of a source. */
export interface RunSummary {
  key: string;
  /** Number of restarts before this run. */
  run: number;
  on: boolean;
  lines: number;
  state: "waiting" | "running" | "ended";
  exit: number | null;
  /** The termination message. */
  endMessage: string;
  /** Time of the start and the end (ms); 0 if not known. */
  startedAt: number;
  endedAt: number;
  /** Time of its last loaded line (ms); 0 if there is none. */
  lastLineAt: number;
}

export interface SourceSummary {
  key: string;
  task: string;
  pod: string;
  container: string;
  kind: SourceKind;
  hue: number;
  /** Whether any of its runs is shown. */
  on: boolean;
  /** Ordered from the first to the newest. */
  runs: RunSummary[];
  /** Completion index of its pod; null if there is none. */
  index: number | null;
  lines: number;
  /** State of the newest run. */
  state: "waiting" | "running" | "ended";
  exit: number | null;
  node: string;
  /** Time of the last loaded line (ms); 0 if there is none. */
  lastLineAt: number;
}

/** A gap as text. */
export interface GapSummary {
  text: string;
  hint: string;
}

/** The phases of a pod: times in ms, 0 if a phase was not reached or is not known. */
export interface PodPhases {
  pod: string;
  created: number;
  scheduled: number;
  init: number;
  initEnd: number;
  inits: number;
  initsDone: number;
  main: number;
  /** The first known start was a restart, so the time until the first start is not known. */
  isLate: boolean;
  end: number;
  exit: number | null;
}

export interface TaskSummary {
  task: string;
  state: TaskState | "";
  message: string;
  /** Kubernetes' reason for the state, such as `CrashLoopBackOff`. */
  reason: string;
  /** Why the recorder cannot record at present. */
  stopped?: string;
  /** What may not be shown beside the lines, each with the permission that would show it. */
  hidden?: Record<string, string>;
  ended: boolean;
  exit: number | null;
  lines: number;
  gaps: number;
  /** The first gaps. */
  missing: GapSummary[];
  gapLines: number;
  complete: Complete | null;
  pods?: PodPhases[];
}

/** State of a filter's search in lines that are not loaded. */
export interface RemoteSearchState {
  state: "running" | "stopped" | "done" | "failed";
  /** Everything after this time has been searched (ms); Infinity at first. */
  to: number;
  /** Number of matching rows, loaded or not. */
  matches: number;
  /** Why it failed. */
  message: string;
}

/** State of the search for the next match or error in lines that are not loaded. */
export interface RemoteJumpState {
  state: "running" | "none" | "failed";
  /** Everything after this time has been searched (ms); Infinity at first. */
  to: number;
  what: "match" | "error";
  /** Searching forward in time. */
  later: boolean;
  /** Why it failed. */
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
  /** Of `rows`: row 0 is the newest. */
  newestFirst: boolean;
  rows: Row[];
  tasks: TaskSummary[];
  lines: number;
  shown: number;
  filtered: boolean;
  /** Number of rows that are not searched yet. */
  searching: number;
  /** For find: number of matching rows, and the index among them of the row that was jumped to last (-1 for none). */
  find?: { count: number; at: number; searching: number; error: string };
  /** The row that was jumped to; sent once. */
  jump?: { row: number; id: number };
  /** Searches in the lines that are not loaded. */
  remote?: RemoteSearchState;
  beyond?: RemoteJumpState;
  rate: number;
  /** Changes when row ids are reassigned. */
  generation: number;
  /** The lines were reloaded (a new recording): the row that the user was at. */
  seekRow?: number;
  /** How far the nodes' clock is ahead of the page's (ms). */
  clockAhead: number;
  newest: number;
  now: number;
  loading: boolean;
  link: LinkState;
  transport: "sse" | "comm";
  /** Lines that wait at the server, which limits the rate. */
  linesBehind: number;
  problem: Problem | null;
  filterError: string;
  sources?: SourceSummary[];
  histogram?: Histogram;
  /** Set if a chart is shown and it has changed. */
  chart?: Chart;
}
