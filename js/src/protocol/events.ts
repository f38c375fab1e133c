/** What the server sends: the events of the stream, pages, and the outline of a recording. */

export type SourceKind = "init" | "main" | "sidecar" | "ephemeral";

export interface SourceInfo {
  pod: string;
  container: string;
  kind?: SourceKind;
  run?: number;
  node?: string | null;
  /** Where it stands in its task: `worker`, `3`, `0`. */
  role?: string;
  rank?: string;
  attempt?: string;
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
  /** Offsets of the lines from `seq`, if the server has filtered. */
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
  notice?: "state" | "waiting" | "created" | "started" | "ended" | "event" | "backfill" | "clock" | "retention";
  level?: string;
  hint?: string;
  /** The current time at the nodes (ns). */
  now?: string;
  exit_code?: number | null;
  reason?: string | null;
  /** In the notice of a container's end: the whole termination message. */
  termination_message?: string;
  /** In the notice of a container's start: when the pod was created and scheduled (ns), and its number of init containers. */
  created?: string;
  scheduled?: string;
  inits?: number;
  /** Completion index of the pod, for an indexed Job. */
  index?: number;
  /** In the notice of a container's start: the pod's main container, if the pod has several. */
  main?: string;
  older?: string | null;
  /** Start time of the stream (ns). Present if `older` is. */
  from?: string | null;
  /** What this user may not see beside the lines (`events`, `pods`), each with the permission that would show it. */
  hidden?: Record<string, string>;
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
  role?: string;
  rank?: string;
  attempt?: string;
  source?: Partial<SourceInfo>;
}

/** A notice inside a page. `event` names its kind if the server sends it; otherwise its fields tell. */
export type PageNotice = (StatusEvent | GapEvent | EndEvent) & { event?: string };

/** The completeness statement: counts of what was committed. */
export interface Complete {
  records: number;
  from: string | null;
  to: string | null;
  sources?: number;
  done?: boolean;
  gaps: GapEvent[];
  /** Number of secrets that were masked before they were stored, by kind. */
  masked?: Record<string, number>;
}

export interface LogPage {
  records: PageRecord[];
  complete?: Complete;
  notices?: PageNotice[];
  older?: string | null;
  newer?: string | null;
}

/** How the lines of a recording are spread over time; times in ns. */
export interface OutlineDoc {
  records: number;
  /** Sequence number of the last record that is counted. */
  upto: number;
  first: string | null;
  last: string | null;
  /** Start of the first bin, and width of each. */
  start: string;
  width: string;
  lines: number[];
  /** If requested: warnings and errors in each bin, and the number of records that have been examined for them. */
  warnings?: number[];
  errors?: number[];
  counted?: number;
  notices: PageNotice[];
  /** If requested: the sources, each with the number of its lines that have been counted. */
  sources?: (SourceInfo & { lines?: number })[];
}

/** A task in the list of a namespace. */
export interface TaskRow {
  task: string;
  kind: string;
  namespace: string;
  name: string;
  state: string;
  status?: string | null;
  message?: string;
  restarts?: number | null;
  started?: string | null;
  finished?: string | null;
  exit_code?: number | null;
  pods?: number;
}

/** The list of a namespace. `rest_s` is in how many seconds there can be a newer one. */
export interface TaskList {
  tasks: TaskRow[];
  problem?: Problem;
  rest_s?: number;
}

/** The namespaces that the user may read; null if they cannot be listed. */
export interface NamespaceList {
  namespaces: string[] | null;
  default: string;
}

/** A line that a search across tasks has found. `marks` are the beginnings and ends of the matches, counted in code points. */
export interface FoundLine {
  seq: number;
  time: string;
  pod: string;
  container: string;
  role?: string;
  rank?: string;
  level?: string | null;
  text: string;
  marks: [number, number][];
}

/** The data of the events of a search across tasks, by the event's name. */
export interface TaskSearchEvents {
  tasks: { tasks: number; unrecorded: string[]; growing: string[]; problem?: Problem; archive_problem?: Problem };
  lines: { task: string; records: FoundLine[] };
  task: { task: string; matches: number; all: boolean; error?: Problem };
  progress: { task: string; searched: number; matches: number };
  done: { tasks: number; with_matches: number; matches: number; all: boolean };
  error: Problem;
}
