/** What is held of each task: what streams in, its older pages, and what was left out after an absence. */

import type { Link } from "../transport/link.ts";
import { PageError } from "../transport/page.ts";
import type { SseEvent } from "../transport/splitter.ts";
import type { EndEvent, GapEvent, LogEvent, Problem, StatusEvent, TaskSummary } from "../types.ts";
import type { Clock } from "./clock.ts";
import type { Links, Receiver } from "./links.ts";
import { gapText } from "./notice.ts";
import { GAP, HOLE, TaskStore } from "./store.ts";
import { fromNs, sinceOf, windowOf } from "./time.ts";

const PAGE_LINES = 2000;
/** After a longer absence the window is asked for and not what came in between, which is there on demand. */
const ABSENCE = 600_000;
const HOLE_LINES = 5000;
/** Pages of a hole that ends with the task: nothing more comes, so they are what is shown. */
const LAST_PAGES = 4;
/** A place so far back is still reached by a wider window, and an absence so long by the cursor. */
const REACH = 3_600_000;
const LISTED = 50;

export interface Held {
  store: TaskStore;
  /** Everything from this time on is here. */
  coveredFrom: number;
  loading: boolean;
  autoPages: number;
  problem: Problem | null;
  /** When the link last was known to be alive: everything before that is here. */
  heardAt: number;
  /** Whether the last request asked for the window in place of what follows the cursor. */
  stale: boolean;
  /** Begin at least here, whatever the window: somebody was reading there. */
  reach: number;
}

/** What the views must be told. */
export interface Watcher {
  changed(): void;
  /** Rows from `before` on are new. */
  taken(store: TaskStore, before: number): void;
  dropped(store: TaskStore, row: number): void;
  /** A page of older lines is here. */
  paged(store: TaskStore): void;
  /** These tasks begin anew, in new stores that `begin` makes. */
  renewed(tasks: string[], begin: () => void): void;
  /** The widest window of the views of a store, ms. */
  windowOf(store: TaskStore): number;
}

export class Holdings implements Receiver {
  readonly #held = new Map<string, Held>();
  links!: Links;

  constructor(
    private readonly clock: Clock,
    private readonly watcher: Watcher,
  ) {}

  hold(task: string): Held {
    let held = this.#held.get(task);
    if (held === undefined) {
      held = { store: new TaskStore(task), coveredFrom: Infinity, loading: false, autoPages: 0, problem: null, heardAt: Date.now(), stale: false, reach: Infinity };
      this.#held.set(task, held);
    }
    return held;
  }

  get(task: string): Held | undefined {
    return this.#held.get(task);
  }

  release(wanted: ReadonlySet<string>): void {
    for (const task of this.#held.keys()) if (!wanted.has(task)) this.#held.delete(task);
  }

  now(): number {
    return this.clock.now(Math.max(0, ...[...this.#held.values()].map(({ store }) => store.newest)));
  }

  summaries(): TaskSummary[] {
    return [...this.#held.keys()].map((task) => this.summary(task));
  }

  summary(task: string): TaskSummary {
    const { complete, ended, exit, gaps, gapLines, lines, message, state } = this.hold(task).store;
    const missing = complete ? complete.gaps.map((gap) => ({ text: gapText(gap), hint: gap.hint ?? "" })) : gaps;
    return { task, complete, ended, exit, gaps: missing.length, missing: missing.slice(0, LISTED), gapLines, lines, message, state };
  }

  // Where a stream begins

  cursorOf(task: string): string {
    const held = this.hold(task);
    held.stale = this.#isStale(held);
    return held.stale ? "" : held.store.cursor;
  }

  isEnded(task: string): boolean {
    return this.hold(task).store.ended || this.hold(task).problem !== null;
  }

  sinceOf(task: string): string {
    const held = this.hold(task);
    const [since, width] = this.#widest(task);
    held.coveredFrom = Math.min(held.coveredFrom, this.now() - width);
    return since;
  }

  #widest(task: string): [since: string, width: number] {
    let widest = "1m";
    let width = -1;
    for (const session of this.links.sessions.values()) {
      const window = windowOf(session.since) ?? Infinity;
      if (session.tasks.includes(task) && window > width) [widest, width] = [session.since, window];
    }
    const held = this.hold(task);
    if (this.now() - held.reach > width) {
      width = this.now() - held.reach;
      widest = sinceOf(width);
    }
    return held.stale && width > REACH ? ["10m", ABSENCE] : [widest, width];
  }

  /** Away for longer than its views look back. */
  #isStale({ store, heardAt }: Held): boolean {
    const window = Math.max(this.#widest(store.task)[1], this.watcher.windowOf(store));
    return store.cursor !== "" && Date.now() - heardAt > Math.max(ABSENCE, Math.min(REACH, window));
  }

  onHeard(task: string): void {
    this.hold(task).heardAt = Date.now();
  }

  /** The stream begins with the window: what lies before that and after what is here becomes a row that loads it. */
  onLive(task: string): void {
    const held = this.hold(task);
    const { store } = held;
    if (held.stale) {
      const from = store.newest;
      const to = Math.max(from, this.now() - this.#widest(task)[1]);
      // Two absences are one hole: what is here of it is not taken twice.
      this.#dig(store, store.hole?.after ?? store.cursor, store.hole?.from ?? from, to);
      store.cursor = "";
      held.stale = false;
    }
    held.heardAt = Date.now();
  }

  // What arrives

  onEvent({ event, data, id }: SseEvent, order: string[]): void {
    let parsed: { task?: string };
    try {
      parsed = JSON.parse(data) as { task?: string };
      const task = parsed.task ?? order[0];
      const held = this.#held.get(task);
      if (event === "error") this.#problem(parsed as Problem, order);
      else if (held) this.#apply(event, parsed, held);
    } catch (reason) {
      console.error("[cortex-jupyter] an event could not be read", event, reason);
    }
    const cursors = id?.split(",") ?? [];
    if (cursors.length === order.length) for (const [i, task] of order.entries()) if (cursors[i] && this.#held.has(task)) this.hold(task).store.cursor = cursors[i];
  }

  #apply(event: string, data: object, held: Held): void {
    const { store } = held;
    const before = store.rows;
    if (event === "log") {
      const { seq } = data as LogEvent;
      if (store.hole !== null) store.hole.until = Math.min(store.hole.until, seq);
      store.addLog(data as LogEvent);
    } else if (event === "status") {
      const { now } = data as StatusEvent;
      if (now) this.clock.nodes(fromNs(now));
      store.addStatus(data as StatusEvent);
    } else if (event === "gap") store.addGap(data as GapEvent);
    else if (event === "end") store.addEnd(data as EndEvent);
    this.watcher.taken(store, before);
    if (event === "end") void this.#ended(store);
  }

  async #ended(store: TaskStore): Promise<void> {
    if (store.rows <= 1 && store.older) await this.older(store.task);
    if (store.hole?.until === Infinity) await this.fill(store.task, LAST_PAGES);
    try {
      const page = await this.#linkOf(store.task)?.page(store.task, { limit: 1, since: "all" });
      store.complete = page?.complete ?? null;
      this.watcher.changed();
    } catch (reason) {
      // The statement is missing then; the lines are here.
      console.warn("[cortex-jupyter] the completeness statement could not be read", reason);
    }
  }

  #problem(problem: Problem, order: string[]): void {
    for (const task of problem.task ? [problem.task] : order) {
      const held = this.#held.get(task);
      if (held && problem.task && problem.code === "CursorNotHeld") {
        this.onCursorLost([task], problem);
        this.#linkOf(task)?.retry();
      } else if (held && problem.task) held.problem = problem;
      else {
        const entry = this.links.of(task);
        if (entry) entry.problem = problem;
      }
    }
    console.error("[cortex-jupyter]", problem.code, problem.message);
  }

  /** The recording is another one: the window is loaded anew, where somebody reads too if that is not too far back. */
  onCursorLost(tasks: string[], problem: Problem): void {
    const from = `${Math.round(this.now())}000000`;
    this.watcher.renewed(tasks, () => {
      for (const task of tasks) this.#held.delete(task);
      for (const task of tasks) this.hold(task).store.addGap({ task, from, reason: `${problem.message}; the window was loaded anew` }, false);
    });
  }

  reachBack(task: string, place: number): void {
    const held = this.hold(task);
    if (this.now() - place < REACH) held.reach = Math.min(held.reach, place - 1000);
  }

  // What is asked for

  async older(task: string): Promise<void> {
    const held = this.#held.get(task);
    const link = this.#linkOf(task);
    if (!held || !link || held.loading || !held.store.older) return;
    held.loading = true;
    this.watcher.changed();
    try {
      const page = await link.page(task, { before: held.store.older, limit: PAGE_LINES, since: "all" });
      const before = held.store.rows;
      held.store.addPage(page);
      held.coveredFrom = Math.min(held.coveredFrom, ...page.records.map((record) => Date.parse(record.time)));
      if (held.store.older === null) held.coveredFrom = -Infinity;
      this.watcher.taken(held.store, before);
    } catch (reason) {
      this.#failed(task, reason);
    }
    held.loading = false;
    this.watcher.changed();
    this.watcher.paged(held.store);
  }

  /** Loads what was left out, oldest lines first. */
  async fill(task: string, pages: number): Promise<void> {
    const held = this.#held.get(task);
    const link = this.#linkOf(task);
    if (!held || !link || held.loading) return;
    const { store } = held;
    const { older } = store;
    held.loading = true;
    this.watcher.changed();
    try {
      for (let i = 0; i < pages && store.hole !== null; i++) {
        const { after, from, to, until } = store.hole;
        const page = await link.page(task, { after, limit: HOLE_LINES, since: "all" });
        const before = store.rows;
        store.addPage(page);
        this.watcher.taken(store, before);
        const last = page.records.at(-1);
        const reached = Math.max(-1, ...page.records.map(({ seq }) => seq));
        if (!page.newer || page.records.length === 0 || reached >= until) this.#close(store);
        else this.#dig(store, page.newer, Math.max(from, last ? Date.parse(last.time) : from), to, until);
      }
    } catch (reason) {
      this.#failed(task, reason);
    }
    store.older = older;
    held.loading = false;
    this.watcher.changed();
  }

  #dig(store: TaskStore, after: string, from: number, to: number, until?: number): void {
    this.#close(store);
    const before = store.rows;
    store.addHole(after, from, to, until);
    this.watcher.taken(store, before);
  }

  #close(store: TaskStore): void {
    if (store.hole === null) return;
    const { row } = store.hole;
    store.hole = null;
    // Both flags at once: a view made later leaves it out, too.
    store.flags[row] |= GAP | HOLE;
    this.watcher.dropped(store, row);
  }

  #linkOf(task: string): Link | undefined {
    return this.links.of(task)?.link;
  }

  #failed(task: string, reason: unknown): void {
    const entry = this.links.of(task);
    const text = reason instanceof Error ? reason.message : String(reason);
    if (entry) entry.problem = reason instanceof PageError ? reason.problem : { code: "PageFailed", message: `Lines could not be loaded: ${text}` };
  }
}
