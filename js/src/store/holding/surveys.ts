/** How many lines a recording has and where, asked of the server: what is not here becomes rows, and a task that is over is told to be whole or not. */

import type { Link } from "../../transport/link.ts";
import { rowsOf, type Watcher } from "./watcher.ts";
import { type Held, SURVEY_EVERY, type Tasks } from "./held.ts";
import { Outline } from "./outline.ts";
import type { TaskStore } from "./store.ts";

/** A task that says nothing is asked about more and more seldom. */
const SURVEY_SELDOM = 600_000;
/** While the server is still counting warnings and errors. */
const LEVELS_EVERY = 3000;
const STATE_AGAIN = 5000;

export class Surveys {
  constructor(
    private readonly tasks: Tasks,
    private readonly watcher: Watcher,
  ) {}

  /** Counts the whole recording, and makes rows of what is not here. */
  survey(task: string): Promise<void> {
    const held = this.tasks.hold(task);
    const link = this.tasks.linkOf(task);
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
    const rows = rowsOf(store, this.watcher);
    const { outline, older } = store;
    if (outline === null) return;
    if (older && !store.spans.some(({ from }) => from === -Infinity)) {
      const first = store.firstKey;
      const high = Math.min(first, store.begins, this.tasks.now());
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
    for (const held of this.tasks.all) {
      const { store, uncounted } = held;
      if (performance.now() - held.statedAt > STATE_AGAIN) void this.state(held);
      const quiet = store.recorded === held.surveyedOf;
      const again = uncounted ? LEVELS_EVERY : store.ended ? Infinity : quiet ? held.surveyEvery : SURVEY_EVERY;
      if (store.outline === null || !seen.has(store) || performance.now() - held.surveyedAt <= again) continue;
      held.surveyEvery = quiet ? Math.min(SURVEY_SELDOM, 2 * held.surveyEvery) : SURVEY_EVERY;
      void this.survey(store.task);
    }
  }

  /** Is it all? */
  async state(held: Held): Promise<void> {
    const { store } = held;
    held.statedAt = Infinity;
    try {
      const page = await this.tasks.linkOf(store.task)?.page(store.task, { limit: 1, since: "all" });
      store.complete = page?.complete ?? null;
      this.watcher.changed();
    } catch (reason) {
      // The lines are here; it is asked for again.
      console.warn("[cortex-jupyter] the completeness statement could not be read", reason);
      held.statedAt = performance.now();
    }
  }
}
