/** Decides where a stream begins, adds its events to the tasks, and marks the lines that the page missed in an absence (while it was hidden, asleep or offline). */

import type { EndEvent, GapEvent, LogEvent, Problem, StatusEvent } from "../protocol/events.ts";
import { fromNs, parseWindow } from "../text/time.ts";
import type { SseEvent } from "../transport/sseparser.ts";
import type { ClusterClock, StreamReceiver } from "./links.ts";
import type { Loader } from "./loader.ts";
import type { OutlineLoader } from "./outlineloader.ts";
import { rowEditor, type StoreWatcher, type TaskEntry, type Tasks } from "./tasks.ts";

/** After an absence longer than this (ms) and longer than the window, a stream begins with the window. The lines in between are loaded on demand. */
const MAX_ABSENCE_MS = 600_000;
/** If a task ended during an absence, its last lines are in that absence's span. A user wants to see them, so this many pages of the span are loaded right away. */
const PAGES_AFTER_END = 4;
/** Maximum length of an absence (ms), for any window. After a shorter one, a stream continues at its cursor. After a longer one, a stream whose window is longer than this begins with the last `MAX_ABSENCE_MS`. */
const MAX_REACH_MS = 3_600_000;

export class StreamIngest implements StreamReceiver {
  readonly #tasks: Tasks;
  readonly #loader: Loader;
  readonly #outlines: OutlineLoader;
  readonly #clock: ClusterClock;
  readonly #watcher: StoreWatcher;

  constructor(
    tasks: Tasks,
    loader: Loader,
    outlines: OutlineLoader,
    clock: ClusterClock,
    watcher: StoreWatcher,
  ) {
    this.#tasks = tasks;
    this.#loader = loader;
    this.#outlines = outlines;
    this.#clock = clock;
    this.#watcher = watcher;
  }

  // Where a stream begins

  cursorOf(task: string): string {
    const entry = this.#tasks.entryOf(task);
    entry.isStale = this.#isStale(entry);
    return entry.isStale ? "" : entry.store.cursor;
  }

  isEnded(task: string): boolean {
    return this.#tasks.entryOf(task).store.ended || this.#tasks.entryOf(task).problem !== null;
  }

  sinceOf(task: string): string {
    const entry = this.#tasks.entryOf(task);
    const [since, width] = this.#widest(task);
    entry.coveredFrom = Math.min(entry.coveredFrom, this.#tasks.now() - width);
    return since;
  }

  #widest(task: string): [since: string, width: number] {
    let widest = "1m";
    let width = -1;
    for (const session of this.#tasks.links.subscriptions.values()) {
      const window = parseWindow(session.since) ?? Infinity;
      if (session.tasks.includes(task) && window > width) [widest, width] = [session.since, window];
    }
    const entry = this.#tasks.entryOf(task);
    const now = this.#tasks.now();
    if (entry.readFrom < Infinity && width < Infinity) {
      width = Math.max(width, now - entry.readFrom);
      // Send a time, not a duration. The server evaluates a duration later, perhaps after it has started a recorder; it would not reach back far enough.
      widest = new Date(Math.floor(now - width)).toISOString();
    }
    return entry.isStale && width > MAX_REACH_MS ? ["10m", MAX_ABSENCE_MS] : [widest, width];
  }

  /** Return whether the absence was so long that the stream should not continue at its cursor. */
  #isStale({ store, heardAt }: TaskEntry): boolean {
    const window = Math.max(this.#widest(store.task)[1], this.#watcher.widestWindow(store));
    return store.cursor !== "" && Date.now() - heardAt > Math.max(MAX_ABSENCE_MS, Math.min(MAX_REACH_MS, window));
  }

  onHeard(task: string): void {
    this.#tasks.entryOf(task).heardAt = Date.now();
  }

  /** If the stream does not continue at its cursor after an absence, add a span for the lines between the loaded ones and the stream's beginning. */
  onLive(task: string): void {
    const entry = this.#tasks.entryOf(task);
    const { store } = entry;
    if (entry.isStale) {
      const from = store.newest;
      const to = Math.max(from, this.#tasks.now() - this.#widest(task)[1]);
      entry.absence = undefined;
      rowEditor(store, this.#watcher).add(() => (entry.absence = store.addSpan({ from, to, low: from, high: to, lines: 0, newer: store.cursor, until: Infinity, onDemand: true })));
      store.cursor = "";
      entry.isStale = false;
    }
    entry.heardAt = Date.now();
  }

  // Events

  onEvent({ event, data, id }: SseEvent, order: string[]): void {
    let parsed: { task?: string };
    try {
      parsed = JSON.parse(data) as { task?: string };
      const task = parsed.task ?? order[0];
      const entry = this.#tasks.get(task);
      if (event === "error") this.#addProblem(parsed as Problem, order);
      else if (entry) this.#apply(event, parsed, entry);
    } catch (reason) {
      console.error("[cortex-jupyter] an event could not be read", event, reason);
    }
    const cursors = id?.split(",") ?? [];
    if (cursors.length === order.length) for (const [i, task] of order.entries()) if (cursors[i] && this.#tasks.get(task)) this.#tasks.entryOf(task).store.cursor = cursors[i];
  }

  #apply(event: string, data: object, entry: TaskEntry): void {
    const { store } = entry;
    const before = store.rows;
    if (event === "log") {
      const { seq } = data as LogEvent;
      if (entry.absence !== undefined && store.spans.includes(entry.absence)) entry.absence.until = Math.min(entry.absence.until, seq);
      store.addLog(data as LogEvent);
    } else if (event === "status") {
      const { now } = data as StatusEvent;
      if (now) this.#clock.setNodeTime(fromNs(now));
      store.addStatus(data as StatusEvent);
      // A status without `seq` is no notice: it begins a stream, or repeats the task's state. The outline shows whether the stream leaves lines out.
      if ((data as StatusEvent).seq === undefined) void this.#outlines.load(store.task);
    } else if (event === "gap") store.addGap(data as GapEvent);
    else if (event === "end") store.addEnd(data as EndEvent);
    this.#watcher.rowsAdded(store, before);
    this.#watcher.limitMemory();
    if (event === "end") void this.#afterEnd(entry);
  }

  async #afterEnd(entry: TaskEntry): Promise<void> {
    const { store, absence } = entry;
    await entry.outlineLoading;
    await this.#outlines.load(store.task);
    const last = store.spans.at(-1);
    if (store.lines === 0 && last) await this.#loader.loadBefore(store.task, last);
    else if (store.rows <= 1 && store.older) await this.#loader.loadOlder(store.task);
    if (absence?.until === Infinity) for (let i = 0; i < PAGES_AFTER_END; i++) await this.#loader.loadAfter(store.task, store.spans.find(({ onDemand }) => onDemand));
    await this.#outlines.loadStatement(entry);
  }

  #addProblem(problem: Problem, order: string[]): void {
    for (const task of problem.task ? [problem.task] : order) {
      const held = this.#tasks.get(task);
      if (held && problem.task && problem.code === "CursorNotHeld") {
        this.onCursorExpired(task, problem);
      } else if (held && problem.task) held.problem = problem;
      else {
        const entry = this.#tasks.links.entryOf(task);
        if (entry) entry.problem = problem;
      }
    }
    console.error("[cortex-jupyter]", problem.code, problem.message);
    this.#watcher.changed();
  }

  onCursorExpired(task: string, problem: Problem): void {
    this.onCursorLost([task], problem);
    this.#tasks.linkOf(task)?.retry();
  }

  /** Start over, for instance in a new recording: reload the window, and the lines that users were reading if they are not too old. */
  onCursorLost(tasks: string[], problem: Problem): void {
    const from = `${Math.round(this.#tasks.now())}000000`;
    this.#watcher.tasksReset(tasks, () => {
      for (const task of tasks) this.#tasks.drop(task);
      for (const task of tasks) this.#tasks.entryOf(task).store.addGap({ task, from, reason: `${problem.message}; the window was loaded again` }, false);
    });
  }

  keepReachable(task: string, place: number): void {
    const entry = this.#tasks.entryOf(task);
    if (this.#tasks.now() - place < MAX_REACH_MS) entry.readFrom = Math.min(entry.readFrom, place - 1000);
  }
}
