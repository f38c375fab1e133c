/**
 * What the worker sends to a view: rows, summaries, the time axis and the chart. In an update, a `source` is a container with all
 * its runs (`ContainerSummary`), as an entry of the viewer's list of sources is; one run is a `RunSummary`.
 */

import type { Complete, Problem, SourceKind, TaskState } from "./events.ts";

/** The start of a piece of a row's text, and the CSS class or ANSI style of the piece. It ends where the next one begins. */
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
  /** Values of the chosen fields; "" for one that the line does not have. */
  values?: string[];
  marks: number[];
  /** Number of characters of a very long line that were not sent. */
  hiddenChars: number;
  hasDetails: boolean;
  hint?: string;
  /** Whether the rows below this one are shown. */
  fold?: "open" | "shut";
  /** The row is nested below the row of its traceback. */
  isNested?: boolean;
  /** The row does not match the filter; it is near a row that does. */
  isContext?: boolean;
  /** Lines are left out between this row and the one above it. */
  isApart?: boolean;
  /** A dim text beside the row's text. */
  aside?: string;
  /** Other containers that wrote the same traceback. */
  otherSources?: number[];
  /** For equal lines: how many, and the time of the last. */
  repeats?: number;
  lastTime?: number;
  /** Progress of a bar, 0 to 1; -1 if it is not known. */
  bar?: number;
  /** In the row above the oldest line: the search whose state it shows. */
  remote?: RemoteSearchState;
}

/** A row as it is saved in a notebook, with the lines of a traceback that is folded. */
export type SavedRow = Row & { lines?: string[] };

/** The part of a view that a notebook saves. The viewer passes it to JupyterLab's extension, which may be of another version. */
export interface SavedView {
  tasks: { name: string; state: string }[];
  /** The window and the filter. */
  filter: string;
  /** How times are shown: `local`, `utc`, `off` and others. */
  time: string;
  /** Names and colours of the containers; none if there is only one. */
  sources: { name: string; colour: number }[];
  rows: SavedRow[];
  /** The counts of lines and gaps. */
  counts: string;
}

/** A notice on the time axis. All notices of the recording are shown if its outline is known. */
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
  /** Key of the container as in `ContainerSummary`; "" for the whole task. */
  source: string;
}

/** Numbers of lines over time, in `count` bins of equal width. They cover the whole recording if its outline is known, otherwise the loaded rows. */
export interface Histogram {
  /** Start and end of the axis (ms). */
  from: number;
  to: number;
  /** Four numbers for each bin: lines, warnings, errors (and worse), gaps. */
  bins: Uint32Array;
  count: number;
  /** With a filter, three numbers for each bin: the matching lines that are known, and the warnings and errors among them. */
  matches?: Uint32Array;
  /**
   * Set if the filter's `split` is: the lines of each part in each bin; with a filter, the matches. `name` is a level, or `task/pod`, or "" for
   * further pods. Lines that are not loaded are in none, but for warnings and errors that the outline counts.
   */
  parts?: { name: string; lines: Uint32Array }[];
  /** After this time all matches are known (ms). */
  matchesFrom: number;
  /** Start of the window (ms); -Infinity for everything. */
  low: number;
  /** The bars count the whole recording, not only the loaded lines. */
  isComplete: boolean;
  /** Ordered by time. */
  marks: Mark[];
  /** Loaded ranges as pairs [from, to] (ms). Elsewhere the lines are only counted. */
  loaded: [number, number][];
}

/** The values of one metric of one container, ordered by time. There are only as many as can be seen; each comes from a line. */
export interface Curve {
  name: string;
  /** Key of the container as in `ContainerSummary`. */
  source: string;
  task: string;
  /** Time (ms). */
  time: Float64Array;
  /** The training step, or the training epoch; NaN if the line names neither. */
  step: Float64Array;
  value: Float64Array;
  seq: Float64Array;
}

/** The metrics that the lines of a view's tasks report. */
export interface Chart {
  curves: Curve[];
  /** Which lines the curves come from: all; the ones already read; only the loaded ones; none, because the code for charts is missing. */
  coverage: "all" | "reading" | "loaded" | "none";
  /** Number of lines that the server has read for the chart, and of all lines. */
  linesRead: number;
  lines: number;
  /** Why the chart shows only the loaded lines, or none. */
  message: string;
  /** Number of metrics beyond the limit. */
  leftOut: number;
}

/** One run of a container: one source. */
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

/** A container with all its runs: one entry of the viewer's list of sources. */
export interface ContainerSummary {
  key: string;
  task: string;
  pod: string;
  container: string;
  kind: SourceKind;
  /** Where it stands in its task: `worker`, `3`, `0`; "" if it is not known. */
  role: string;
  rank: string;
  attempt: string;
  /** Name of the pod's main container; "" if it is not known. */
  mainContainer: string;
  /** Number of its colour, see text/colours.ts. */
  colour: number;
  /** Whether any of its runs is shown. */
  on: boolean;
  /** Ordered from the first to the newest. */
  runs: RunSummary[];
  /** Completion index of the pod, for an indexed Job; otherwise null. */
  index: number | null;
  lines: number;
  /** Number of errors among the loaded lines. */
  errors: number;
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
  /** What this user may not see beside the lines, each with the permission that would show it. */
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

/** Where errors and the matches of find are on the scroll bar: a number from 0 to `TICKS` each, in order. */
export interface Ticks {
  errors: number[];
  found: number[];
}

/** Number of places on the scroll bar that `Ticks` tells apart. */
export const TICKS = 400;

/** Why no line meets a filter, as far as the newest loaded lines show it. */
export interface UnmetFilter {
  /** Fields of conditions. Either no line has the field; then `near` are similar names, and `common` the most frequent ones. Or it has a `value` that is no number. */
  fields: { name: string; value?: string; near: string[]; common: string[] }[];
  /** Texts that the lines have in other case. */
  inOtherCase: string[];
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
  /** State of find: the number of matching rows, and the index among them of the row that the last jump reached (-1 if none). */
  find?: { count: number; at: number; searching: number; error: string };
  /** The row that a jump has reached; sent once. */
  jump?: { row: number; id: number };
  /** Searches in the lines that are not loaded. */
  remote?: RemoteSearchState;
  beyond?: RemoteJumpState;
  rate: number;
  /** Changes when row ids are reassigned. */
  generation: number;
  /** Sent after the lines were reloaded, such as for a new recording: the row that the user was reading. */
  seekRow?: number;
  /** How far the nodes' clock is ahead of the page's (ms). */
  clockAhead: number;
  newest: number;
  now: number;
  loading: boolean;
  link: LinkState;
  transport: "sse" | "comm";
  /** Number of lines that this page does not have yet, because server or kernel cannot send faster. */
  linesBehind: number;
  problem: Problem | null;
  filterError: string;
  /** Set if no line meets the filter. */
  unmet?: UnmetFilter;
  sources?: ContainerSummary[];
  histogram?: Histogram;
  /** Sent with a histogram. */
  ticks?: Ticks;
  /** Set if a chart is shown and it has changed. */
  chart?: Chart;
}
