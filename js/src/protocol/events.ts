/** What a server says: the events of the stream, pages, and how a recording is spread over time. */

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
  notice?: "state" | "waiting" | "created" | "started" | "ended" | "event" | "backfill" | "clock" | "retention";
  level?: string;
  hint?: string;
  /** What time it is at the nodes, ns. */
  now?: string;
  exit_code?: number | null;
  reason?: string | null;
  /** Of an end: what the kubelet or the container says of it, whole. */
  termination_message?: string;
  /** Of a start: when its pod was created and scheduled, ns, and how many init containers it has. */
  created?: string;
  scheduled?: string;
  inits?: number;
  /** The pod's, where the Job is indexed. */
  index?: number;
  older?: string | null;
  /** With `older`: where the stream begins, ns. */
  from?: string | null;
  /** What this reader may not see beside the lines (`events`, `pods`), each with the right that would show it. */
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
