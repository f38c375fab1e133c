/** Loads lines that are not here as somebody looks at them, one page of a task at a time. */

import type { Link } from "../../transport/link.ts";
import { PageError } from "../../transport/page.ts";
import type { Problem } from "../../types/events.ts";
import { bound } from "./changes.ts";
import { rowsOf, type Watcher } from "./watcher.ts";
import type { Held, Tasks } from "./held.ts";
import { PAGE_LINES, Pages, type Wish } from "./pages.ts";
import type { Span } from "./spans.ts";
import type { TaskStore } from "./store.ts";

/** After a page that did not come, or brought nothing. */
const REST = 3000;
/** So many pages are asked for to cover a window. */
const AUTO_PAGES = 25;

export class Loader {
  constructor(
    private readonly tasks: Tasks,
    private readonly watcher: Watcher,
    private readonly onPlaceLost: (task: string, problem: Problem) => void,
  ) {}

  /** A page before everything that is here, where nobody has counted what is there. */
  older(task: string): Promise<void> {
    const held = this.tasks.hold(task);
    const { older } = held.store;
    if (!older) return Promise.resolve();
    return this.#load(held, async (_pages, link) => {
      const page = await link.page(task, { before: older, limit: PAGE_LINES, since: "all" });
      rowsOf(held.store, this.watcher).add(() => held.store.addPage(page));
      held.coveredFrom = Math.min(held.coveredFrom, ...page.records.map((record) => Date.parse(record.time)));
      if (held.store.older === null) held.coveredFrom = -Infinity;
    });
  }

  /** Somebody looks at rows that are not here. */
  async look(task: string, wish: Wish): Promise<void> {
    const held = this.tasks.hold(task);
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
    return this.#load(this.tasks.hold(task), (pages) => pages.back(span));
  }

  /** The lines after the beginning of what is not here, as a reader goes on reading. */
  on(task: string, span: Span | undefined): Promise<void> {
    return span ? this.#load(this.tasks.hold(task), (pages) => pages.on(span)) : Promise.resolve();
  }

  async #load(held: Held, work: (pages: Pages, link: Link) => Promise<void>): Promise<void> {
    const { store } = held;
    const link = this.tasks.linkOf(store.task);
    if (!link || held.loading) return;
    held.loading = true;
    this.watcher.changed();
    try {
      await work(new Pages(store, link, rowsOf(store, this.watcher)), link);
      held.trouble = null;
    } catch (reason) {
      this.#failed(store.task, reason);
    }
    held.loading = false;
    bound(held.store, this.watcher);
    this.watcher.changed();
    this.watcher.paged(store);
  }

  #failed(task: string, reason: unknown): void {
    if (reason instanceof PageError && reason.problem.code === "CursorNotHeld") {
      this.onPlaceLost(task, reason.problem);
      return;
    }
    const text = reason instanceof Error ? reason.message : String(reason);
    this.tasks.hold(task).trouble = reason instanceof PageError ? reason.problem : { code: "PageFailed", message: `Lines could not be loaded: ${text}` };
  }

  /** What a window lacks by no more than a page comes at once; nobody has counted: pages until it is covered. */
  cover(stores: TaskStore[], since: number | null, low: number): void {
    for (const store of stores) {
      const span = store.spans.find(({ high, onDemand }) => !onDemand && high > low);
      if (span && span.lines <= PAGE_LINES) void this.look(store.task, { span, first: span.lines - 1, last: span.lines - 1 });
    }
    for (const store of stores) {
      const held = this.tasks.get(store.task);
      if (!held || !store.older || held.autoPages >= (since === null ? 1 : AUTO_PAGES)) continue;
      if (since !== null && held.coveredFrom <= this.tasks.now() - since) continue;
      held.autoPages++;
      void this.older(store.task);
    }
  }
}
