/** The views on the page. A view gets an update if it has changed, is visible and has drawn the last update. */

import type { FromStore } from "../protocol/messages.ts";
import type { Update } from "../protocol/update.ts";
import type { Charts } from "./charts.ts";
import type { ClusterClock } from "./links.ts";
import type { Loader } from "./loader.ts";
import { MAX_TASKS } from "./selection.ts";
import type { Tasks } from "./tasks.ts";
import type { TaskStore } from "./taskstore.ts";
import type { View, ViewContext } from "./view.ts";

const SUMMARY_EVERY_MS = 500;

export class Views {
  readonly all = new Map<string, View>();
  /** Until the page has sent the code for charts, views have none. */
  charts: Charts | undefined;
  #summaryDue = false;
  loader!: Loader;

  readonly #post: (message: FromStore) => void;
  readonly #clock: ClusterClock;
  readonly #tasks: Tasks;

  constructor(
    post: (message: FromStore) => void,
    clock: ClusterClock,
    tasks: Tasks,
  ) {
    this.#post = post;
    this.#clock = clock;
    this.#tasks = tasks;
  }

  changed(): void {
    for (const view of this.all.values()) view.isDirty = true;
    this.flushAll();
  }

  /** Send updates to the views that have changed. */
  flushAll(): void {
    let any = false;
    for (const view of this.all.values()) {
      any ||= view.isDirty;
      if (view.isDirty) this.flush(view);
    }
    if (any) this.#summarizeLater();
  }

  refresh(view: View | undefined): void {
    if (view === undefined) return;
    view.isDirty = true;
    this.flush(view);
    this.#summarizeLater();
  }

  #summarizeLater(): void {
    if (this.#summaryDue) return;
    this.#summaryDue = true;
    setTimeout(() => {
      this.#summaryDue = false;
      this.#post({ op: "summary", tasks: this.#tasks.summaries() });
    }, SUMMARY_EVERY_MS);
  }

  contextOf(view: View): ViewContext {
    const tasks = this.#tasks.links.tasksOf(view.model);
    const entries = tasks.map((task) => this.#tasks.entryOf(task));
    const entry = tasks.length > 0 ? this.#tasks.links.entryOf(tasks[0]) : undefined;
    const live = entries.some(({ store }) => !store.ended);
    const done = !live && entries.length > 0;
    const excess = tasks.length - MAX_TASKS;
    const tooMany = excess > 0 ? { code: "TooManyTasks", message: `A viewer shows at most ${MAX_TASKS} tasks, so ${excess} of these ${tasks.length} are left out`, hint: "Open a second viewer for the others." } : null;
    const problem = tooMany ?? entries.find((one) => one.problem !== null)?.problem ?? entries.find((one) => one.loadProblem !== null)?.loadProblem ?? (done && entry?.state !== "stopped" ? null : (entry?.problem ?? null));
    const shared = { link: done ? ("done" as const) : (entry?.state ?? "connecting"), transport: entry?.kind ?? "comm", linesBehind: done ? 0 : (entry?.linesBehind ?? 0), problem, clockAhead: this.#clock.ahead, tasks: tasks.map((task) => this.#tasks.summary(task)) };
    return { now: this.#tasks.now(), live, loading: entries.some((one) => one.isLoading), shared };
  }

  /** Send an update if the view is visible and has drawn the last one. */
  flush(view: View): void {
    if (!view.awaitsAck && view.isVisible) this.#post(this.nextUpdate(view));
  }

  nextUpdate(view: View): Update {
    view.isDirty = false;
    const update = view.update(this.contextOf(view));
    if (view.selection.slowRegex) update.filterError = `stopped, too slow: ${view.selection.slowRegex}`;
    if (view.isChartDue && this.charts) {
      update.chart = this.charts.chartOf(view.selection.stores);
      view.isChartDue = false;
    }
    // A view that could not be updated has nothing to draw.
    view.awaitsAck = true;
    if (view.wantedRows) void this.loader.loadVisible(view.wantedRows.store.task, view.wantedRows);
    return update;
  }

  storesOf(model: string): TaskStore[] {
    return this.#tasks.links.tasksOf(model).slice(0, MAX_TASKS).map((task) => this.#tasks.entryOf(task).store);
  }

  /** Begin to draw charts, with the class that the page's code for them has. */
  useCharts(ChartsClass: typeof Charts): void {
    this.charts = new ChartsClass({
      linkOf: (task) => this.#tasks.linkOf(task),
      isChartVisible: (store) => this.#chartsOf(store).some(({ isVisible, awaitsAck }) => isVisible && !awaitsAck),
      enqueue,
      chartChanged: (store) => {
        for (const view of this.#chartsOf(store)) {
          view.isChartDue = true;
          this.refresh(view);
        }
      },
    });
    this.updateCharts();
    for (const view of this.all.values()) if (view.hasChart) this.refresh(view);
  }

  /** Keep a chart for each task whose chart a view shows, and for no other task. */
  updateCharts(): void {
    this.charts?.setStores(new Set([...this.all.values()].filter(({ hasChart }) => hasChart).flatMap(({ selection }) => selection.stores)));
  }

  #chartsOf(store: TaskStore): View[] {
    return [...this.all.values()].filter(({ hasChart, selection }) => hasChart && selection.stores.includes(store));
  }
}

/** Run a function after the work that is queued already. Unlike a timer this has no minimum delay. */
export function enqueue(callback: () => void): void {
  const { port1, port2 } = new MessageChannel();
  port1.addEventListener("message", () => {
    port1.close();
    callback();
  });
  port1.start();
  port2.postMessage(0);
}
