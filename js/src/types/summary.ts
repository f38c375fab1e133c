/** What is said of tasks, their sources and searches beside the lines. */

import type { Complete, SourceKind, TaskState } from "./events.ts";

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
