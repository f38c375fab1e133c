/** What readers look for and is not loaded: asked of the server, and led to. */

import type { Jump } from "../../types/asked.ts";
import type { LogEvent } from "../../types/events.ts";
import type { View } from "../drawing/view.ts";
import type { Watcher } from "../holding/watcher.ts";
import type { Tasks } from "../holding/held.ts";
import type { Loader } from "../holding/loader.ts";
import { rowsAfter, rowsOf } from "../holding/spans.ts";
import type { TaskStore } from "../holding/store.ts";
import type { Views } from "../views.ts";
import { ahead, between, Beyond, type Goal } from "./beyond.ts";
import { Search } from "./search.ts";

export class Seeking {
  constructor(
    private readonly views: Views,
    private readonly tasks: Tasks,
    private readonly loader: Loader,
    private readonly watcher: Watcher,
  ) {}

  /** What is looked for and not loaded is asked of the server. */
  seek(): void {
    for (const view of this.views.all.values()) {
      const { matcher, narrowed, stores } = view.selection;
      if (!view.seen || view.search !== null || matcher.error !== "" || !narrowed) continue;
      const { now, live } = this.views.surroundings(view);
      const low = view.window.begin(now, live, view.look.follow);
      if (!stores.some(({ spans }) => spans.some(({ high }) => high > low))) continue;
      view.search = new Search(stores, (store) => view.remoteQuery(store), low, {
        linkOf: (task) => this.tasks.linkOf(task),
        found: (store, event) => this.#found(store, event),
        changed: () => this.views.refresh(view),
      });
      this.views.refresh(view);
    }
  }

  /** Looks for the next in what is not loaded; whether there is something in the way to the next that is here. */
  goBeyond(view: View, jump: Jump): boolean {
    if (jump.to !== "found" && jump.to !== "error") return false;
    const step = view.inTime(jump);
    const where = between(step, view.selection, view.searchedTo);
    if (where.length === 0) return false;
    const { id } = view;
    // The view may have been made anew meanwhile.
    const now = (): View | undefined => this.views.all.get(id);
    view.beyond = new Beyond(step, where, view, {
      linkOf: (task) => this.tasks.linkOf(task),
      found: () => this.fetch(now()),
      none: () => {
        const asking = now();
        // The next is here: nothing to be said.
        if (asking && ahead(step, asking.selection) !== null) asking.beyond = null;
        asking?.jump(jump);
      },
      changed: () => this.views.refresh(now()),
    });
    return true;
  }

  /** A line that is not loaded is gone to by its time, and itself when it is there. */
  near(view: View, jump: Jump): Jump {
    const store = jump.to === "seq" ? view.selection.stores.find(({ task }) => task === jump.task) : undefined;
    if (jump.to !== "seq" || jump.time === undefined || store === undefined || store.isHere(jump.seq)) return jump;
    view.goal = { store, seq: jump.seq, time: jump.time };
    this.fetch(view);
    return view.goal === null ? jump : { to: "time", time: jump.time };
  }

  /** Loads the lines around what was found in what is not loaded. */
  fetch(view: View | undefined): void {
    const goal = view && goalOf(view);
    const span = goal?.store.spans.find(({ low, high }) => goal.time >= Math.floor(low) && goal.time <= high + 1);
    if (!view || !goal) return;
    if (span === undefined) {
      // It has been loaded meanwhile, or is gone.
      view.beyond = view.goal = null;
      view.jump({ to: "time", time: goal.time });
      this.views.refresh(view);
      return;
    }
    const first = Math.max(0, rowsOf(span) - rowsAfter(span, goal.time, goal.store.outline));
    void this.loader.look(goal.store.task, { span, first, last: first, time: goal.time });
  }

  #found(store: TaskStore, event: LogEvent): void {
    const before = store.rows;
    store.addFound(event);
    this.watcher.taken(store, before);
  }

  /** What was found for another filter goes, where no other view looks for anything there. */
  endSearch(view: View): void {
    view.search?.stop();
    view.search = null;
    for (const store of view.selection.stores) {
      if (store.found.length === 0 || [...this.views.all.values()].some(({ search }) => search?.stores.includes(store))) continue;
      store.forgetFound();
      this.watcher.thinned(store);
    }
  }
}

/** The line that is being loaded to be gone to. */
export function goalOf(view: View): Goal | null | undefined {
  return view.goal ?? view.beyond?.goal;
}
