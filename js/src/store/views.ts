/** The views on the page, and what goes out to them: each is sent an update when it has changed, is in sight and has drawn the last. */

import type { FromStore } from "../types/messages.ts";
import type { Update } from "../types/update.ts";
import { Charts } from "./drawing/charts.ts";
import type { Surroundings, View } from "./drawing/view.ts";
import type { Clock } from "./holding/clock.ts";
import type { Tasks } from "./holding/held.ts";
import type { Loader } from "./holding/loader.ts";
import type { TaskStore } from "./holding/store.ts";

const SUMMARY_EVERY = 500;

export class Views {
  readonly all = new Map<string, View>();
  readonly charts = new Charts({
    linkOf: (task) => this.tasks.linkOf(task),
    seen: (store) => this.#chartsOf(store).some(({ seen, waiting }) => seen && !waiting),
    soon,
    changed: (store) => {
      for (const view of this.#chartsOf(store)) {
        view.chartDue = true;
        this.refresh(view);
      }
    },
  });
  #summaryDue = false;
  loader!: Loader;

  constructor(
    private readonly post: (message: FromStore) => void,
    private readonly clock: Clock,
    private readonly tasks: Tasks,
  ) {}

  changed(): void {
    for (const view of this.all.values()) view.dirty = true;
    this.arrived();
  }

  /** What has come is shown, where it is. */
  arrived(): void {
    let any = false;
    for (const view of this.all.values()) {
      any ||= view.dirty;
      if (view.dirty) this.flush(view);
    }
    if (any) this.#summarize();
  }

  refresh(view: View | undefined): void {
    if (view === undefined) return;
    view.dirty = true;
    this.flush(view);
    this.#summarize();
  }

  #summarize(): void {
    if (this.#summaryDue) return;
    this.#summaryDue = true;
    setTimeout(() => {
      this.#summaryDue = false;
      this.post({ op: "summary", tasks: this.tasks.summaries() });
    }, SUMMARY_EVERY);
  }

  surroundings(view: View): Surroundings {
    const tasks = this.tasks.links.tasksOf(view.model);
    const held = tasks.map((task) => this.tasks.hold(task));
    const entry = tasks.length > 0 ? this.tasks.links.of(tasks[0]) : undefined;
    const live = held.some(({ store }) => !store.ended);
    const done = !live && held.length > 0;
    const problem = held.find((one) => one.problem !== null)?.problem ?? held.find((one) => one.trouble !== null)?.trouble ?? (done && entry?.state !== "stopped" ? null : (entry?.problem ?? null));
    const rest = { link: done ? ("done" as const) : (entry?.state ?? "connecting"), transport: entry?.kind ?? "comm", behind: done ? 0 : (entry?.behind ?? 0), problem, ahead: this.clock.ahead, tasks: tasks.map((task) => this.tasks.summary(task)) };
    return { now: this.tasks.now(), live, loading: held.some((one) => one.loading), rest };
  }

  /** Shows it, as soon as it is in sight and the last update has been drawn. */
  flush(view: View): void {
    if (!view.waiting && view.seen) this.post(this.next(view));
  }

  next(view: View): Update {
    view.dirty = false;
    view.waiting = true;
    const update = view.update(this.surroundings(view));
    if (view.selection.tooSlow) update.filterError = `stopped, too slow: ${view.selection.tooSlow}`;
    if (view.chartDue) update.chart = this.charts.of(view.selection.stores);
    view.chartDue = false;
    if (view.wish) void this.loader.look(view.wish.store.task, view.wish);
    return update;
  }

  storesOf(model: string): TaskStore[] {
    return this.tasks.links.tasksOf(model).map((task) => this.tasks.hold(task).store);
  }

  /** Charts are kept of what is shown in any view. */
  chart(): void {
    this.charts.show(new Set([...this.all.values()].filter(({ charted }) => charted).flatMap(({ selection }) => selection.stores)));
  }

  #chartsOf(store: TaskStore): View[] {
    return [...this.all.values()].filter(({ charted, selection }) => charted && selection.stores.includes(store));
  }
}

/** After whatever waits already: unlike a timer, without a least delay. */
export function soon(callback: () => void): void {
  const { port1, port2 } = new MessageChannel();
  port1.addEventListener("message", () => {
    port1.close();
    callback();
  });
  port1.start();
  port2.postMessage(0);
}
