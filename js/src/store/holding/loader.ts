/** Loads lines that are not here as somebody looks at them, one page of a task at a time. */

import type { Link } from "../../transport/link.ts";
import { RequestError } from "../../transport/page.ts";
import type { Problem } from "../../types/events.ts";
import { limitMemory } from "./changes.ts";
import { rowEditor, type StoreWatcher } from "./watcher.ts";
import type { TaskEntry, Tasks } from "./held.ts";
import { PAGE_LINES, SpanLoader, type WantedRows } from "./pages.ts";
import type { UnloadedSpan } from "./spans.ts";
import type { TaskStore } from "./store.ts";

/** After a page that did not come, or brought nothing. */
const PAUSE_MS = 3000;
/** So many pages are asked for to cover a window. */
const AUTO_PAGES = 25;

export class Loader {
  constructor(
    private readonly tasks: Tasks,
    private readonly watcher: StoreWatcher,
    private readonly onPlaceLost: (task: string, problem: Problem) => void,
  ) {}

  /** A page before everything that is here, where nobody has counted what is there. */
  loadOlder(task: string): Promise<void> {
    const held = this.tasks.getOrCreate(task);
    const { older } = held.store;
    if (!older) return Promise.resolve();
    return this.#load(held, async (_pages, link) => {
      const page = await link.page(task, { before: older, limit: PAGE_LINES, since: "all" });
      rowEditor(held.store, this.watcher).add(() => held.store.addPage(page));
      held.coveredFrom = Math.min(held.coveredFrom, ...page.records.map((record) => Date.parse(record.time)));
      if (held.store.older === null) held.coveredFrom = -Infinity;
    });
  }

  /** Somebody looks at rows that are not here. */
  async loadVisible(task: string, wish: WantedRows): Promise<void> {
    const held = this.tasks.getOrCreate(task);
    const { store } = held;
    if (held.isLoading || performance.now() < held.pauseUntil) return;
    const before = `${store.lines} ${store.spans.length}`;
    held.pauseUntil = Infinity;
    await this.#load(held, (pages) => pages.loadRows(wish));
    // What fails or brings nothing is not asked for again and again as long as somebody looks.
    held.pauseUntil = before === `${store.lines} ${store.spans.length}` ? performance.now() + PAUSE_MS : 0;
    if (held.pauseUntil === 0) this.watcher.changed();
  }

  loadBefore(task: string, span: UnloadedSpan): Promise<void> {
    return this.#load(this.tasks.getOrCreate(task), (pages) => pages.loadBefore(span));
  }

  /** The lines after the beginning of what is not here, as a reader goes on reading. */
  loadAfter(task: string, span: UnloadedSpan | undefined): Promise<void> {
    return span ? this.#load(this.tasks.getOrCreate(task), (pages) => pages.loadAfter(span)) : Promise.resolve();
  }

  async #load(held: TaskEntry, work: (pages: SpanLoader, link: Link) => Promise<void>): Promise<void> {
    const { store } = held;
    const link = this.tasks.linkOf(store.task);
    if (!link || held.isLoading) return;
    held.isLoading = true;
    this.watcher.changed();
    try {
      await work(new SpanLoader(store, link, rowEditor(store, this.watcher)), link);
      held.loadProblem = null;
    } catch (reason) {
      this.#handleFailure(store.task, reason);
    }
    held.isLoading = false;
    limitMemory(held.store, this.watcher);
    this.watcher.changed();
    this.watcher.pageLoaded(store);
  }

  #handleFailure(task: string, reason: unknown): void {
    if (reason instanceof RequestError && reason.problem.code === "CursorNotHeld") {
      this.onPlaceLost(task, reason.problem);
      return;
    }
    const text = reason instanceof Error ? reason.message : String(reason);
    this.tasks.getOrCreate(task).loadProblem = reason instanceof RequestError ? reason.problem : { code: "PageFailed", message: `Lines could not be loaded: ${text}` };
  }

  /** What a window lacks by no more than a page comes at once; nobody has counted: pages until it is covered. */
  coverWindow(stores: TaskStore[], since: number | null, low: number): void {
    for (const store of stores) {
      const span = store.spans.find(({ high, onDemand }) => !onDemand && high > low);
      if (span && span.lines <= PAGE_LINES) void this.loadVisible(store.task, { span, first: span.lines - 1, last: span.lines - 1 });
    }
    for (const store of stores) {
      const held = this.tasks.get(store.task);
      if (!held || !store.older || held.autoPages >= (since === null ? 1 : AUTO_PAGES)) continue;
      if (since !== null && held.coveredFrom <= this.tasks.now() - since) continue;
      held.autoPages++;
      void this.loadOlder(store.task);
    }
  }
}
