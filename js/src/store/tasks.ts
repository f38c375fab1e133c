/** The tasks in the worker with their state, and the interface through which views learn about changes. */

import type { Problem } from "../protocol/events.ts";
import type { TaskSummary } from "../protocol/update.ts";
import type { Link } from "../transport/link.ts";
import type { ClusterClock, Links } from "./links.ts";
import type { UnloadedSpan } from "./spans.ts";
import { gapText } from "./taskevents.ts";
import { TaskStore } from "./taskstore.ts";

/** Time between two outlines of a running task (ms). */
export const OUTLINE_EVERY_MS = 30_000;
const MAX_GAPS = 50;

export interface TaskEntry {
  store: TaskStore;
  /** All lines since this time are loaded (ms). */
  coveredFrom: number;
  isLoading: boolean;
  autoPages: number;
  problem: Problem | null;
  /** When bytes last came over the link (ms). No line from before is missing. */
  heardAt: number;
  /** Whether the last request asked for the window, because the cursor was too old. */
  isStale: boolean;
  /** The stream must begin at this time or before (ms), even if the window is shorter: a user was reading there. */
  readFrom: number;
  outlineAt: number;
  outlineEvery: number;
  /** Number of recorded lines when the outline was loaded. */
  outlineLines: number;
  /** When loading the completeness statement failed; Infinity if it did not. */
  statementFailedAt: number;
  outlineLoading: Promise<void> | undefined;
  /** Whether the server is still counting warnings and errors of unloaded lines. */
  hasUncountedLevels: boolean;
  /** Why visible lines could not be loaded. */
  loadProblem: Problem | null;
  /** Visible lines are not loaded before this time. */
  pauseUntil: number;
  /** The span of the last absence. The next line of the stream is the first one after it. */
  absence: UnloadedSpan | undefined;
}

export class Tasks {
  readonly #entries = new Map<string, TaskEntry>();
  links!: Links;

  readonly #clock: ClusterClock;

  constructor(clock: ClusterClock) {
    this.#clock = clock;
  }

  get stores(): TaskStore[] {
    return [...this.#entries.values()].map(({ store }) => store);
  }

  get all(): Iterable<TaskEntry> {
    return this.#entries.values();
  }

  entryOf(task: string): TaskEntry {
    let held = this.#entries.get(task);
    if (held === undefined) {
      held = { store: new TaskStore(task), coveredFrom: Infinity, isLoading: false, autoPages: 0, problem: null, heardAt: Date.now(), isStale: false, readFrom: Infinity, outlineAt: 0, statementFailedAt: Infinity, outlineEvery: OUTLINE_EVERY_MS, outlineLines: -1, outlineLoading: undefined, hasUncountedLevels: false, loadProblem: null, pauseUntil: 0, absence: undefined };
      this.#entries.set(task, held);
    }
    return held;
  }

  get(task: string): TaskEntry | undefined {
    return this.#entries.get(task);
  }

  keepOnly(wanted: ReadonlySet<string>): void {
    for (const task of this.#entries.keys()) if (!wanted.has(task)) this.#entries.delete(task);
  }

  now(): number {
    return this.#clock.now(Math.max(0, ...this.stores.map(({ newest }) => newest)));
  }

  summaries(): TaskSummary[] {
    return [...this.#entries.keys()].map((task) => this.summary(task));
  }

  summary(task: string): TaskSummary {
    const { complete, ended, exit, gaps, gapLines, recorded: lines, message, timeline, reason, state, stopped, hidden } = this.entryOf(task).store;
    const missing = complete ? complete.gaps.map((gap) => ({ text: gapText(gap), hint: gap.hint ?? "" })) : gaps;
    return { task, complete, ended, exit, gaps: missing.length, missing: missing.slice(0, MAX_GAPS), gapLines, lines, message, reason, state, stopped, hidden, pods: [...timeline.pods.values()] };
  }

  drop(task: string): void {
    this.#entries.delete(task);
  }

  linkOf(task: string): Link | undefined {
    return this.links.entryOf(task)?.link;
  }
}

/** Receives reports about changes to a task's rows, for the views. */
export interface StoreWatcher {
  changed(): void;
  /** The rows from row number `before` on are new. */
  rowsAdded(store: TaskStore, before: number): void;
  rowRemoved(store: TaskStore, row: number): void;
  /** Lines were added: drop others if the page has too many. */
  limitMemory(): void;
  /** Many rows were evicted. */
  rowsEvicted(store: TaskStore): void;
  /** Rows were renumbered. */
  rowsRenumbered(store: TaskStore, rows: Int32Array): void;
  /** Return the sort keys of the rows that users are reading. */
  readerKeys(store: TaskStore): number[];
  /** A page of lines was loaded. */
  pageLoaded(store: TaskStore): void;
  /** These tasks start over. `begin` replaces their stores by empty ones. */
  tasksReset(tasks: string[], begin: () => void): void;
  /** Return the widest window of a task's views (ms). */
  widestWindow(store: TaskStore): number;
}

/** Return an editor that changes the rows of a task and reports the changes to the views. */
export function rowEditor(store: TaskStore, watcher: StoreWatcher): RowEditor {
  return {
    add: (work) => {
      const before = store.rows;
      work();
      if (store.hasReplacedRows) watcher.rowsEvicted(store);
      store.hasReplacedRows = false;
      watcher.rowsAdded(store, before);
    },
    close: (span) => {
      store.closeSpan(span);
      watcher.rowRemoved(store, span.row);
    },
  };
}

/** Changes the rows of a task and reports the changes to the views. */
export interface RowEditor {
  add(work: () => void): void;
  close(span: UnloadedSpan): void;
}
