/** The store's side of the page: messages in, views out. Runs in a worker, or in the page where workers are forbidden. */

import type { Jump } from "../types/asked.ts";
import type { LogEvent } from "../types/events.ts";
import type { FromStore, ToStore, Update } from "../types/messages.ts";
import { ahead, between, Beyond, type Goal } from "./asking/beyond.ts";
import { Charts } from "./drawing/charts.ts";
import { Clock } from "./holding/clock.ts";
import { copied } from "./drawing/copy.ts";
import type { Watcher } from "./holding/changes.ts";
import { Tasks } from "./holding/held.ts";
import { Holdings } from "./holding/holdings.ts";
import { Loader } from "./holding/loader.ts";
import { Surveys } from "./holding/surveys.ts";
import { PAGE_LINES } from "./holding/pages.ts";
import { Links } from "./holding/links.ts";
import { Search } from "./asking/search.ts";
import { rowsAfter, rowsOf } from "./holding/spans.ts";
import type { TaskStore } from "./holding/store.ts";
import { type Surroundings, View } from "./drawing/view.ts";

const AUTO_PAGES = 25;
const KEEP = 5000;
/** After so long without another key a filter is asked of the server. */
const TYPED = 400;
const SUMMARY_EVERY = 500;
const TICK = 1000;
/** Ticks that are so far apart: the machine slept. */
const SLEPT = 30_000;

export class Engine implements Watcher {
  #ticked = Date.now();
  readonly #clock = new Clock();
  readonly #tasks = new Tasks(this.#clock);
  readonly #loader = new Loader(this.#tasks, this);
  readonly #surveys = new Surveys(this.#tasks, this);
  readonly #holdings = new Holdings(this.#tasks, this.#loader, this.#surveys, this.#clock, this);
  readonly #links: Links;
  readonly #views = new Map<string, View>();
  readonly #charts = new Charts({
    linkOf: (task) => this.#links.of(task)?.link,
    seen: (store) => this.#chartsOf(store).some(({ seen, waiting }) => seen && !waiting),
    soon,
    changed: (store) => {
      for (const view of this.#chartsOf(store)) {
        view.chartDue = true;
        this.#changed(view);
      }
    },
  });
  #searching = false;
  #seeking: ReturnType<typeof setTimeout> | undefined;
  #summaryDue = false;
  readonly #tick: ReturnType<typeof setInterval>;

  constructor(
    private readonly post: (message: FromStore) => void,
    /** Whether a watchdog can end us when a regex runs away. */
    private readonly guarded: boolean,
    fetcher?: typeof fetch,
  ) {
    const actions = {
      send: (model: string, message: Record<string, unknown>) => post({ op: "send", model, message }),
      headers: () => post({ op: "headers" }),
      changed: () => this.changed(),
      arrived: () => this.arrived(),
    };
    this.#links = this.#tasks.links = new Links(this.#holdings, this.#clock, actions, fetcher);
    this.#tick = setInterval(() => this.#second(), TICK);
  }

  stop(): void {
    clearInterval(this.#tick);
    clearTimeout(this.#seeking);
    for (const view of this.#views.values()) {
      view.search?.stop();
      view.beyond?.stop();
    }
    this.#charts.close();
    this.#links.close();
  }

  receive(message: ToStore): void {
    const links = this.#links;
    switch (message.op) {
      case "config":
        links.config = message.config;
        break;
      case "subscribe":
        links.sessions.set(message.model, message);
        for (const task of message.tasks) this.#tasks.hold(task);
        links.assign();
        break;
      case "unsubscribe":
        links.sessions.delete(message.model);
        links.assign();
        setTimeout(() => this.#tasks.release(links.wanted), KEEP);
        break;
      case "comm":
        links.receive(message.model, message.message, message.bytes);
        break;
      case "view":
        this.#views.set(message.view, new View(message.view, message.model, this.#storesOf(message.model), message.filter, message.look));
        this.#views.get(message.view)!.seen = message.seen ?? true;
        this.#refold(this.#views.get(message.view)!);
        this.#chart();
        this.#changed(this.#views.get(message.view));
        this.#search();
        break;
      case "close":
        this.#views.get(message.view)?.search?.stop();
        this.#views.get(message.view)?.beyond?.stop();
        this.#views.delete(message.view);
        this.#chart();
        break;
      case "retry":
        for (const task of links.tasksOf(message.model)) {
          const held = this.#tasks.get(task);
          if (held) held.problem = null;
          links.of(task)?.link.retry();
        }
        break;
      case "wake":
        links.wake();
        break;
      case "ping":
        this.post({ op: "pong" });
        break;
      default:
        this.#forView(message);
    }
  }

  #forView(message: Extract<ToStore, { view: string }>): void {
    const view = this.#views.get(message.view);
    if (view === undefined) return;
    // Whatever else the reader wants: the next is not what is waited for any more.
    if (["filter", "find", "jump"].includes(message.op) || (message.op === "look" && message.look.follow)) {
      view.beyond?.stop();
      view.beyond = view.goal = null;
    }
    if (message.op === "filter") {
      view.refilter(message.filter);
      this.#refold(view);
      for (const task of this.#links.tasksOf(view.model)) this.#tasks.hold(task).autoPages = 0;
      this.#search();
      this.#loadForWindow(view);
      this.#endSearch(view);
      clearTimeout(this.#seeking);
      this.#seeking = setTimeout(() => this.#seek(), TYPED);
    } else if (message.op === "look") {
      if (message.look.follow && !view.look.follow) view.window.extended = false;
      if (message.look.follow) view.seek = null;
      view.look = message.look;
    } else if (message.op === "ack" || message.op === "sight") {
      if (message.op === "ack") view.waiting = false;
      else view.seen = message.seen;
      if (view.dirty) this.#flush(view);
      if (view.charted) this.#charts.read();
      return;
    } else if (message.op === "older") {
      view.window.extended = true;
      this.#endSearch(view);
      for (const store of view.selection.stores) {
        const head = store.spans.find(({ from }) => from === -Infinity);
        void (head ? this.#loader.back(store.task, head) : this.#loader.older(store.task));
      }
    } else if (message.op === "hole") {
      const store = view.selection.stores[view.selection.slotOf(message.id)];
      const row = view.selection.rowOf(message.id);
      if (store) void this.#loader.on(store.task, store.spans.find((span) => span.row === row));
    } else if (message.op === "search") {
      if (message.go) view.search?.go();
      else view.search?.stop();
    } else if (message.op === "fold") view.selection.toggle(message.id);
    else if (message.op === "copy") {
      this.post({ op: "text", ask: message.ask, text: copied(view.selection, view.between(message.from, message.to), message.as) });
      return;
    } else if (message.op === "find") {
      view.selection.finder.set(message.term);
      this.#search();
    } else if (message.op === "chart") {
      view.charted = view.chartDue = message.on;
      this.#chart();
    } else if (message.op === "jump") {
      if (!this.#goBeyond(view, message.jump) && !view.jump(this.#near(view, message.jump))) return;
    } else if (message.op === "text") {
      const store = view.selection.stores[view.selection.slotOf(message.id)];
      this.post({ op: "text", ask: message.ask, text: store?.texts[view.selection.rowOf(message.id)] ?? "" });
      return;
    }
    this.#changed(view);
  }

  /** A task's lines are folded for all its viewers alike: as far as any of them asks. */
  #refold(asking: View): void {
    for (const store of asking.selection.stores) {
      const views = [...this.#views.values()].filter(({ selection }) => selection.stores.includes(store));
      const same = (["masked", "exact"] as const).find((one) => views.some(({ selection }) => selection.filter.same === one)) ?? "";
      if (store.folds.same === same) continue;
      store.refold(same);
      for (const { selection } of views) selection.reload();
    }
  }

  #chartsOf(store: TaskStore): View[] {
    return [...this.#views.values()].filter(({ charted, selection }) => charted && selection.stores.includes(store));
  }

  /** Charts are kept of what is shown in any view. */
  #chart(): void {
    this.#charts.show(new Set([...this.#views.values()].filter(({ charted }) => charted).flatMap(({ selection }) => selection.stores)));
  }

  #storesOf(model: string): TaskStore[] {
    return this.#links.tasksOf(model).map((task) => this.#tasks.hold(task).store);
  }

  // What the holdings tell

  taken(store: TaskStore, before: number): void {
    for (const view of this.#views.values()) view.selection.leave(store);
    store.folds.settle();
    for (const view of this.#views.values()) {
      if (!view.selection.stores.includes(store)) continue;
      view.dirty = true;
      view.selection.take(store, before, store.rows);
      const goal = goalOf(view);
      if (goal?.store !== store || !store.isHere(goal.seq)) continue;
      view.beyond = view.goal = null;
      view.jump({ to: "seq", task: store.task, seq: goal.seq });
    }
    this.#search();
    this.#charts.read();
  }

  dropped(store: TaskStore, row: number): void {
    for (const view of this.#views.values()) view.selection.drop(store, row);
  }

  thinned(store: TaskStore): void {
    for (const { selection } of this.#views.values()) if (selection.stores.includes(store)) selection.thin();
  }

  /** The views are made anew: their rows have other numbers. */
  moved(store: TaskStore, rows: Int32Array): void {
    this.#charts.moved(store, rows);
    for (const view of this.#views.values()) {
      const { look, selection } = view;
      const slot = selection.stores.indexOf(store);
      if (slot === -1) continue;
      const mine = look.anchor !== null && look.anchor >= 0 && selection.slotOf(look.anchor) === slot;
      const anchor = mine ? rows[selection.rowOf(look.anchor!)] : -1;
      const anew = view.renew(selection.stores, mine ? { ...look, anchor: anchor < 0 ? null : selection.idOf(slot, anchor) } : look);
      this.#views.set(view.id, anew);
    }
  }

  placesIn(store: TaskStore): number[] {
    return [...this.#views.values()].filter(({ selection }) => selection.stores.includes(store)).map((view) => view.placeTime()).filter((time) => time !== null);
  }

  paged(store: TaskStore): void {
    for (const view of this.#views.values()) if (view.selection.stores.includes(store)) this.#loadForWindow(view);
  }

  windowOf(store: TaskStore): number {
    return Math.max(0, ...[...this.#views.values()].filter(({ selection }) => selection.stores.includes(store)).map(({ selection }) => selection.filter.since ?? 0));
  }

  renewed(tasks: string[], begin: () => void): void {
    const places = new Map([...this.#views.values()].map((view) => [view.id, view.placeTime()]));
    begin();
    for (const view of this.#views.values()) {
      const { look, selection, model, id } = view;
      if (!selection.stores.some((store) => tasks.includes(store.task))) continue;
      view.beyond?.stop();
      const anew = view.renew(this.#storesOf(model), { ...look, anchor: null });
      anew.beyond = null;
      anew.selection.finder.set(view.selection.finder.term);
      anew.seek = look.follow ? null : (places.get(id) ?? null);
      this.#views.set(id, anew);
      if (anew.seek !== null) for (const task of tasks) this.#holdings.reachBack(task, anew.seek);
    }
    this.#chart();
    this.changed();
  }

  /** What a window lacks by no more than a page comes at once; nobody has counted: pages until it is covered. */
  #loadForWindow(view: View): void {
    const { since } = view.selection.filter;
    const { now, live } = this.#surroundings(view);
    const low = view.window.begin(now, live, view.look.follow);
    for (const store of view.selection.stores) {
      const span = store.spans.find(({ high, onDemand }) => !onDemand && high > low);
      if (span && span.lines <= PAGE_LINES) void this.#loader.look(store.task, { span, first: span.lines - 1, last: span.lines - 1 });
    }
    for (const store of view.selection.stores) {
      const held = this.#tasks.get(store.task);
      if (!held || !store.older || held.autoPages >= (since === null ? 1 : AUTO_PAGES)) continue;
      if (since !== null && held.coveredFrom <= this.#tasks.now() - since) continue;
      held.autoPages++;
      void this.#loader.older(store.task);
    }
  }

  // What goes out

  changed(): void {
    for (const view of this.#views.values()) view.dirty = true;
    this.arrived();
  }

  /** What has come is shown, where it is. */
  arrived(): void {
    let any = false;
    for (const view of this.#views.values()) {
      any ||= view.dirty;
      if (view.dirty) this.#flush(view);
    }
    if (any) this.#summarize();
  }

  #changed(view: View | undefined): void {
    if (view === undefined) return;
    view.dirty = true;
    this.#flush(view);
    this.#summarize();
  }

  #summarize(): void {
    if (this.#summaryDue) return;
    this.#summaryDue = true;
    setTimeout(() => {
      this.#summaryDue = false;
      this.post({ op: "summary", tasks: this.#tasks.summaries() });
    }, SUMMARY_EVERY);
  }

  #surroundings(view: View): Surroundings {
    const tasks = this.#links.tasksOf(view.model);
    const held = tasks.map((task) => this.#tasks.hold(task));
    const entry = tasks.length > 0 ? this.#links.of(tasks[0]) : undefined;
    const live = held.some(({ store }) => !store.ended);
    const done = !live && held.length > 0;
    const problem = held.find((one) => one.problem !== null)?.problem ?? held.find((one) => one.trouble !== null)?.trouble ?? (done && entry?.state !== "stopped" ? null : (entry?.problem ?? null));
    const rest = { link: done ? ("done" as const) : (entry?.state ?? "connecting"), transport: entry?.kind ?? "comm", problem, ahead: this.#clock.ahead, tasks: tasks.map((task) => this.#tasks.summary(task)) };
    return { now: this.#tasks.now(), live, loading: held.some((one) => one.loading), rest };
  }

  /** Shows it, as soon as it is in sight and the last update has been drawn. */
  #flush(view: View): void {
    if (!view.waiting && view.seen) this.post(this.#update(view));
  }

  #update(view: View): Update {
    view.dirty = false;
    view.waiting = true;
    const update = view.update(this.#surroundings(view));
    if (view.selection.tooSlow) update.filterError = `stopped, too slow: ${view.selection.tooSlow}`;
    if (view.chartDue) update.chart = this.#charts.of(view.selection.stores);
    view.chartDue = false;
    if (view.wish) void this.#loader.look(view.wish.store.task, view.wish);
    return update;
  }

  #second(): void {
    const slept = Date.now() - this.#ticked > SLEPT;
    this.#ticked = Date.now();
    if (slept) this.#links.wake();
    const seen = [...this.#views.values()].filter((view) => view.seen);
    this.#surveys.second(new Set(seen.flatMap(({ selection }) => selection.stores)));
    this.#seek();
    for (const view of seen) this.#fetch(view);
    for (const { wish } of seen) if (wish) void this.#loader.look(wish.store.task, wish);
    // All are drawn in one frame.
    for (const update of seen.filter((view) => !view.waiting && view.isStale(this.#surroundings(view))).map((view) => this.#update(view))) this.post(update);
    if (seen.some(({ selection }) => selection.stores.some(({ ended }) => !ended))) this.post({ op: "clock", now: this.#tasks.now() });
  }

  /** What is looked for and not loaded is asked of the server. */
  #seek(): void {
    for (const view of this.#views.values()) {
      const { matcher, narrowed, stores } = view.selection;
      if (!view.seen || view.search !== null || matcher.error !== "" || !narrowed) continue;
      const { now, live } = this.#surroundings(view);
      const low = view.window.begin(now, live, view.look.follow);
      if (!stores.some(({ spans }) => spans.some(({ high }) => high > low))) continue;
      view.search = new Search(stores, (store) => view.remoteQuery(store), low, {
        linkOf: (task) => this.#links.of(task)?.link,
        found: (store, event) => this.#found(store, event),
        changed: () => this.#changed(view),
      });
      this.#changed(view);
    }
  }

  /** Looks for the next in what is not loaded; whether there is something in the way to the next that is here. */
  #goBeyond(view: View, jump: Jump): boolean {
    if (jump.to !== "found" && jump.to !== "error") return false;
    const step = view.inTime(jump);
    const where = between(step, view.selection, view.searchedTo);
    if (where.length === 0) return false;
    const { id } = view;
    // The view may have been made anew meanwhile.
    const now = (): View | undefined => this.#views.get(id);
    view.beyond = new Beyond(step, where, view, {
      linkOf: (task) => this.#links.of(task)?.link,
      found: () => this.#fetch(now()),
      none: () => {
        const asking = now();
        // The next is here: nothing to be said.
        if (asking && ahead(step, asking.selection) !== null) asking.beyond = null;
        asking?.jump(jump);
      },
      changed: () => this.#changed(now()),
    });
    return true;
  }

  /** A line that is not loaded is gone to by its time, and itself when it is there. */
  #near(view: View, jump: Jump): Jump {
    const store = jump.to === "seq" ? view.selection.stores.find(({ task }) => task === jump.task) : undefined;
    if (jump.to !== "seq" || jump.time === undefined || store === undefined || store.isHere(jump.seq)) return jump;
    view.goal = { store, seq: jump.seq, time: jump.time };
    this.#fetch(view);
    return view.goal === null ? jump : { to: "time", time: jump.time };
  }

  /** Loads the lines around what was found in what is not loaded. */
  #fetch(view: View | undefined): void {
    const goal = view && goalOf(view);
    const span = goal?.store.spans.find(({ low, high }) => goal.time >= Math.floor(low) && goal.time <= high + 1);
    if (!view || !goal) return;
    if (span === undefined) {
      // It has been loaded meanwhile, or is gone.
      view.beyond = view.goal = null;
      view.jump({ to: "time", time: goal.time });
      this.#changed(view);
      return;
    }
    const first = Math.max(0, rowsOf(span) - rowsAfter(span, goal.time, goal.store.outline));
    void this.#loader.look(goal.store.task, { span, first, last: first, time: goal.time });
  }

  #found(store: TaskStore, event: LogEvent): void {
    const before = store.rows;
    store.addFound(event);
    this.taken(store, before);
  }

  /** What was found for another filter goes, where no other view looks for anything there. */
  #endSearch(view: View): void {
    view.search?.stop();
    view.search = null;
    for (const store of view.selection.stores) {
      if (store.found.length === 0 || [...this.#views.values()].some(({ search }) => search?.stores.includes(store))) continue;
      store.forgetFound();
      this.thinned(store);
    }
  }

  #search(): void {
    if (this.#searching) return;
    let more = false;
    for (const view of this.#views.values()) {
      if (view.selection.unsearched === 0 && view.selection.finder.unsearched === 0) continue;
      more = view.selection.search(this.guarded) || more;
      this.#changed(view);
    }
    if (!more) return;
    this.#searching = true;
    soon(() => {
      this.#searching = false;
      this.#search();
    });
  }
}

/** The line that is being loaded to be gone to. */
function goalOf(view: View): Goal | null | undefined {
  return view.goal ?? view.beyond?.goal;
}

/** After whatever waits already: unlike a timer, without a least delay. */
function soon(callback: () => void): void {
  const { port1, port2 } = new MessageChannel();
  port1.addEventListener("message", () => {
    port1.close();
    callback();
  });
  port1.start();
  port2.postMessage(0);
}
