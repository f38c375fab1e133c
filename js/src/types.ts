/** The words shared by page and worker: the events of the stream, and the messages between the view and the store. */

export type SourceKind = "init" | "main" | "sidecar" | "ephemeral";

export interface SourceInfo {
  pod: string;
  container: string;
  kind?: SourceKind;
  run?: number;
  node?: string | null;
}

export interface LogEvent {
  task: string;
  seq: number;
  sources: Record<string, SourceInfo>;
  t0: string;
  dt: number[];
  s: number[];
  o?: number[];
  m: string[];
  /** Offsets after `seq`, when the server has filtered. */
  q?: number[];
}

export type TaskState = "pending" | "running" | "succeeded" | "failed" | "gone";

export interface StatusEvent {
  task: string;
  state?: TaskState;
  message?: string;
  seq?: number;
  time?: string;
  source?: SourceInfo;
  notice?: "state" | "waiting" | "started" | "ended" | "event" | "backfill" | "clock" | "retention";
  level?: string;
  hint?: string;
  /** What time it is at the nodes, ns. */
  now?: string;
  exit_code?: number | null;
  reason?: string | null;
  /** Of a start: when its pod was created and scheduled, ns, and how many init containers it has. */
  created?: string;
  scheduled?: string;
  inits?: number;
  /** The pod's, where the Job is indexed. */
  index?: number;
  older?: string | null;
  /** With `older`: where the stream begins, ns. */
  from?: string | null;
}

export interface GapEvent {
  task: string;
  seq?: number;
  from?: string;
  to?: string;
  reason?: string;
  lines?: number | null;
  source?: SourceInfo;
  hint?: string;
}

export interface EndEvent {
  task: string;
  seq?: number;
  time?: string;
  state?: TaskState;
  exit_code?: number | null;
  message?: string;
}

export interface Problem {
  code: string;
  message: string;
  hint?: string;
  task?: string;
}

export interface PageRecord {
  seq: number;
  time: string;
  pod: string;
  container: string;
  run?: number;
  stream?: string | null;
  text: string;
  source?: Partial<SourceInfo>;
}

/** A notice inside a page; what kind it is shows in its fields, or in `event` where the server says so. */
export type PageNotice = (StatusEvent | GapEvent | EndEvent) & { event?: string };

/** The completeness statement: counted by the server in what was committed. */
export interface Complete {
  records: number;
  from: string | null;
  to: string | null;
  sources?: number;
  done?: boolean;
  gaps: GapEvent[];
  /** How many secrets were masked before they were stored, by kind. */
  masked?: Record<string, number>;
}

export interface LogPage {
  records: PageRecord[];
  complete?: Complete;
  notices?: PageNotice[];
  older?: string | null;
  newer?: string | null;
}

/** How the lines of a recording are spread over time; times are ns. */
export interface OutlineDoc {
  records: number;
  /** Number of the last record that is counted. */
  upto: number;
  first: string | null;
  last: string | null;
  /** Where the first bin begins, and how wide each is. */
  start: string;
  width: string;
  lines: number[];
  /** Where asked for: warnings and errors of each bin, and records that have been looked at for them. */
  warnings?: number[];
  errors?: number[];
  counted?: number;
  notices: PageNotice[];
  /** Where asked for: with the lines of each, as far as they are counted. */
  sources?: (SourceInfo & { lines?: number })[];
}

/** What the view shows. `off` holds the keys of the sources that are switched off, or of single runs of them, `since` the window in milliseconds or null for all. */
export interface Filter {
  /** What is being typed, see store/asking/terms.ts. */
  grep: string;
  regex: boolean;
  /** Case counts in what is being typed. */
  matchCase: boolean;
  /** The chips: texts or /regexes/ that lines must, must not contain, and conditions on fields. */
  include: string[];
  exclude: string[];
  where: string[];
  level: string;
  stream: string;
  off: string[];
  /** Given from Python: only pods, containers and runs with these names, until the reader chooses. See store/asking/sources.ts. */
  pod: string;
  container: string;
  run: string;
  since: number | null;
  /** A fixed range in place of a window that ends now, ms. */
  from: number | null;
  until: number | null;
  tail: number | null;
  pretty: boolean;
  /** Fields that rows show of structured lines, in this order; none: all. */
  fields: string[];
  /** Equal lines that follow each other are one row: exactly equal ones, or those that differ in numbers only. */
  same: "" | "exact" | "masked";
}

/** Where the reader's eyes are: rows [from, from+count), held in place by the row `anchor`, which was at `anchorIndex`. */
export interface Look {
  /** The time of the row to begin with, where somebody read before; in a view's first look. */
  seek?: number;
  from: number;
  count: number;
  follow: boolean;
  /** The newest row on top. */
  newestFirst?: boolean;
  anchor: number | null;
  anchorIndex: number;
}

/** Where to go; `from` is the row that the reader is at. */
export type Jump =
  | { to: "time"; time: number }
  | { to: "row"; id: number }
  /** With its time also to a line that is not loaded. */
  | { to: "seq"; task: string; seq: number; time?: number }
  | { to: "found" | "error"; by: 1 | -1; from: number | null }
  /** The last line before the task died. */
  | { to: "death" };

/** One run of a source. */
export interface RunSummary {
  key: string;
  /** Restarts before it: 0 is the first. */
  run: number;
  on: boolean;
  lines: number;
  state: "waiting" | "running" | "ended";
  exit: number | null;
  /** When it started and ended, ms; 0 where that is not known. */
  begun: number;
  ended: number;
  /** When its last line that is here was written, ms; 0 before there is one. */
  last: number;
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
  last: number;
}

/** A piece of a row's text: from `at` to the next piece, drawn with a class or an ANSI style. */
export type Run = [at: number, style: string];

export interface Row {
  id: number;
  kind: "line" | "notice" | "gap" | "hole" | "edge" | "blank";
  seq: number;
  time: number;
  source: number;
  level: number;
  text: string;
  runs: Run[];
  marks: number[];
  /** Characters not sent, of a very long line. */
  more: number;
  json: boolean;
  hint?: string;
  /** Rows below this one, shown or not. */
  fold?: "open" | "shut";
  /** It stands below the row of its traceback. */
  below?: boolean;
  /** What is said beside the text, dim. */
  aside?: string;
  /** Sources with the same traceback. */
  also?: number[];
  /** Of equal lines: how many, and when the last was. */
  times?: number;
  until?: number;
  /** How far a progress bar is, 0 to 1; -1 where it does not say. */
  bar?: number;
  /** Of the first row: the search that it tells of. */
  remote?: RemoteSearch;
}

export type LinkState = "connecting" | "live" | "reconnecting" | "waiting" | "stopped" | "done";

/** A gap in words. */
export interface Missing {
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
  end: number;
  exit: number | null;
}

export interface TaskSummary {
  task: string;
  state: TaskState | "";
  message: string;
  /** Why the recorder takes nothing in at present. */
  stopped?: string;
  ended: boolean;
  exit: number | null;
  lines: number;
  gaps: number;
  /** The first of them. */
  missing: Missing[];
  gapLines: number;
  complete: Complete | null;
  pods?: PodPhases[];
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
  whole: boolean;
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
  of: "all" | "reading" | "loaded";
  /** Lines read by the server, and lines there are. */
  looked: number;
  lines: number;
  /** Why only of what is loaded. */
  message: string;
  /** Metrics beyond the most that are kept. */
  leftOut: number;
}

/** A filter over what is not loaded. */
export interface RemoteSearch {
  state: "running" | "stopped" | "done" | "failed";
  /** Everything since then has been searched, ms; Infinity at first. */
  to: number;
  /** Rows that match, here and there. */
  matches: number;
  /** What is wrong. */
  message: string;
}

/** The search for the next match or error in what is not loaded. */
export interface Beyond {
  state: "running" | "none" | "failed";
  /** Everything since then has been searched, ms; Infinity at first. */
  to: number;
  what: "match" | "error";
  /** In time, as seen by the reader. */
  later: boolean;
  /** What is wrong. */
  message: string;
}

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
  remote?: RemoteSearch;
  beyond?: Beyond;
  rate: number;
  /** Changes when row ids mean other rows. */
  generation: number;
  /** The lines are others than before (a new recording); the reader was at this row. */
  seek?: number;
  /** How far the nodes' clock is ahead of the page's, ms. */
  ahead: number;
  newest: number;
  now: number;
  loading: boolean;
  link: LinkState;
  transport: "sse" | "comm";
  problem: Problem | null;
  filterError: string;
  sources?: SourceSummary[];
  histogram?: Histogram;
  /** Where one is shown and it has changed. */
  chart?: Chart;
}

export interface PageConfig {
  /** `{baseUrl}cortex/`, absolute; empty where there is no server half to reach. */
  base: string;
  headers: Record<string, string>;
}

export type Transport = "auto" | "sse" | "comm";

export type ToStore =
  | { op: "config"; config: PageConfig }
  | { op: "subscribe"; model: string; tasks: string[]; transport: Transport; since: string }
  | { op: "unsubscribe"; model: string }
  | { op: "comm"; model: string; message: Record<string, unknown>; bytes?: Uint8Array }
  | { op: "view"; view: string; model: string; filter: Filter; look: Look; seen?: boolean }
  | { op: "filter"; view: string; filter: Filter }
  | { op: "look"; view: string; look: Look }
  | { op: "ack"; view: string }
  /** Whether anybody can see it: for what is out of sight nothing is done. */
  | { op: "sight"; view: string; seen: boolean }
  | { op: "older"; view: string }
  | { op: "hole"; view: string; id: number }
  /** Go on with the search of what is not loaded, or stop it. */
  | { op: "search"; view: string; go: boolean }
  | { op: "fold"; view: string; id: number }
  | { op: "text"; view: string; id: number; ask: number }
  | { op: "copy"; view: string; from: number; to: number; as: "text" | "json" | "code"; ask: number }
  | { op: "find"; view: string; term: string }
  | { op: "chart"; view: string; on: boolean }
  | { op: "jump"; view: string; jump: Jump }
  | { op: "close"; view: string }
  | { op: "retry"; model: string }
  /** The page was asleep, hidden or offline: what is open may be dead. */
  | { op: "wake" }
  | { op: "ping" };

export type FromStore =
  | Update
  /** Once a second while something goes on in sight: what it is at the nodes, for words that count up. */
  | { op: "clock"; now: number }
  | { op: "ready" }
  | { op: "pong" }
  | { op: "headers" }
  | { op: "send"; model: string; message: Record<string, unknown> }
  | { op: "summary"; tasks: TaskSummary[] }
  | { op: "text"; ask: number; text: string };
