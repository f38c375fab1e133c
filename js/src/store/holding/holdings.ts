/** What is held of each task: what streams in, what was left out, what is loaded and dropped as readers move. */

import type { Link } from "../../transport/link.ts";
import { PageError } from "../../transport/page.ts";
import type { SseEvent } from "../../transport/splitter.ts";
import type { EndEvent, GapEvent, LogEvent, Problem, StatusEvent } from "../../types/events.ts";
import type { TaskSummary } from "../../types/summary.ts";
import type { Clock } from "./clock.ts";
import type { Links, Receiver } from "./links.ts";
import { gapText } from "./notice.ts";
import { isFull, thin } from "./memory.ts";
import { Outline } from "./outline.ts";
import { PAGE_LINES, Pages, type Rows, type Wish } from "./pages.ts";
import type { Span } from "./spans.ts";
import { TaskStore } from "./store.ts";
import { fromNs, sinceOf, windowOf } from "../parsing/time.ts";

/** After a longer absence the window is asked for and not what came in between, which is there on demand. */
const ABSENCE = 600_000;
/** Pages of a hole that ends with the task: nothing more comes, so they are what is shown. */
const LAST_PAGES = 4;
/** The outline of a task that goes on is asked for again after so long; of one that says nothing, more and more seldom. */
const SURVEY_EVERY = 30_000;
const SURVEY_SELDOM = 600_000;
/** After a page that did not come, or brought nothing. */
const REST = 3000;
/** While the server is still counting warnings and errors. */
const LEVELS_EVERY = 3000;
const STATE_AGAIN = 5000;
/** Row numbers are given anew when so many rows are gone. */
const COMPACT = 1_000_000;
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
  surveyedAt: number;
  surveyEvery: number;
  /** Lines that had been recorded then. */
  surveyedOf: number;
  /** When its completeness statement was asked for in vain. */
  statedAt: number;
  surveying: Promise<void> | undefined;
  /** Warnings and errors of what is not loaded are being counted. */
  uncounted: boolean;
  /** Why lines that were looked at did not come. */
  trouble: Problem | null;
  /** What is looked at is not loaded before this. */
  restUntil: number;
  /** The last absence, while it is not known which line came after it. */
  away: Span | undefined;
}

/** What the views must be told. */
export interface Watcher {
  changed(): void;
  /** Rows from `before` on are new. */
  taken(store: TaskStore, before: number): void;
  dropped(store: TaskStore, row: number): void;
  /** Many rows are gone. */
  thinned(store: TaskStore): void;
  /** Rows have other numbers. */
  moved(store: TaskStore, rows: Int32Array): void;
  /** Keys of the rows at which readers of a store are. */
  placesIn(store: TaskStore): number[];
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
      held = { store: new TaskStore(task), coveredFrom: Infinity, loading: false, autoPages: 0, problem: null, heardAt: Date.now(), stale: false, reach: Infinity, surveyedAt: 0, statedAt: Infinity, surveyEvery: SURVEY_EVERY, surveyedOf: -1, surveying: undefined, uncounted: false, trouble: null, restUntil: 0, away: undefined };
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
    const { complete, ended, exit, gaps, gapLines, recorded: lines, message, phases, state, stopped } = this.hold(task).store;
    const missing = complete ? complete.gaps.map((gap) => ({ text: gapText(gap), hint: gap.hint ?? "" })) : gaps;
    return { task, complete, ended, exit, gaps: missing.length, missing: missing.slice(0, LISTED), gapLines, lines, message, state, stopped, pods: [...phases.pods.values()] };
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
      held.away = undefined;
      this.#rows(store).add(() => (held.away = store.addSpan({ from, to, low: from, high: to, lines: 0, newer: store.cursor, until: Infinity, onDemand: true })));
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
      if (held.away !== undefined && store.spans.includes(held.away)) held.away.until = Math.min(held.away.until, seq);
      store.addLog(data as LogEvent);
    } else if (event === "status") {
      const { now } = data as StatusEvent;
      if (now) this.clock.nodes(fromNs(now));
      store.addStatus(data as StatusEvent);
      // The stream begins: is there anything that it leaves out?
      if ((data as StatusEvent).seq === undefined) void this.survey(store.task);
    } else if (event === "gap") store.addGap(data as GapEvent);
    else if (event === "end") store.addEnd(data as EndEvent);
    this.watcher.taken(store, before);
    this.#bound(held);
    if (event === "end") void this.#ended(held);
  }

  async #ended(held: Held): Promise<void> {
    const { store, away } = held;
    await held.surveying;
    await this.survey(store.task);
    const last = store.spans.at(-1);
    if (store.lines === 0 && last) await this.#load(held, (pages) => pages.back(last));
    else if (store.rows <= 1 && store.older) await this.older(store.task);
    if (away?.until === Infinity) for (let i = 0; i < LAST_PAGES; i++) await this.on(store.task, store.spans.find(({ onDemand }) => onDemand));
    await this.#state(held);
  }

  /** Is it all? */
  async #state(held: Held): Promise<void> {
    const { store } = held;
    held.statedAt = Infinity;
    try {
      const page = await this.#linkOf(store.task)?.page(store.task, { limit: 1, since: "all" });
      store.complete = page?.complete ?? null;
      this.watcher.changed();
    } catch (reason) {
      // The lines are here; it is asked for again.
      console.warn("[cortex-jupyter] the completeness statement could not be read", reason);
      held.statedAt = performance.now();
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
    this.watcher.changed();
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

  /** A page before everything that is here, where nobody has counted what is there. */
  older(task: string): Promise<void> {
    const held = this.hold(task);
    const { older } = held.store;
    if (!older) return Promise.resolve();
    return this.#load(held, async (_pages, link) => {
      const page = await link.page(task, { before: older, limit: PAGE_LINES, since: "all" });
      this.#rows(held.store).add(() => held.store.addPage(page));
      held.coveredFrom = Math.min(held.coveredFrom, ...page.records.map((record) => Date.parse(record.time)));
      if (held.store.older === null) held.coveredFrom = -Infinity;
    });
  }

  /** Somebody looks at rows that are not here. */
  async look(task: string, wish: Wish): Promise<void> {
    const held = this.hold(task);
    const { store } = held;
    if (held.loading || performance.now() < held.restUntil) return;
    const before = `${store.lines} ${store.spans.length}`;
    held.restUntil = Infinity;
    await this.#load(held, (pages) => pages.look(wish));
    // What fails or brings nothing is not asked for again and again as long as somebody looks.
    held.restUntil = before === `${store.lines} ${store.spans.length}` ? performance.now() + REST : 0;
    if (held.restUntil === 0) this.watcher.changed();
  }

  back(task: string, span: Span): Promise<void> {
    return this.#load(this.hold(task), (pages) => pages.back(span));
  }

  /** The lines after the beginning of what is not here, as a reader goes on reading. */
  on(task: string, span: Span | undefined): Promise<void> {
    return span ? this.#load(this.hold(task), (pages) => pages.on(span)) : Promise.resolve();
  }

  async #load(held: Held, work: (pages: Pages, link: Link) => Promise<void>): Promise<void> {
    const { store } = held;
    const link = this.#linkOf(store.task);
    if (!link || held.loading) return;
    held.loading = true;
    this.watcher.changed();
    try {
      await work(new Pages(store, link, this.#rows(store)), link);
      held.trouble = null;
    } catch (reason) {
      this.#failed(store.task, reason);
    }
    held.loading = false;
    this.#bound(held);
    this.watcher.changed();
    this.watcher.paged(store);
  }

  /** Counts the whole recording, and makes rows of what is not here. */
  survey(task: string): Promise<void> {
    const held = this.hold(task);
    const link = this.#linkOf(task);
    if (!link) return Promise.resolve();
    held.surveyedAt = performance.now();
    return (held.surveying ??= this.#survey(held, link).finally(() => (held.surveying = undefined)));
  }

  async #survey(held: Held, link: Link): Promise<void> {
    const { store } = held;
    try {
      // Of what is loaded the levels are known here.
      const doc = await link.outline(store.task, store.spans.length > 0);
      store.survey(new Outline(doc), doc.notices, doc.sources);
      // Sources may have come to be known.
      this.watcher.taken(store, store.rows);
    } catch (reason) {
      // Without it the bar spans what is loaded, and older lines come page by page.
      console.warn("[cortex-jupyter] the outline could not be read", reason);
      return;
    }
    const rows = this.#rows(store);
    const { outline, older } = store;
    if (outline === null) return;
    if (older && !store.spans.some(({ from }) => from === -Infinity)) {
      const first = store.firstKey;
      const high = Math.min(first, store.begins, this.now());
      const lines = outline.between(outline.first, high);
      if (lines > 0) {
        store.older = null;
        rows.add(() => store.addSpan({ from: -Infinity, to: first, low: outline.first, high, lines, older, until: Infinity, onDemand: false }));
      }
    }
    for (const span of store.spans.filter(({ lines }) => lines === 0)) {
      const lines = outline.between(span.low, span.high);
      if (lines === 0) continue;
      rows.close(span);
      rows.add(() => {
        const made = store.addSpan({ ...span, lines });
        if (held.away === span) held.away = made;
      });
    }
    held.uncounted = store.spans.length > 0 && outline.errors === null;
    held.surveyedOf = store.recorded;
    this.watcher.changed();
    this.watcher.paged(store);
  }

  /** Once a second, of what is in sight: recordings that go on are counted again now and then, and those whose levels are being counted; what could not be asked is. */
  second(seen: ReadonlySet<TaskStore>): void {
    for (const held of this.#held.values()) {
      const { store, uncounted } = held;
      if (performance.now() - held.statedAt > STATE_AGAIN) void this.#state(held);
      const quiet = store.recorded === held.surveyedOf;
      const again = uncounted ? LEVELS_EVERY : store.ended ? Infinity : quiet ? held.surveyEvery : SURVEY_EVERY;
      if (store.outline === null || !seen.has(store) || performance.now() - held.surveyedAt <= again) continue;
      held.surveyEvery = quiet ? Math.min(SURVEY_SELDOM, 2 * held.surveyEvery) : SURVEY_EVERY;
      void this.survey(store.task);
    }
  }

  #rows(store: TaskStore): Rows {
    return {
      add: (work) => {
        const before = store.rows;
        work();
        if (store.replaced) this.watcher.thinned(store);
        store.replaced = false;
        this.watcher.taken(store, before);
      },
      close: (span) => {
        store.closeSpan(span);
        this.watcher.dropped(store, span.row);
      },
    };
  }

  /** Memory is bounded: what is far from every reader goes. */
  #bound({ store }: Held): void {
    if (!isFull(store)) return;
    const before = store.rows;
    if (!thin(store, this.watcher.placesIn(store))) return;
    this.watcher.thinned(store);
    this.watcher.taken(store, before);
    if (store.dropped > COMPACT) this.watcher.moved(store, store.compact());
  }

  #linkOf(task: string): Link | undefined {
    return this.links.of(task)?.link;
  }

  #failed(task: string, reason: unknown): void {
    const text = reason instanceof Error ? reason.message : String(reason);
    this.hold(task).trouble = reason instanceof PageError ? reason.problem : { code: "PageFailed", message: `Lines could not be loaded: ${text}` };
  }
}
