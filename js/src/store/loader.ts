/**
 * Loads lines when a user scrolls to them, one page of a task at a time: the last lines of an unloaded span, its first lines, or
 * the lines around a time within it.
 */

import type { LogPage, Problem } from "../protocol/events.ts";
import { errorMessage } from "../text/format.ts";
import { fromIso } from "../text/time.ts";
import { RequestError } from "../transport/http.ts";
import type { Link, PageQuery } from "../transport/link.ts";
import { NOTICE } from "./lines.ts";
import { HOLE_LINES, spanLines, spanRows, spanTimeAt, type UnloadedSpan } from "./spans.ts";
import { type RowEditor, rowEditor, type StoreWatcher, type TaskEntry, type Tasks } from "./tasks.ts";
import type { TaskStore } from "./taskstore.ts";

const PAGE_LINES = 2000;
/** Maximum number of pages that are loaded in a row until one brings new lines. */
const MAX_EMPTY_PAGES = 5;

/** Rows [first, last] of a span are visible. */
export interface WantedRows {
  span: UnloadedSpan;
  first: number;
  last: number;
  /** The time that the user jumps to (ms). */
  time?: number;
}

function toIso(ms: number): string {
  return new Date(ms).toISOString();
}

/** Return the earliest and the latest time of a page's lines. */
function timeRange(page: LogPage): [low: number, high: number] {
  const times = page.records.map((record) => fromIso(record.time));
  return [Math.min(Infinity, ...times), Math.max(-Infinity, ...times)];
}

export class SpanLoader {
  readonly #store: TaskStore;
  readonly #link: Link;
  readonly #rows: RowEditor;

  constructor(
    store: TaskStore,
    link: Link,
    rows: RowEditor,
  ) {
    this.#store = store;
    this.#link = link;
    this.#rows = rows;
  }

  async loadRows({ span, first, last, time }: WantedRows): Promise<void> {
    const rows = spanRows(span);
    if (time !== undefined) await this.#loadAround(span, first, time);
    else if (rows - last <= PAGE_LINES) await this.loadBefore(span);
    else if (first <= PAGE_LINES / 2) await this.loadAfter(span);
    else await this.#loadAround(span, first);
  }

  /** Load the last lines of a span. */
  async loadBefore(span: UnloadedSpan): Promise<void> {
    const store = this.#store;
    const link = this.#link;
    let place: Pick<PageQuery, "until" | "before"> = span.older === undefined ? { until: toIso(Math.floor(span.high) + 1) } : { before: span.older };
    for (let i = 0; i < MAX_EMPTY_PAGES; i++) {
      const page = await link.page(store.task, { ...place, limit: PAGE_LINES, since: "all" });
      if (!store.spans.includes(span)) return;
      const [low] = timeRange(page);
      const older = page.older ?? undefined;
      const before = older !== undefined && low >= span.low ? { ...span, high: Math.min(low, span.high), older } : null;
      const taken = this.#insert(page, span, before, null);
      // The page had no new lines, so load the page before it.
      if (taken.added > 0 || taken.before === undefined) return;
      span = taken.before;
      place = { before: older };
    }
  }

  /** Load the lines after the beginning of a span. */
  async loadAfter(span: UnloadedSpan): Promise<void> {
    const store = this.#store;
    const link = this.#link;
    const place = span.newer === undefined ? { at: toIso(Math.floor(span.low)) } : { after: span.newer, since: "all" };
    const page = await link.page(store.task, { ...place, limit: span.until < Infinity ? HOLE_LINES : PAGE_LINES });
    if (!store.spans.includes(span)) return;
    const [, high] = timeRange(page);
    // A page in the order of recording has reached the end of the span by its sequence numbers, a page by time by its times.
    const byNumber = span.newer !== undefined && span.onDemand;
    const reached = byNumber ? Math.max(-1, ...page.records.map(({ seq }) => seq)) >= span.until : high > span.high;
    const whole = !page.newer || page.records.length === 0 || reached;
    this.#insert(page, span, null, whole ? null : { ...span, low: Math.max(span.low, high), newer: page.newer ?? undefined });
  }

  async #loadAround(span: UnloadedSpan, offset: number, at?: number): Promise<void> {
    const store = this.#store;
    const link = this.#link;
    const time = at ?? spanTimeAt(span, offset, store.outline);
    const page = await link.page(store.task, { at: toIso(time), limit: PAGE_LINES });
    if (!store.spans.includes(span)) return;
    const [low, high] = timeRange(page);
    // The rows before the user's row must stay as many as they were, so that it does not move.
    const lead = Math.max(1, offset - page.records.filter((record) => fromIso(record.time) < time).length);
    const rest = { ...span, until: Infinity, onDemand: false };
    const before = page.older && low >= span.low ? { ...rest, high: low, older: page.older, newer: span.onDemand ? undefined : span.newer, lines: lead } : null;
    const behind = Math.max(1, spanLines(span) - (before ? lead : 0) - page.records.length);
    const after = page.newer && high <= span.high ? { ...rest, low: high, newer: page.newer, lines: behind } : null;
    this.#insert(page, span, before, after);
  }

  /** Replace a span with the lines of a page, and with spans for the lines that are still missing before and after them. */
  #insert(page: LogPage, span: UnloadedSpan, before: Omit<UnloadedSpan, "row"> | null, after: Omit<UnloadedSpan, "row"> | null): { added: number; before?: UnloadedSpan } {
    const store = this.#store;
    const start = store.rows;
    let [added, first, last] = [0, span.to, span.from];
    let remaining: UnloadedSpan | undefined;
    this.#rows.close(span);
    this.#rows.add(() => {
      added = store.addPage(page, span);
      for (let row = start; row < store.rows; row++) {
        if (store.flags[row] & NOTICE) continue;
        first = Math.min(first, store.key[row]);
        last = Math.max(last, store.key[row]);
      }
      const lines = Math.max(1, spanLines(span) - added);
      if (before) remaining = store.addSpan({ ...before, lines: after ? before.lines : lines, to: first });
      if (after) store.addSpan({ ...after, lines: before ? after.lines : lines, from: last });
    });
    return { added, before: remaining };
  }
}

/** Pause after a page that failed or brought nothing (ms). */
const PAUSE_MS = 3000;
/** Maximum number of pages that are requested to fill a window. */
const AUTO_PAGES = 25;

export class Loader {
  readonly #tasks: Tasks;
  readonly #watcher: StoreWatcher;
  readonly #onPlaceLost: (task: string, problem: Problem) => void;

  constructor(
    tasks: Tasks,
    watcher: StoreWatcher,
    onPlaceLost: (task: string, problem: Problem) => void,
  ) {
    this.#tasks = tasks;
    this.#watcher = watcher;
    this.#onPlaceLost = onPlaceLost;
  }

  /** Load the page before all loaded lines. Without an outline there is no span for them. */
  loadOlder(task: string): Promise<void> {
    const entry = this.#tasks.entryOf(task);
    const { older } = entry.store;
    if (!older) return Promise.resolve();
    return this.#load(entry, async (_pages, link) => {
      const page = await link.page(task, { before: older, limit: PAGE_LINES, since: "all" });
      rowEditor(entry.store, this.#watcher).add(() => entry.store.addPage(page));
      entry.coveredFrom = Math.min(entry.coveredFrom, ...page.records.map((record) => Date.parse(record.time)));
      if (entry.store.older === null) entry.coveredFrom = -Infinity;
    });
  }

  /** Load unloaded rows that are visible. */
  async loadVisible(task: string, wish: WantedRows): Promise<void> {
    const entry = this.#tasks.entryOf(task);
    const { store } = entry;
    if (entry.isLoading || performance.now() < entry.pauseUntil) return;
    const before = `${store.lines} ${store.spans.length}`;
    entry.pauseUntil = Infinity;
    await this.#load(entry, (pages) => pages.loadRows(wish));
    // If the page failed or brought nothing, wait before the next request.
    entry.pauseUntil = before === `${store.lines} ${store.spans.length}` ? performance.now() + PAUSE_MS : 0;
    if (entry.pauseUntil === 0) this.#watcher.changed();
  }

  loadBefore(task: string, span: UnloadedSpan): Promise<void> {
    return this.#load(this.#tasks.entryOf(task), (pages) => pages.loadBefore(span));
  }

  /** Load the lines after the beginning of a span. */
  loadAfter(task: string, span: UnloadedSpan | undefined): Promise<void> {
    return span ? this.#load(this.#tasks.entryOf(task), (pages) => pages.loadAfter(span)) : Promise.resolve();
  }

  async #load(entry: TaskEntry, work: (pages: SpanLoader, link: Link) => Promise<void>): Promise<void> {
    const { store } = entry;
    const link = this.#tasks.linkOf(store.task);
    if (!link || entry.isLoading) return;
    entry.isLoading = true;
    this.#watcher.changed();
    let isLoaded = false;
    try {
      await work(new SpanLoader(store, link, rowEditor(store, this.#watcher)), link);
      entry.loadProblem = null;
      isLoaded = true;
    } catch (reason) {
      this.#handleFailure(store.task, reason);
    }
    entry.isLoading = false;
    this.#watcher.limitMemory();
    this.#watcher.changed();
    if (isLoaded) this.#watcher.pageLoaded(store);
  }

  #handleFailure(task: string, reason: unknown): void {
    if (reason instanceof RequestError && reason.problem.code === "CursorNotHeld") {
      this.#onPlaceLost(task, reason.problem);
      return;
    }
    const text = errorMessage(reason);
    this.#tasks.entryOf(task).loadProblem = reason instanceof RequestError ? reason.problem : { code: "PageFailed", message: `Lines could not be loaded: ${text}` };
  }

  /** Load the missing lines of a window: the oldest span that reaches into it, if that fits into one page; without an outline, page after page. */
  coverWindow(stores: TaskStore[], since: number | null, low: number): void {
    for (const store of stores) {
      const span = store.spans.find(({ high, onDemand }) => !onDemand && high > low);
      if (span && span.lines <= PAGE_LINES) void this.loadVisible(store.task, { span, first: span.lines - 1, last: span.lines - 1 });
    }
    for (const store of stores) {
      const entry = this.#tasks.get(store.task);
      if (!entry || !store.older || entry.autoPages >= (since === null ? 1 : AUTO_PAGES)) continue;
      if (since !== null && entry.coveredFrom <= this.#tasks.now() - since) continue;
      entry.autoPages++;
      void this.loadOlder(store.task);
    }
  }
}
