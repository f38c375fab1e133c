/** The tasks that are held, each with what is known of it beside its lines. */

import type { Problem } from "../protocol/events.ts";
import type { TaskSummary } from "../protocol/update.ts";
import type { Link } from "../transport/link.ts";
import type { ClusterClock, Links } from "./links.ts";
import type { UnloadedSpan } from "./spans.ts";
import { gapText } from "./taskevents.ts";
import { TaskStore } from "./taskstore.ts";

/** The outline of a task that goes on is asked for again after so long. */
export const OUTLINE_EVERY_MS = 30_000;
const MAX_GAPS = 50;

export interface TaskEntry {
  store: TaskStore;
  /** Everything from this time on is here. */
  coveredFrom: number;
  isLoading: boolean;
  autoPages: number;
  problem: Problem | null;
  /** When the link last was known to be alive: everything before that is here. */
  heardAt: number;
  /** Whether the last request asked for the window in place of what follows the cursor. */
  isStale: boolean;
  /** Begin at least here, whatever the window: somebody was reading there. */
  readFrom: number;
  outlineAt: number;
  outlineEvery: number;
  /** Lines that had been recorded then. */
  outlineLines: number;
  /** When its completeness statement was asked for in vain. */
  statementFailedAt: number;
  outlineLoading: Promise<void> | undefined;
  /** Warnings and errors of what is not loaded are being counted. */
  hasUncountedLevels: boolean;
  /** Why lines that were looked at did not come. */
  loadProblem: Problem | null;
  /** What is looked at is not loaded before this. */
  pauseUntil: number;
  /** The last absence, while it is not known which line came after it. */
  absence: UnloadedSpan | undefined;
}

export class Tasks {
  readonly #entries = new Map<string, TaskEntry>();
  links!: Links;

  readonly #clock: ClusterClock;

  constructor(clock: ClusterClock) {
    this.#clock = clock;
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
    return this.#clock.now(Math.max(0, ...[...this.#entries.values()].map(({ store }) => store.newest)));
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

/** What the views must be told. */
export interface StoreWatcher {
  changed(): void;
  /** Rows from `before` on are new. */
  rowsAdded(store: TaskStore, before: number): void;
  rowRemoved(store: TaskStore, row: number): void;
  /** Many rows are gone. */
  rowsEvicted(store: TaskStore): void;
  /** Rows have other numbers. */
  rowsRenumbered(store: TaskStore, rows: Int32Array): void;
  /** Keys of the rows at which readers of a store are. */
  readerKeys(store: TaskStore): number[];
  /** A page of older lines is here. */
  pageLoaded(store: TaskStore): void;
  /** These tasks begin anew, in new stores that `begin` makes. */
  tasksReset(tasks: string[], begin: () => void): void;
  /** The widest window of the views of a store, ms. */
  widestWindow(store: TaskStore): number;
}

/** For work that adds rows, or takes a span's away. */
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

/** How the pages change the rows of a store. */
export interface RowEditor {
  add(work: () => void): void;
  close(span: UnloadedSpan): void;
}
