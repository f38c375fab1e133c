/**
 * Loads the outline of a recording, adds unloaded spans for the lines that are not loaded, and loads the completeness statement
 * of an ended task.
 */

import type { Link } from "../transport/link.ts";
import { Outline } from "./spans.ts";
import { OUTLINE_EVERY_MS, rowEditor, type StoreWatcher, type TaskEntry, type Tasks } from "./tasks.ts";
import type { TaskStore } from "./taskstore.ts";

/** Maximum pause between two outlines of a task without new lines (ms). */
const OUTLINE_SELDOM_MS = 600_000;
/** Pause while the server is still counting warnings and errors (ms). */
const LEVELS_EVERY_MS = 3000;
const STATEMENT_RETRY_MS = 5000;

export class OutlineLoader {
  readonly #tasks: Tasks;
  readonly #watcher: StoreWatcher;

  constructor(
    tasks: Tasks,
    watcher: StoreWatcher,
  ) {
    this.#tasks = tasks;
    this.#watcher = watcher;
  }

  /** Load the outline, and add spans for the lines that are not loaded. */
  load(task: string): Promise<void> {
    const entry = this.#tasks.entryOf(task);
    const link = this.#tasks.linkOf(task);
    if (!link) return Promise.resolve();
    entry.outlineAt = performance.now();
    return (entry.outlineLoading ??= this.#load(entry, link).finally(() => (entry.outlineLoading = undefined)));
  }

  async #load(entry: TaskEntry, link: Link): Promise<void> {
    const { store } = entry;
    try {
      // The levels of loaded lines are known to the page, so ask for counts only if lines are not loaded.
      const doc = await link.outline(store.task, store.spans.length > 0);
      store.setOutline(new Outline(doc), doc.notices, doc.sources);
      // The outline may contain sources that no line has named yet.
      this.#watcher.rowsAdded(store, store.rows);
    } catch (reason) {
      // Without an outline the time axis covers the loaded lines, and older ones are loaded page by page.
      console.warn("[cortex-jupyter] the outline could not be read", reason);
      return;
    }
    const rows = rowEditor(store, this.#watcher);
    const { outline, older } = store;
    if (outline === null) return;
    if (older && !store.spans.some(({ from }) => from === -Infinity)) {
      const first = store.firstKey;
      const high = Math.min(first, store.begins, this.#tasks.now());
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
        const replacement = store.addSpan({ ...span, lines });
        if (entry.absence === span) entry.absence = replacement;
      });
    }
    entry.hasUncountedLevels = store.spans.length > 0 && outline.errors === null;
    entry.outlineLines = store.recorded;
    this.#watcher.changed();
    this.#watcher.pageLoaded(store);
  }

  /**
   * Reload outlines that are old enough, of visible tasks that run or whose levels are still being counted. Load statements that
   * could not be loaded before.
   */
  everySecond(seen: ReadonlySet<TaskStore>): void {
    for (const entry of this.#tasks.all) {
      const { store, hasUncountedLevels } = entry;
      if (performance.now() - entry.statementFailedAt > STATEMENT_RETRY_MS) void this.loadStatement(entry);
      const quiet = store.recorded === entry.outlineLines;
      const again = hasUncountedLevels ? LEVELS_EVERY_MS : store.ended ? Infinity : quiet ? entry.outlineEvery : OUTLINE_EVERY_MS;
      if (store.outline === null || !seen.has(store) || performance.now() - entry.outlineAt <= again) continue;
      entry.outlineEvery = quiet ? Math.min(OUTLINE_SELDOM_MS, 2 * entry.outlineEvery) : OUTLINE_EVERY_MS;
      void this.load(store.task);
    }
  }

  /** Load the completeness statement. */
  async loadStatement(entry: TaskEntry): Promise<void> {
    const { store } = entry;
    entry.statementFailedAt = Infinity;
    try {
      const page = await this.#tasks.linkOf(store.task)?.page(store.task, { limit: 1, since: "all" });
      store.complete = page?.complete ?? null;
      this.#watcher.changed();
    } catch (reason) {
      // Lines are shown without the statement. Load it later.
      console.warn("[cortex-jupyter] the completeness statement could not be read", reason);
      entry.statementFailedAt = performance.now();
    }
  }
}
